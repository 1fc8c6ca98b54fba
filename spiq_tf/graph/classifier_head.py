"""The head of a network: layers that read features of whole examples, and make no map of them again."""

from collections.abc import Sequence
from dataclasses import replace

from spiq_tf.graph.layer_graph import Node, Tensor
from spiq_tf.primitives.affine import BatchNorm
from spiq_tf.primitives.linear import ClassifierHead, Linear
from spiq_tf.primitives.opaque import Opaque
from spiq_tf.primitives.pool import AveragePool


def with_classifier_heads(nodes: Sequence[Node], outputs: Sequence[Tensor]) -> tuple[Node, ...]:
    """The nodes, with linear ones that know where they stand in the head.

    Args:
        nodes: in order of execution.
        outputs: of the model.
    """
    depths = _depths(nodes)
    normed = _normed(nodes)
    scores: dict[str, set[Tensor]] = {t.name: {t} for t in outputs}  # that are made of a tensor
    leaves: set[str] = {t.name for t in outputs if t.is_feature_map}  # tensors of which a map is made again
    read_on: set[str] = set()  # tensors that another linear primitive reads, further behind
    found = []
    for node in reversed(nodes):
        name, primitive, reached = node.output.name, node.primitive, scores.get(node.output.name, set())
        alone, last = not node.output.is_feature_map and name not in leaves, name not in read_on
        if primitive.is_linear and last and reached:
            reached = {node.output}  # whatever is made of the scores behind it
        depth = depths.get(node.inputs[0].name, _NO_FEATURES)
        if isinstance(primitive, Linear) and reached and alone and depth > _NO_FEATURES and name not in normed:
            primitive = replace(primitive, head=ClassifierHead(sum(t.channels for t in reached), last, depth))
        elif isinstance(primitive, Linear) and last and reached and node.output.is_feature_map:
            primitive = replace(primitive, ends=True)
        elif isinstance(primitive, AveragePool) and primitive.whole and last and reached and alone:
            primitive = replace(primitive, scores=True)
        found.append(replace(node, primitive=primitive))
        for tensor in node.inputs:
            scores.setdefault(tensor.name, set()).update(reached)
            if node.output.is_feature_map or name in leaves:
                leaves.add(tensor.name)
            if primitive.is_linear or name in read_on:
                read_on.add(tensor.name)
    return tuple(reversed(found))


def _normed(nodes: Sequence[Node]) -> set[str]:
    """Tensors whose moments a BatchNorm states: what it reads, and what a concatenation in front of it joins."""
    found: set[str] = set()
    for node in reversed(nodes):
        if isinstance(node.primitive, BatchNorm) or (node.output.name in found and node.primitive.has_inverse_moments):
            found |= {t.name for t in node.inputs}
    return found


def image_derived_tensors(nodes: Sequence[Node], inputs: Sequence[Tensor]) -> set[str]:
    """Tensors in which the pixels of an input map are only moved, or changed one by one."""
    found = {t.name for t in inputs if t.is_feature_map}
    for node in nodes:
        if not _has_weights(node) and any(t.name in found for t in node.inputs):
            found.add(node.output.name)
    return found


def _has_weights(node: Node) -> bool:
    return node.primitive.is_linear or (isinstance(node.primitive, Opaque) and bool(node.primitive.variables()))


_NO_FEATURES = -1


def _depths(nodes: Sequence[Node]) -> dict[str, int]:
    """How many linear primitives without positions stand one behind the other up to each tensor, since the last map of
    features or since the first layer with weights, which are not counted; _NO_FEATURES of what is made of pixels alone.
    """
    found: dict[str, int] = {}
    for node in nodes:
        before = max((found.get(t.name, _NO_FEATURES) for t in node.inputs), default=_NO_FEATURES)
        if _has_weights(node):
            before += 1
        found[node.output.name] = min(before, 0) if node.output.is_feature_map else before
    return found

"""The head of a network: layers that read features of whole examples, and make no map of them again."""

from collections.abc import Sequence
from dataclasses import replace

from spiq_tf.graph.layer_graph import Node, Tensor
from spiq_tf.primitives.affine import BatchNorm
from spiq_tf.primitives.linear import Head, Linear
from spiq_tf.primitives.opaque import Opaque
from spiq_tf.primitives.pool import AveragePool


def with_heads(nodes: Sequence[Node], outputs: Sequence[Tensor]) -> tuple[Node, ...]:
    """The nodes, with linear ones that know where they stand in the head.

    Args:
        nodes: in order of execution.
        outputs: of the model.
    """
    depths = _depths(nodes)
    normed = _normed(nodes)
    scores: dict[str, set[Tensor]] = {t.name: {t} for t in outputs}  # that are made of a tensor
    leaves: set[str] = {t.name for t in outputs if t.is_map}  # tensors of which a map is made again
    read_on: set[str] = set()  # tensors that another linear primitive reads, further behind
    found = []
    for node in reversed(nodes):
        name, rule, reached = node.output.name, node.rule, scores.get(node.output.name, set())
        alone, last = not node.output.is_map and name not in leaves, name not in read_on
        if rule.is_linear and last and reached:
            reached = {node.output}  # whatever is made of the scores behind it
        depth = depths.get(node.inputs[0].name, _NO_FEATURES)
        if isinstance(rule, Linear) and reached and alone and depth > _NO_FEATURES and name not in normed:
            rule = replace(rule, head=Head(sum(t.channels for t in reached), last, depth))
        elif isinstance(rule, Linear) and last and reached and node.output.is_map:
            rule = replace(rule, ends=True)
        elif isinstance(rule, AveragePool) and rule.whole and last and reached and alone:
            rule = replace(rule, scores=True)
        found.append(replace(node, rule=rule))
        for tensor in node.inputs:
            scores.setdefault(tensor.name, set()).update(reached)
            if node.output.is_map or name in leaves:
                leaves.add(tensor.name)
            if rule.is_linear or name in read_on:
                read_on.add(tensor.name)
    return tuple(reversed(found))


def _normed(nodes: Sequence[Node]) -> set[str]:
    """Tensors whose moments a BatchNorm states: what it reads, and what a concatenation in front of it joins."""
    found: set[str] = set()
    for node in reversed(nodes):
        if isinstance(node.rule, BatchNorm) or (node.output.name in found and node.rule.hands_back):
            found |= {t.name for t in node.inputs}
    return found


def made_of_pixels(nodes: Sequence[Node], inputs: Sequence[Tensor]) -> set[str]:
    """Tensors in which the pixels of an input map are only moved, or changed one by one."""
    found = {t.name for t in inputs if t.is_map}
    for node in nodes:
        if not _has_weights(node) and any(t.name in found for t in node.inputs):
            found.add(node.output.name)
    return found


def _has_weights(node: Node) -> bool:
    return node.rule.is_linear or (isinstance(node.rule, Opaque) and bool(node.rule.variables()))


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
        found[node.output.name] = min(before, 0) if node.output.is_map else before
    return found

"""The head of a network: what stands behind its last map of features, where a value speaks of a whole example."""

import math
from collections.abc import Sequence
from dataclasses import replace

from spiq_tf.graph import Node, Tensor
from spiq_tf.primitives.linear import Head, Linear


def with_heads(nodes: Sequence[Node], outputs: Sequence[Tensor]) -> tuple[Node, ...]:
    """The nodes, with linear ones that know where they stand in the head.

    Args:
        nodes: in order of execution.
        outputs: of the model.
    """
    made_of_features = _made_of_features(nodes)
    scores: dict[str, set[Tensor]] = {}  # that are made of a tensor
    leaves: set[str] = {t.name for t in outputs if _is_map(t)}  # tensors of which a map is made again
    read_on: set[str] = set()  # tensors that another linear primitive reads, further behind
    for tensor in outputs:
        scores.setdefault(tensor.name, set()).add(tensor)
    found = []
    for node in reversed(nodes):
        name, rule = node.output.name, node.rule
        reached = scores.get(name, set())
        if isinstance(rule, Linear) and reached and name in made_of_features and name not in leaves:
            rule = replace(rule, head=Head(sum(t.channels for t in reached), name not in read_on))
        found.append(replace(node, rule=rule))
        for tensor in node.inputs:
            scores.setdefault(tensor.name, set()).update(reached)
            if _is_map(node.output) or name in leaves:
                leaves.add(tensor.name)
            if rule.is_linear or name in read_on:
                read_on.add(tensor.name)
    return tuple(reversed(found))


def _is_map(tensor: Tensor) -> bool:
    return math.prod(tensor.shape[1:-1]) > 1


def _made_of_features(nodes: Sequence[Node]) -> set[str]:
    """Tensors without positions that are made of maps on which a layer with weights has worked: not of pixels alone."""
    features: set[str] = set()
    found: set[str] = set()
    for node in nodes:
        name = node.output.name
        if node.rule.is_linear or any(t.name in features for t in node.inputs):
            features.add(name)
        if not _is_map(node.output) and any(
            t.name in found or (t.name in features and _is_map(t)) for t in node.inputs
        ):
            found.add(name)
    return found

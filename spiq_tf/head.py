"""The head of a network: layers that read features of whole examples, and make no map of them again."""

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
    strung = strung_features(nodes)
    scores: dict[str, set[Tensor]] = {}  # that are made of a tensor
    leaves: set[str] = {t.name for t in outputs if is_map(t)}  # tensors of which a map is made again
    read_on: set[str] = set()  # tensors that another linear primitive reads, further behind
    for tensor in outputs:
        scores.setdefault(tensor.name, set()).add(tensor)
    found = []
    for node in reversed(nodes):
        name, rule = node.output.name, node.rule
        reached, read = scores.get(name, set()), node.inputs[0].name
        alone = not is_map(node.output) and name not in leaves
        if isinstance(rule, Linear) and reached and alone and read in strung:
            rule = replace(rule, head=Head(sum(t.channels for t in reached), name not in read_on, strung[read]))
        found.append(replace(node, rule=rule))
        for tensor in node.inputs:
            scores.setdefault(tensor.name, set()).update(reached)
            if is_map(node.output) or name in leaves:
                leaves.add(tensor.name)
            if rule.is_linear or name in read_on:
                read_on.add(tensor.name)
    return tuple(reversed(found))


def is_map(tensor: Tensor) -> bool:
    """Whether it holds values for several positions."""
    return math.prod(tensor.shape[1:-1]) > 1


def strung_features(nodes: Sequence[Node]) -> dict[str, int]:
    """Of the tensors that are made of the output of a layer with weights: for how many positions of a map, strung
    together, each feature stands among the channels."""
    found: dict[str, int] = {}
    for node in nodes:
        made = [t for t in node.inputs if t.name in found]
        if node.rule.is_linear:
            found[node.output.name] = 1
        elif made:
            flattened = [t for t in made if is_map(t) and not is_map(node.output)]
            positions = max((node.output.channels // t.channels for t in flattened), default=1)
            found[node.output.name] = max(found[t.name] for t in made) * max(positions, 1)
    return found

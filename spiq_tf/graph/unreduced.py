"""The maps of a network that makes maps: decoders, image to image, the head of a detector."""

import math
from collections.abc import Sequence

from spiq_tf.graph.layer_graph import Node, Tensor
from spiq_tf.primitives.shape import Rearrange


def unreduced_maps(nodes: Sequence[Node]) -> set[str]:
    """Names of the maps of which no path to the model's outputs takes fewer positions: no stride, no pool, no Flatten.

    Args:
        nodes: in order of execution.
    """
    reduced: set[str] = set()
    for node in reversed(nodes):
        for tensor in node.inputs:
            if node.output.name in reduced or _reduces(node, tensor):
                reduced.add(tensor.name)
    return {node.output.name for node in nodes if node.output.is_map} - reduced


def _reduces(node: Node, tensor: Tensor) -> bool:
    """Whether half of the positions are gone, and not only moved among the channels."""
    before, after = (math.prod(t.shape[:-1]) for t in (tensor, node.output))
    moved = isinstance(node.rule, Rearrange) and math.prod(node.output.shape) >= math.prod(tensor.shape)
    return tensor.is_map and (not node.output.is_map or (2 * after <= before and not moved))

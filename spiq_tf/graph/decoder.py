"""The decoder of a network: maps of features that are made larger again, up to the model's outputs."""

import math
from collections.abc import Sequence

from spiq_tf.graph.classifier_head import image_derived_tensors
from spiq_tf.graph.layer_graph import Node, Tensor
from spiq_tf.primitives.shape import Rearrange


def decoder_feature_maps(nodes: Sequence[Node], inputs: Sequence[Tensor]) -> set[str]:
    """Names of the maps behind an upsampling of features of which no path to the model's outputs takes fewer positions
    again: no stride, no pool, no Flatten. Of images alone: signals in one dimension have bursts.

    Args:
        nodes: in order of execution.
        inputs: of the model.
    """
    pixels = image_derived_tensors(nodes, inputs)
    larger: set[str] = set()
    for node in nodes:
        if any(t.name in larger for t in node.inputs) or _upsamples(node, pixels):
            larger.add(node.output.name)
    reduced: set[str] = set()
    for node in reversed(nodes):
        for tensor in node.inputs:
            if node.output.name in reduced or _reduces(node, tensor):
                reduced.add(tensor.name)
    return {node.output.name for node in nodes if node.output.is_feature_map} & larger - reduced


def _upsamples(node: Node, pixels: set[str]) -> bool:
    """Whether the map is larger along its axes. A reshape that splits channels, for the heads of an attention, has
    another number of axes."""
    if len(node.inputs) != 1 or node.inputs[0].name in pixels or not node.inputs[0].is_feature_map:
        return False
    before, after = node.inputs[0].shape[1:-1], node.output.shape[1:-1]
    along = 2 <= len(before) == len(after) and all(b <= a for b, a in zip(before, after, strict=True))
    return along and math.prod(after) >= 2 * math.prod(before)


def _reduces(node: Node, tensor: Tensor) -> bool:
    """Whether half of the positions are gone, and not only moved among the channels."""
    before, after = (math.prod(t.shape[:-1]) for t in (tensor, node.output))
    moved = isinstance(node.primitive, Rearrange) and math.prod(node.output.shape) >= math.prod(tensor.shape)
    return tensor.is_feature_map and (not node.output.is_feature_map or (2 * after <= before and not moved))

"""The decoder of a network: feature maps that are upsampled again, up to the model's outputs."""

import math
from collections.abc import Collection, Sequence

from spiq_tf.graph.classifier_head import image_derived_tensors
from spiq_tf.graph.layer_graph import Node, Tensor


def decoder_feature_maps(nodes: Sequence[Node], inputs: Sequence[Tensor]) -> set[str]:
    """Names of the feature maps after an upsampling of features, none of which is downsampled again.

    No path from them to the model's outputs reduces the spatial locations: no stride, no pool, no Flatten. Of images
    alone: signals in one dimension have bursts.

    Args:
        nodes: in order of execution.
        inputs: of the model.
    """
    pixels = image_derived_tensors(nodes, inputs)
    upsampled: set[str] = set()
    for node in nodes:
        if any(t.name in upsampled for t in node.inputs) or _upsamples(node, pixels):
            upsampled.add(node.output.name)
    reduced: set[str] = set()
    for node in reversed(nodes):
        for tensor in node.inputs:
            if node.output.name in reduced or _reduces(node, tensor):
                reduced.add(tensor.name)
    return {node.output.name for node in nodes if node.output.is_feature_map} & upsampled - reduced


def _upsamples(node: Node, pixels: Collection[str]) -> bool:
    """Whether the feature map is larger along its axes.

    A reshape that splits channels, for the heads of an attention, has another number of axes.
    """
    if len(node.inputs) != 1 or node.inputs[0].name in pixels or not node.inputs[0].is_feature_map:
        return False
    before, after = node.inputs[0].shape[1:-1], node.output.shape[1:-1]
    along_axes = 2 <= len(before) == len(after) and all(b <= a for b, a in zip(before, after, strict=True))
    return along_axes and math.prod(after) >= 2 * math.prod(before)


def _reduces(node: Node, tensor: Tensor) -> bool:
    """Whether half of the spatial locations are gone, and not only moved to the channels."""
    before, after = (math.prod(t.shape[:-1]) for t in (tensor, node.output))
    keeps_values = node.primitive.is_rearrangement and math.prod(node.output.shape) >= math.prod(tensor.shape)
    return tensor.is_feature_map and (not node.output.is_feature_map or (2 * after <= before and not keeps_values))

"""The range and moments of an input, inferred from the Rescaling or Normalization that reads it."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.values import Array, ChannelRanges, InputStatistics, Moments, Source
from spiq_tf.graph.layer_graph import LayerGraph, Node, Tensor
from spiq_tf.primitives.affine import FixedAffine

_PIXELS = (255.0, 1.0)
"""Largest values that pixels have."""

_ROUNDING = 0.02
"""Distance of a factor or an end from 1, 0 or -1 that is still taken for it."""


@dataclass(frozen=True)
class Inferred:
    """What a layer says of the input that it reads.

    Attributes:
        statistics: of the input.
        layer: name of the layer.
    """

    statistics: InputStatistics
    layer: str


def from_preprocessing_layers(graph: LayerGraph, tensor: Tensor) -> Inferred | None:
    """From the Rescaling or Normalization that alone reads an input, or from several that agree; otherwise None.

    Args:
        graph: the model.
        tensor: one of its inputs.
    """
    consumers = _consumers(graph, tensor)
    each = [_of_layer(node) for node in consumers]
    first = next(iter(each), None)
    if first is None or not all(other is not None and _agree(first, other) for other in each):
        return None
    return Inferred(first, consumers[0].call.name)


def _consumers(graph: LayerGraph, tensor: Tensor) -> Sequence[Node]:
    """What reads the input, or the output of a Resizing or a crop that alone reads it."""
    consumers = graph.consumers[tensor.name]
    while len(consumers) == 1 and consumers[0].primitive.is_rearrangement and consumers[0].primitive.keeps_channels:
        consumers = graph.consumers[consumers[0].output.name]
    return consumers


def _agree(one: InputStatistics, other: InputStatistics) -> bool:
    """Whether two consumers of an input say the same of it; one layer called in two branches does."""
    pairs = [
        (one.range.low, other.range.low),
        (one.range.high, other.range.high),
        (one.moments.mean, other.moments.mean),
        (one.moments.variance, other.moments.variance),
    ]
    return all(np.allclose(a, b) for a, b in pairs)


def _of_layer(node: Node) -> InputStatistics | None:
    layer, primitive = node.call.layer, node.primitive.as_fixed_affine
    if primitive is None:
        return None
    if isinstance(layer, keras.layers.Normalization) and not layer.invert:
        return _of_normalization(-primitive.offset / primitive.factor, 1 / primitive.factor)
    if np.all(np.abs(primitive.factor - 1) < _ROUNDING):
        return None  # what changes next to nothing says nothing
    return _of_rescaling(primitive)


def _of_normalization(mean: Array, deviation: Array) -> InputStatistics:
    """The layer's statistics; the range of pixels, if they are what pixels have, otherwise FEATURE_SIGMAS."""
    moments, ones = Moments(mean, deviation**2), np.ones_like(mean)
    for top in _PIXELS:
        if np.all((mean > 0.1 * top) & (mean < 0.9 * top) & (deviation > 0.05 * top) & (deviation < 0.5 * top)):
            return InputStatistics(moments, ChannelRanges(0 * ones, top * ones, Source.TOLD))
    reach = priors.FEATURE_SIGMAS.value * deviation
    return InputStatistics(moments, ChannelRanges(mean - reach, mean + reach, Source.TOLD))


def _of_rescaling(primitive: FixedAffine) -> InputStatistics | None:
    """Of a Rescaling that maps pixels to about [0, 1] or [-1, 1]; None of another."""
    ones = np.ones_like(primitive.factor)
    for top in _PIXELS:
        low, high = primitive.offset, top * primitive.factor + primitive.offset
        to_unit = (np.abs(low) < _ROUNDING) | (np.abs(low + 1) < _ROUNDING)
        if np.all((np.abs(high - 1) < _ROUNDING) & to_unit):
            deviation = top / priors.INPUT_RANGE_SIGMAS.value
            pixels = Moments(priors.PIXEL_MEAN.value * top * ones, deviation**2 * ones)
            return InputStatistics(pixels, ChannelRanges(0 * ones, top * ones, Source.TOLD))
    return None

"""A BatchNorm before a PReLU -> both halves of the PReLU: what has to reach both ways is never rounded."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.distributions.values import ChannelRanges
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.passes.affine_to_depthwise import ChannelVector, depthwise, is_pointwise_depthwise
from spiq_tf.tflite.state import FileState

_RELU = schema.ActivationFunctionType.RELU


def fold_norm_into_prelu(state: FileState) -> None:
    """Computes, in place, both addends of a decomposed PReLU from the input of the BatchNorm before it, where that is a
    depthwise convolution of one tap and nothing else reads its output.

    There are as many operators as before. But v, which has to reach both ways, is never rounded: the first addend
    reaches one way, the second is small where the slope a is. On ESPNet that is worth 2 dB.

    Given:
        v = DEPTHWISE_CONV_2D(x, factor, offset)
        r = DEPTHWISE_CONV_2D(v, -(1 - a)) with a fused ReLU
        y = ADD(v, r)

    Result:
        p = DEPTHWISE_CONV_2D(x, (1 - a) factor, (1 - a) offset) with a fused ReLU
        s = DEPTHWISE_CONV_2D(x, a factor, a offset)
        y = ADD(p, s)

    Left alone where v or y stays float, and where the user asked for the very range of v.
    """
    flat, replaced = state.flat, {}
    for norm, rectified, total in _decomposed_after_norms(flat):
        value, output = int(norm.outputs[0]), int(total.outputs[0])
        if value in state.float_outputs or output in state.float_outputs or value in state.user_ranges:
            continue
        slopes = 1 + flat.channels(rectified, 1)
        positive, sloped = (flat.add_activation(name, output) for name in ("positive", "sloped"))
        replaced[id(norm)] = _scaled_norm(flat, norm, 1 - slopes, positive, _RELU)
        replaced[id(rectified)] = _scaled_norm(flat, norm, slopes, sloped, schema.ActivationFunctionType.NONE)
        total.inputs = np.array([positive, sloped], np.int32)
        state.ranges[positive], state.ranges[sloped] = _addend_ranges(state.ranges[value], slopes)
    flat.subgraph.operators = [replaced.get(id(operator), operator) for operator in flat.operators]


def _scaled_norm(flat: FlatModel, norm: Any, factor: ChannelVector, output: int, activation: int) -> Any:
    """The BatchNorm's operator times a factor for each channel, with an activation."""
    x, weights, bias = int(norm.inputs[0]), flat.channels(norm, 1), flat.channels(norm, 2)
    return depthwise(flat, x, output, factor * weights, factor * bias, activation)


def _addend_ranges(value: ChannelRanges, slopes: ChannelVector) -> tuple[ChannelRanges, ChannelRanges]:
    """Of relu((1 - a) v) and of a v, from the ranges of v; slopes of shape (channels,)."""
    ends = np.sort([slopes * value.low, slopes * value.high], axis=0).astype(np.float64)
    reach = ((1 - slopes) * np.maximum(value.high, 0.0)).astype(np.float64)
    positive = ChannelRanges(np.zeros_like(reach), reach, value.source)
    return positive, ChannelRanges(ends[0], ends[1], value.source)


def _decomposed_after_norms(flat: FlatModel) -> Iterator[tuple[Any, Any, Any]]:
    """The three operators of each decomposed PReLU that alone reads a depthwise convolution of one tap: that, the
    rectified part and the sum."""
    producers = flat.producers()
    consumers = flat.consumer_counts()
    for total in flat.operators:
        if flat.kind(total) != "ADD":
            continue
        value, addend = (int(i) for i in total.inputs)
        norm, rectified = producers.get(value), producers.get(addend)
        if norm is None or rectified is None or (consumers[value], consumers[addend]) != (2, 1):
            continue
        pointwise = is_pointwise_depthwise(flat, norm) and is_pointwise_depthwise(flat, rectified)
        if not pointwise or int(rectified.inputs[0]) != value:
            continue
        activations = [operator.builtinOptions.fusedActivationFunction for operator in (norm, rectified)]
        falling = np.all(flat.channels(rectified, 1) <= 0) and not np.any(flat.channels(rectified, 2))
        if falling and activations == [schema.ActivationFunctionType.NONE, _RELU]:
            yield norm, rectified, total

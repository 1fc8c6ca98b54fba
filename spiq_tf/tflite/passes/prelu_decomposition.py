"""PRELU -> a depthwise convolution with a ReLU, and an addition.

The CPU delegate leaves an int8 PRELU to slower kernels: on ESPNet that takes 2.5 times as long as float. With slope a,
prelu(x) = x + relu(-(1 - a) x) where a <= 1, and x - relu(-(a - 1) x) where a >= 1.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.distributions.values import ChannelRanges, Source
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.passes.affine_to_depthwise import ChannelVector, depthwise, is_pointwise_depthwise

_RELU = schema.ActivationFunctionType.RELU


def decompose_prelu(flat: FlatModel) -> None:
    """Replaces, in place, every PRELU of maps with a slope for each channel."""
    result: list[Any] = []
    for operator in flat.operators:
        slopes = _slopes(flat, operator) if flat.kind(operator) == "PRELU" else None
        if slopes is None:
            result.append(operator)
        else:
            result += _decomposed(flat, int(operator.inputs[0]), int(operator.outputs[0]), slopes)
    flat.subgraph.operators = result


def _slopes(flat: FlatModel, operator: Any) -> ChannelVector | None:
    """One slope a channel, or None where they differ from position to position or are no constants."""
    value, alpha = (int(i) for i in operator.inputs)
    shape = flat.shape(value)
    if len(shape) != 4 or not flat.is_constant(alpha):
        return None
    slopes = flat.value(alpha)
    return slopes.reshape(-1) if slopes.size == shape[-1] == slopes.shape[-1] else None


def _decomposed(flat: FlatModel, value: int, output: int, slopes: ChannelVector) -> list[Any]:
    zero = np.zeros_like(slopes)
    rectified = flat.add_activation("rectified", output)
    operators = [depthwise(flat, value, rectified, -np.abs(1 - slopes), zero, _RELU)]
    if np.all(slopes >= 1):
        difference = flat.operator(schema.BuiltinOperator.SUB, [value, rectified], output, schema.SubOptionsT())
        return [*operators, difference]
    if np.any(slopes > 1):  # both signs: the rectified part is given its own, which a sum cannot do
        signed = flat.add_activation("signed", output)
        operators.append(depthwise(flat, rectified, signed, np.sign(1 - slopes), zero))
        rectified = signed
    return [*operators, flat.operator(schema.BuiltinOperator.ADD, [value, rectified], output, schema.AddOptionsT())]


def fold_norm_into_prelu(
    flat: FlatModel, ranges: Mapping[int, ChannelRanges], float_outputs: Collection[int]
) -> dict[int, ChannelRanges]:
    """Computes, in place, both addends of a PReLU from what the BatchNorm in front reads, where that is a depthwise
    convolution.

    With y = factor x + offset, prelu(y) = relu((1 - a) y) + a y takes as many operators as y, relu(-(1 - a) y) and
    their sum. But y itself, which has to reach both ways, is then never rounded: the first addend reaches one way, the
    second is small where the slope is.

    Args:
        flat: the float file, after `decompose_prelu`.
        ranges: of every activation, by tensor index.
        kept: outputs of the operators that stay float.

    Returns:
        The ranges, with those of the addends.
    """
    result, replaced = dict(ranges), {}
    for norm, half, total in _behind_norms(flat):
        x, value, output = int(norm.inputs[0]), int(norm.outputs[0]), int(total.outputs[0])
        whole = ranges[value]
        if value in float_outputs or output in float_outputs or whole.source == Source.GIVEN:
            continue  # the user asked for this very tensor
        factor, offset = flat.channels(norm, 1), flat.channels(norm, 2)
        slopes = 1 + flat.channels(half, 1)
        positive, sloped = (flat.add_activation(name, output) for name in ("positive", "sloped"))
        replaced[id(norm)] = depthwise(flat, x, positive, (1 - slopes) * factor, (1 - slopes) * offset, _RELU)
        replaced[id(half)] = depthwise(flat, x, sloped, slopes * factor, slopes * offset)
        total.inputs = np.array([positive, sloped], np.int32)
        ends = np.sort([slopes * whole.low, slopes * whole.high], axis=0).astype(np.float64)
        reach = ((1 - slopes) * np.maximum(whole.high, 0.0)).astype(np.float64)
        result[positive] = ChannelRanges(np.zeros_like(reach), reach, whole.source)
        result[sloped] = ChannelRanges(ends[0], ends[1], whole.source)
    flat.subgraph.operators = [replaced.get(id(operator), operator) for operator in flat.operators]
    return result


def _behind_norms(flat: FlatModel) -> Iterator[tuple[Any, Any, Any]]:
    """The three operators of each PReLU that alone reads a depthwise convolution of one tap: that, the rectified part
    and the sum."""
    producers = flat.producers()
    consumers = flat.consumer_counts()
    for total in flat.operators:
        if flat.kind(total) != "ADD":
            continue
        value, rectified = (int(i) for i in total.inputs)
        norm, half = producers.get(value), producers.get(rectified)
        if norm is None or half is None or (consumers[value], consumers[rectified]) != (2, 1):
            continue
        if not (
            is_pointwise_depthwise(flat, norm) and is_pointwise_depthwise(flat, half) and int(half.inputs[0]) == value
        ):
            continue
        activations = [operator.builtinOptions.fusedActivationFunction for operator in (norm, half)]
        falling = np.all(flat.channels(half, 1) <= 0) and not np.any(flat.channels(half, 2))
        if falling and activations == [schema.ActivationFunctionType.NONE, _RELU]:
            yield norm, half, total

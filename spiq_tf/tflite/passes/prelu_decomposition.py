"""PRELU -> a depthwise convolution with a ReLU, and an addition.

XNNPACK leaves an int8 PRELU to slower kernels: on ESPNet that takes 2.5 times as long as float. With slope a,
prelu(x) = x + relu(-(1 - a) x) where a <= 1, and x - relu(-(a - 1) x) where a >= 1. The sum is more accurate too: at
one scale of x and of the sum, what is positive is not rounded again.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.passes.affine_to_depthwise import ChannelVector, depthwise

_RELU = schema.ActivationFunctionType.RELU


def decompose_prelu(flat: FlatModel) -> None:
    """Replaces, in place, every PRELU of a feature map with a slope a for each channel.

    Given:
        y = PRELU(x, a)

    Result, where all slopes are at most 1:
        r = DEPTHWISE_CONV_2D(x, -(1 - a)) with a fused ReLU
        y = ADD(x, r)

    Where all are at least 1 it is SUB(x, r); where there are both, r gets its sign by another depthwise convolution.
    """
    result: list[Any] = []
    for operator in flat.operators:
        slopes = _slopes(flat, operator) if flat.kind(operator) == "PRELU" else None
        if slopes is None:
            result.append(operator)
        else:
            result += _decomposed(flat, int(operator.inputs[0]), int(operator.outputs[0]), slopes)
    flat.subgraph.operators = result


def _slopes(flat: FlatModel, operator: Any) -> ChannelVector | None:
    """Slopes of shape (channels,), or None where they differ between spatial locations or are not constant."""
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
    if np.any(slopes > 1):  # both signs: the rectified part gets that of each channel, which an addition cannot do
        signed = flat.add_activation("signed", output)
        operators.append(depthwise(flat, rectified, signed, np.sign(1 - slopes), zero))
        rectified = signed
    return [*operators, flat.operator(schema.BuiltinOperator.ADD, [value, rectified], output, schema.AddOptionsT())]

"""PRELU -> a depthwise convolution with a ReLU, and an addition.

The CPU delegate leaves an int8 PRELU to slower kernels: on ESPNet that takes 2.5 times as long as float. With slope a,
prelu(x) = x + relu(-(1 - a) x) where a <= 1, and x - relu(-(a - 1) x) where a >= 1.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.channelwise import Channels, depthwise
from spiq_tf.tflite.flatbuffer import FlatModel


def add_rectified(flat: FlatModel) -> None:
    """Replaces, in place, every PRELU of maps with a slope for each channel."""
    result: list[Any] = []
    for operator in flat.operators:
        slopes = _slopes(flat, operator) if flat.kind(operator) == "PRELU" else None
        if slopes is None:
            result.append(operator)
        else:
            result += _decomposed(flat, int(operator.inputs[0]), int(operator.outputs[0]), slopes)
    flat.subgraph.operators = result


def _slopes(flat: FlatModel, operator: Any) -> Channels | None:
    """One slope a channel, or None where they differ from position to position or are no constants."""
    value, alpha = (int(i) for i in operator.inputs)
    shape = flat.shape(value)
    if len(shape) != 4 or not flat.is_constant(alpha):
        return None
    slopes = flat.value(alpha)
    return slopes.reshape(-1) if slopes.size == shape[-1] == slopes.shape[-1] else None


def _decomposed(flat: FlatModel, value: int, output: int, slopes: Channels) -> list[Any]:
    zero = np.zeros_like(slopes)
    rectified = flat.add_activation("rectified", output)
    relu = schema.ActivationFunctionType.RELU
    operators = [depthwise(flat, value, rectified, -np.abs(1 - slopes), zero, relu)]
    if np.all(slopes >= 1):
        difference = flat.operator(schema.BuiltinOperator.SUB, 1, [value, rectified], output, schema.SubOptionsT())
        return [*operators, difference]
    if np.any(slopes > 1):  # both signs: the rectified part is given its own, which a sum cannot do
        signed = flat.add_activation("signed", output)
        operators.append(depthwise(flat, rectified, signed, np.sign(1 - slopes), zero))
        rectified = signed
    return [*operators, flat.operator(schema.BuiltinOperator.ADD, 1, [value, rectified], output, schema.AddOptionsT())]

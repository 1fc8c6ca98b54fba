"""int8 DEPTHWISE_CONV_2D of one tap that treats all channels alike -> MUL and ADD with a number.

A Rescaling of pixels is one. The depthwise kernels of XNNPACK compute at least three taps of sixteen channels:
on 224 x 224 x 3 values 0.28 ms, where MUL and ADD with a number, of which it makes one table, take 0.02. ARM has the
same kernels of three taps, and vector kernels for both others.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.quantization.bit_width import INT8, INT8_WEIGHT
from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.tflite.addition_limits import is_addition_safe
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.passes.affine_to_depthwise import is_pointwise_depthwise
from spiq_tf.tflite.state import IntegerState


def uniform_depthwise_to_products(state: IntegerState) -> None:
    """Replaces, in place, int8 depthwise convolutions of one tap with one weight and one bias for all channels.

    Given:
        y = DEPTHWISE_CONV_2D(x, w, b), w and b the same for each channel, x and y int8

    Result:
        p = MUL(x, w), at the scale of x times w: no integer changes, but in sign
        y = ADD(p, b); without a bias y = MUL(x, w)

    Left alone where the weight is 0, and where the kernels of an addition do not hold the scales.
    """
    flat, result = state.flat, []
    for operator in flat.operators:
        affine = _uniform(flat, operator)
        products = None if affine is None else _products(flat, operator, *affine)
        result += [operator] if products is None else products
    flat.subgraph.operators = result


def _uniform(flat: FlatModel, operator: Any) -> tuple[float, float] | None:
    """Weight and bias of such an operator, as real values."""
    if not is_pointwise_depthwise(flat, operator) or not flat.is_constant(int(operator.inputs[2])):
        return None
    if any(flat.dtype(i) != INT8.dtype for i in (int(operator.inputs[0]), int(operator.outputs[0]))):
        return None
    weights, biases = (_real(flat, int(index)) for index in operator.inputs[1:])
    if np.ptp(weights) > 0 or np.ptp(biases) > 0 or weights[0] == 0:
        return None
    return float(weights[0]), float(biases[0])


def _real(flat: FlatModel, index: int) -> npt.NDArray[np.float64]:
    """A symmetric constant with a scale for each channel, or one for all."""
    scales = np.asarray(flat.tensor(index).quantization.scale, np.float64)
    return flat.value(index).reshape(-1) * scales


def _products(flat: FlatModel, operator: Any, weight: float, bias: float) -> list[Any] | None:
    """MUL and ADD, or MUL alone; None where the kernels of an addition do not hold these scales."""
    x, y = int(operator.inputs[0]), int(operator.outputs[0])
    activation = operator.builtinOptions.fusedActivationFunction
    before, after = flat.quantization(x), flat.quantization(y)
    assert before is not None, flat.name(x)  # int8
    assert after is not None, flat.name(y)
    zero_point = before.zero_point if weight > 0 else INT8.qmin + INT8.qmax - before.zero_point
    scaled = QuantizationParameters(before.scale * abs(weight), zero_point, INT8)
    constant = QuantizationParameters.from_range(min(bias, 0.0), max(bias, 0.0), INT8_WEIGHT)
    if bias != 0 and not is_addition_safe([scaled, constant], after):
        return None
    factor = _number(flat, y, "factor", weight)
    if bias == 0:
        options = schema.MulOptionsT(fusedActivationFunction=activation)
        return [flat.operator(schema.BuiltinOperator.MUL, [x, factor], y, options)]
    product = flat.add_quantized_activation("product", y, scaled)
    options = schema.AddOptionsT(fusedActivationFunction=activation)
    offset = _number(flat, y, "offset", bias)
    return [
        flat.operator(schema.BuiltinOperator.MUL, [x, factor], product, schema.MulOptionsT()),
        flat.operator(schema.BuiltinOperator.ADD, [product, offset], y, options),
    ]


def _number(flat: FlatModel, y: int, name: str, number: float) -> int:
    """A constant that goes with a tensor of any shape."""
    return flat.add_quantized_constant(f"{flat.name(y)}/{name}", np.full([1] * len(flat.shape(y)), number))

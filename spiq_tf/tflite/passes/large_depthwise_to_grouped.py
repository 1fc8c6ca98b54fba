"""int8 DEPTHWISE_CONV_2D of more than 25 taps -> CONV_2D in groups of some sixteen channels, its other weights 0.

XNNPACK's depthwise kernels end at 25 taps, on every processor. Beyond, it takes the operator all the same, as a
convolution with one channel a group, of which its matrix kernels use one of 64 to 512 products. On 28 x 28 x 192 values
7 x 7 taps take 46 ms (float 7.7, LiteRT's own kernel 3.0); in groups of 16 channels 3.0, of 32 1.7 ms. On ARM the
matrix kernels make 16 (or 8) outputs of 4 (or 8) inputs at a time, so groups of 16 leave none of the outputs unused.
The integers that come out are the same. The price is the size of these weights, times the channels of a group:
the file of NASNetMobile grows by 15 %.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.quantization.bit_width import INT8
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.state import IntegerState

_MOST_TAPS = 25
"""Of XNNPACK's depthwise kernels for int8."""
_LEAST_CHANNELS, _MOST_CHANNELS = 16, 48
"""Of a group: outputs that the kernels make at a time, and where larger groups cost more than they save."""


def large_depthwise_to_grouped(state: IntegerState) -> None:
    """Replaces, in place, int8 depthwise convolutions with more than 25 taps.

    Given:
        y = DEPTHWISE_CONV_2D(x, w), w of shape (1, height, width, channels)

    Result:
        y = CONV_2D(x, v), v of shape (channels, height, width, g), 0 but where channels of a group meet themselves

    Left alone where no number of 16 to 48 divides the channels, nor are they fewer.
    """
    flat, result = state.flat, []
    for operator in flat.operators:
        size = _group_size(flat, operator) if flat.kind(operator) == "DEPTHWISE_CONV_2D" else None
        result.append(operator if size is None else _grouped(flat, operator, size))
    flat.subgraph.operators = result


def _group_size(flat: FlatModel, operator: Any) -> int | None:
    """Input channels of each group; None where the operator is to stay."""
    x, weights = int(operator.inputs[0]), flat.weights(operator)
    if weights is None or flat.dtype(x) != INT8.dtype:
        return None
    _, height, width, _ = flat.shape(weights)
    channels = flat.shape(x)[-1]
    if height * width <= _MOST_TAPS:
        return None
    if channels <= _LEAST_CHANNELS:
        return channels
    sizes = range(_LEAST_CHANNELS, _MOST_CHANNELS + 1)
    return next((size for size in sizes if channels % size == 0), None)


def _grouped(flat: FlatModel, operator: Any, size: int) -> Any:
    x, index, bias = (int(i) for i in operator.inputs)
    name, options = flat.name(index), operator.builtinOptions
    weights = flat.add_constant(f"{name}/grouped", _block_diagonal(flat.value(index), flat.shape(x)[-1], size))
    quantization = flat.tensor(weights).quantization = schema.QuantizationParametersT()
    given = flat.tensor(index).quantization
    quantization.scale, quantization.zeroPoint = given.scale, given.zeroPoint
    quantization.quantizedDimension = 0
    convolution = schema.Conv2DOptionsT(
        padding=options.padding,
        strideH=options.strideH,
        strideW=options.strideW,
        dilationHFactor=options.dilationHFactor,
        dilationWFactor=options.dilationWFactor,
        fusedActivationFunction=options.fusedActivationFunction,
    )
    return flat.operator(schema.BuiltinOperator.CONV_2D, [x, weights, bias], int(operator.outputs[0]), convolution)


def _block_diagonal(value: npt.NDArray[Any], channels: int, size: int) -> npt.NDArray[Any]:
    """Depthwise weights (1, height, width, outputs) as those of a convolution, (outputs, height, width, size)."""
    _, height, width, outputs = value.shape
    result = np.zeros((outputs, height, width, size), value.dtype)
    output = np.arange(outputs)
    result[output, :, :, output // (outputs // channels) % size] = np.moveaxis(value[0], -1, 0)
    return result

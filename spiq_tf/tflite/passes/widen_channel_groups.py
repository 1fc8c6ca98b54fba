"""int8 convolutions in groups of few channels -> groups of some sixteen, whose other weights are 0.

XNNPACK runs groups one after the other, and its matrix kernels make 16 outputs (on some processors 8) of 4 or 8 inputs
at a time, used or not: 3 x 3 taps on 56 x 56 x 128 values take 7.6 ms in groups of 4, 2.2 in groups of 16, with the
same integers. Its depthwise kernels make one output of an input and end at 25 taps, on every processor; all others are
convolutions with a channel a group: two outputs of each of 28 x 28 x 32 values take 1.8 ms, in groups of 16 channels
0.12; 7 x 7 taps on 28 x 28 x 192 values take 46 ms (float 7.7, LiteRT's own kernel 3.0), in groups of 16 again 3.0.
Groups of 32 would take 0.6 of that, at twice the size. The price is the size of these weights: the file of NASNetMobile
grows by 15 %. What XNNPACK makes of them in memory does not, where outputs of a group were fewer than it makes at a
time.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.quantization.bit_width import INT8
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.state import IntegerState

_MOST_TAPS = 25
"""Of XNNPACK's depthwise kernels for int8."""
_LEAST_CHANNELS, _MOST_CHANNELS = 16, 64
"""Of a group: outputs that the kernels make at a time, and where larger groups cost more than they save."""


@dataclass(frozen=True, kw_only=True)
class _Groups:
    """A convolution in groups.

    Attributes:
        weights: shape (outputs, height, width, inputs a group).
        inputs: channels of the whole input.
        scales, zero_points: of the weights, for each output.
    """

    weights: npt.NDArray[Any]
    inputs: int
    scales: npt.NDArray[Any]
    zero_points: npt.NDArray[Any]

    @property
    def size(self) -> int:
        """Inputs of a group."""
        return int(self.weights.shape[-1])

    @property
    def number(self) -> int:
        """Of groups."""
        return self.inputs // self.size

    @property
    def merged(self) -> int:
        """How many groups become one: 1 where they are large enough, or where XNNPACK takes a depthwise kernel."""
        outputs, height, width, _ = self.weights.shape
        if self.size == 1 and outputs == self.inputs and height * width <= _MOST_TAPS:
            return 1
        if max(self.size, outputs // self.number) >= _LEAST_CHANNELS:
            return 1
        if self.inputs <= _LEAST_CHANNELS:
            return self.number
        counts = (count for count in range(1, self.number + 1) if self.number % count == 0)
        sizes = range(_LEAST_CHANNELS, _MOST_CHANNELS + 1)
        return next((count for count in counts if count * self.size in sizes), 1)

    def block_diagonal(self, count: int) -> npt.NDArray[Any]:
        """The weights with so many groups in each of the larger ones."""
        outputs, height, width, size = self.weights.shape
        result = np.zeros((outputs, height, width, count, size), self.weights.dtype)
        output = np.arange(outputs)
        result[output, :, :, output // (outputs // self.number) % count] = self.weights
        return result.reshape(outputs, height, width, count * size)


def widen_channel_groups(state: IntegerState) -> None:
    """Replaces, in place, int8 convolutions in groups of fewer than 16 channels, depthwise ones of more than 25 taps
    or of several outputs an input among them.

    Given:
        y = DEPTHWISE_CONV_2D(x, w), or y = CONV_2D(x, w) in groups

    Result:
        y = CONV_2D(x, v) in groups of g channels, v 0 but where the channels of a group of w meet

    Left alone where no number of groups makes one of 16 to 64 channels, unless there are no more than 16 in all.
    """
    flat, result = state.flat, []
    for operator in flat.operators:
        groups = _groups(flat, operator)
        count = 1 if groups is None else groups.merged
        result.append(operator if groups is None or count == 1 else _convolution(flat, operator, groups, count))
    flat.subgraph.operators = result


def _groups(flat: FlatModel, operator: Any) -> _Groups | None:
    if flat.kind(operator) not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return None
    x, index = int(operator.inputs[0]), flat.weights(operator)
    if index is None or flat.dtype(x) != INT8.dtype:
        return None
    weights, quantization = flat.value(index), flat.tensor(index).quantization
    if flat.kind(operator) == "DEPTHWISE_CONV_2D":
        weights = np.moveaxis(weights, -1, 0)  # (outputs, 1, height, width)
        weights = np.moveaxis(weights, 1, -1)
    return _Groups(
        weights=weights, inputs=flat.shape(x)[-1], scales=quantization.scale, zero_points=quantization.zeroPoint
    )


def _convolution(flat: FlatModel, operator: Any, groups: _Groups, count: int) -> Any:
    x, index, *bias = (int(i) for i in operator.inputs)
    options = operator.builtinOptions
    weights = flat.add_constant(f"{flat.name(index)}/groups", groups.block_diagonal(count))
    flat.tensor(weights).quantization = schema.QuantizationParametersT()
    quantization = flat.tensor(weights).quantization
    quantization.scale, quantization.zeroPoint, quantization.quantizedDimension = groups.scales, groups.zero_points, 0
    convolution = schema.Conv2DOptionsT(
        padding=options.padding,
        strideH=options.strideH,
        strideW=options.strideW,
        dilationHFactor=options.dilationHFactor,
        dilationWFactor=options.dilationWFactor,
        fusedActivationFunction=options.fusedActivationFunction,
    )
    return flat.operator(schema.BuiltinOperator.CONV_2D, [x, weights, *bias], int(operator.outputs[0]), convolution)

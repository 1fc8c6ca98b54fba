"""int8 CONV_2D with a stride over few channels -> neighbors along the stride are channels of one location.

XNNPACK's int8 convolutions read 4 or 8 channels of a tap at a time, however few there are: of the 3 of an image, or the
one of a sound. In memory the columns 2 x and 2 x + 1 of an image are neighbors, so a RESHAPE makes 6 channels of both,
and the 3 taps of a row become 2. The first convolution of MobileNetV3 at 224 takes 0.8 of its time, one of 80 taps
with stride 4 over a sound 0.3 of it. On ARM, kernels with i8mm and those of before 2018 read 8 channels at a time too;
those with dot products alone read 4: of 3 channels they multiply a third more and fetch a third less.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.quantization.bit_width import INT8
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.state import IntegerState

_MOST_CHANNELS = 8
"""That one step of the kernels reads."""


@dataclass(frozen=True, kw_only=True)
class _Along:
    """A convolution along the axis of its stride.

    Attributes:
        axis: 1 or 2.
        size: of the input.
        taps, stride: of the kernel.
        before: how many of the padding's zeros stand before the first value.
    """

    axis: int
    size: int
    taps: int
    stride: int
    before: int

    @property
    def shift(self) -> int:
        """How many zeros go before the kernel's first tap, so that it starts where a group of neighbors does."""
        return -self.before % self.stride

    @property
    def grouped_taps(self) -> int:
        """The kernel's taps over groups."""
        return -(-(self.shift + self.taps) // self.stride)

    @property
    def gains(self) -> bool:
        """Whether the input is a number of whole groups, and fewer of them are read than taps before.

        With stride 1 over groups the padding is right as well: as many groups of zeros stand before the first as hold
        the zeros before and the shift.
        """
        return self.stride > 1 and self.size % self.stride == 0 and self.grouped_taps < self.taps


def strides_into_channels(state: IntegerState) -> None:
    """Rewrites, in place, int8 convolutions with a stride along the rows of an image, or along a sound.

    Given:
        y = CONV_2D(x, w) with stride s along the width, x of shape (batch, height, width, channels)

    Result:
        g = RESHAPE(x) of shape (batch, height, width / s, s channels)
        y = CONV_2D(g, v) with stride 1 along the width, v with the weights of w and zeros

    Left alone where the width is no multiple of s, s times the channels are more than kernels read in one step, or the
    taps get no fewer.
    """
    flat, result = state.flat, []
    for operator in flat.operators:
        along = _along(flat, operator) if flat.kind(operator) == "CONV_2D" else None
        result += [operator] if along is None else _grouped(flat, operator, along)
    flat.subgraph.operators = result


def _along(flat: FlatModel, operator: Any) -> _Along | None:
    """The axis along which the convolution can be grouped."""
    x, weights, options = int(operator.inputs[0]), flat.weights(operator), operator.builtinOptions
    if flat.dtype(x) != INT8.dtype or weights is None or (options.dilationHFactor, options.dilationWFactor) != (1, 1):
        return None
    shape, kernel, output = (flat.shape(i) for i in (x, weights, int(operator.outputs[0])))
    # neighbors along the height are neighbors in memory where the width is 1
    axis, stride = (1, options.strideH) if shape[2] == kernel[2] == 1 else (2, options.strideW)
    if shape[-1] != kernel[-1] or shape[-1] * stride > _MOST_CHANNELS:
        return None
    same = options.padding == schema.Padding.SAME
    missing = max((output[axis] - 1) * stride + kernel[axis] - shape[axis], 0) if same else 0
    along = _Along(axis=axis, size=shape[axis], taps=kernel[axis], stride=stride, before=missing // 2)
    return along if along.gains else None


def _grouped(flat: FlatModel, operator: Any, along: _Along) -> list[Any]:
    x, index, y = int(operator.inputs[0]), int(operator.inputs[1]), int(operator.outputs[0])
    parameters = flat.quantization(x)
    assert parameters is not None, flat.name(x)  # int8
    shape = list(flat.shape(x))
    shape[along.axis] //= along.stride
    shape[-1] *= along.stride
    groups = flat.add_activation("groups", y, shape=shape)
    flat.set_quantization(groups, parameters)
    value = _grouped_weights(flat.value(index), along)
    weights = flat.add_constant(f"{flat.name(index)}/grouped", value)
    flat.tensor(weights).quantization = flat.tensor(index).quantization
    operator.inputs = np.array([groups, weights, *operator.inputs[2:]], np.int32)
    if along.axis == 1:
        operator.builtinOptions.strideH = 1
    else:
        operator.builtinOptions.strideW = 1
    return [flat.reshape(x, groups, any_batch=True), operator]


def _grouped_weights(value: npt.NDArray[Any], along: _Along) -> npt.NDArray[Any]:
    """Weights (outputs, height, width, channels) with the taps along the axis in groups, zeros where there are none."""
    missing = along.grouped_taps * along.stride - along.shift - along.taps
    padding = [(0, 0)] * value.ndim
    padding[along.axis] = (along.shift, missing)
    padded = np.moveaxis(np.pad(value, padding), along.axis, -2)  # (outputs, other axis, taps, channels)
    grouped = padded.reshape(*padded.shape[:2], along.grouped_taps, along.stride * value.shape[-1])
    return np.ascontiguousarray(np.moveaxis(grouped, -2, along.axis))

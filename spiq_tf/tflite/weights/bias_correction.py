"""Puts the weights of a float flatbuffer on their integer grids and corrects what that does to the biases."""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.distributions.values import Array, Moments
from spiq_tf.options import Options
from spiq_tf.primitives import kernels
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.weights.rounding import guard_small_outputs, round_kernel


def round_and_correct(
    flat: FlatModel,
    moments: Mapping[int, Moments],
    scales: Mapping[int, float],
    offsets: Mapping[int, float],
    float_outputs: Collection[int],
    options: Options,
) -> list[str]:
    """Rounds the weights of every convolution and fully connected operator in place, and corrects its bias.

    Rounding moves the mean of output o by sum of dW_oc E[x_c], known without data: it is subtracted from the
    bias (DFQ, ICCV 2019, section 4.2).

    Args:
        flat: the float file; changed.
        moments: of each channel of the activations, by tensor index, where known.
        scales: the int8 scale of each activation, by tensor index.
        offsets: by how much the model's values of a tensor are larger than the file's, if they are.
        kept: outputs of the operators that stay float.
        options: what the user chose.

    Returns:
        Names of the output tensors of the operators that are rounded, not corrected: of those whose input's moments are
        unknown.
    """
    uncorrected = []
    consumers = flat.consumer_counts()
    rounded: dict[int, tuple[Array, Array]] = {}  # weights tensor: original and rounded kernel
    for operator in flat.operators:
        layout = _LAYOUTS.get(flat.kind(operator))
        if layout is None or int(operator.outputs[0]) in float_outputs or not flat.is_constant(int(operator.inputs[1])):
            continue
        x, weights = (int(operator.inputs[place]) for place in (flat.data_operand(operator), 1))
        bias_index = _own_bias(flat, operator, consumers)
        bias = flat.value(bias_index).astype(np.float64)
        if weights not in rounded:
            kernel = layout.read(flat.value(weights).astype(np.float64), flat.shape(x))
            per_tensor = layout is _DENSE and not options.per_channel_dense
            deviation = moments[x].deviation if x in moments else None
            guarded = guard_small_outputs(kernel, bias, scales[x], per_tensor)
            rounded[weights] = (
                kernel,
                round_kernel(guarded, per_tensor, deviation, options.parts.sum_preserving_rounding),
            )
            flat.set_value(weights, layout.write(rounded[weights][1], flat.shape(weights)))
        kernel, grid = rounded[weights]
        tap_validity = layout.tap_validity(flat, operator)
        if offset := offsets.get(x, 0.0):
            bias = bias + kernels.mean_response(grid, tap_validity, np.full(flat.shape(x)[-1], offset))
            flat.set_value(bias_index, bias)
        if x in moments and options.parts.bias_correction:
            flat.set_value(bias_index, bias - kernels.mean_response(grid - kernel, tap_validity, moments[x].mean))
        elif not np.array_equal(grid, kernel):
            uncorrected.append(flat.name(int(operator.outputs[0])))
    return uncorrected


def _own_bias(flat: FlatModel, operator: Any, consumers: Counter[int]) -> int:
    """The operator's bias, made its own; convolutions without one share a constant of zeros.

    Args:
        flat: the file.
        operator: gets a copy if others read its bias too.
        readers: how many operators still read each tensor; the last one keeps the tensor itself.
    """
    inputs, place = [int(i) for i in operator.inputs], flat.bias_operand(operator)
    if len(inputs) > place and inputs[place] >= 0:
        if consumers[inputs[place]] == 1:
            return inputs[place]
        consumers[inputs[place]] -= 1
        value = flat.value(inputs[place]).copy()
    else:
        value = np.zeros(flat.shape(int(operator.outputs[0]))[-1], np.float32)
    index = flat.add_constant(f"{flat.name(int(operator.outputs[0]))}/bias", value)
    operator.inputs = np.array([*inputs[:place], index], np.int32)
    return index


class _Convolution:
    """TFLite's CONV_2D: weights (outputs, height, width, inputs a group)."""

    def read(self, weights: Array, input_shape: tuple[int, ...]) -> Array:
        groups = input_shape[-1] // weights.shape[-1]
        return kernels.canonical(np.moveaxis(weights, 0, -1), groups, depthwise=False)

    def write(self, kernel: Array, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        outputs, *rest = shape
        return np.moveaxis(kernels.restored(kernel, (*rest, outputs), depthwise=False), -1, 0)

    def tap_validity(self, flat: FlatModel, operator: Any) -> Array:
        return _tap_validity(flat, operator, flat.shape(int(operator.inputs[1]))[1:3])


class _Depthwise(_Convolution):
    """TFLite's DEPTHWISE_CONV_2D: weights (1, height, width, channels * multiplier)."""

    def read(self, weights: Array, input_shape: tuple[int, ...]) -> Array:
        return weights.reshape(-1, input_shape[-1], 1, weights.shape[-1] // input_shape[-1])

    def write(self, kernel: Array, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        return kernel.reshape(shape)


class _Transposed(_Convolution):
    """TFLite's TRANSPOSE_CONV: an output position reads but a share of the taps, all equally often."""

    def tap_validity(self, flat: FlatModel, operator: Any) -> Array:
        x, y = (
            math.prod(flat.shape(int(i))[1:3])
            for i in (operator.inputs[flat.data_operand(operator)], operator.outputs[0])
        )
        return np.full(math.prod(flat.shape(int(operator.inputs[1]))[1:3]), x / y)


class _Dense(_Convolution):
    """TFLite's FULLY_CONNECTED: weights (outputs, inputs)."""

    def tap_validity(self, flat: FlatModel, operator: Any) -> Array:
        return np.ones(1)


_DENSE = _Dense()
_LAYOUTS: Mapping[str, _Convolution] = {
    "CONV_2D": _Convolution(),
    "DEPTHWISE_CONV_2D": _Depthwise(),
    "FULLY_CONNECTED": _DENSE,
    "TRANSPOSE_CONV": _Transposed(),
}


def _tap_validity(flat: FlatModel, operator: Any, window: tuple[int, ...]) -> Array:
    options = operator.builtinOptions
    return kernels.tap_validity(
        flat.shape(int(operator.inputs[0]))[1:3],
        window,
        (options.strideH, options.strideW),
        (options.dilationHFactor, options.dilationWFactor),
        options.padding == schema.Padding.SAME,
    )

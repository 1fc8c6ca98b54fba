"""Biases that make up for what rounded weights and pixel inputs do to the means of outputs."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from spiq_tf.distributions.values import Array, Moments
from spiq_tf.primitives import kernels
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.weights.rounding import RoundedWeights


def correct_biases(
    flat: FlatModel,
    weights: Mapping[int, RoundedWeights],
    moments: Mapping[int, Moments],
    offsets: Mapping[int, float],
    float_outputs: Collection[int],
    *,
    rounding_shift: bool,
) -> list[str]:
    """Gives, in place, every operator with rounded weights a bias of its own that corrects the mean of its output.

    Rounding moves the mean of output o by sum of dW_oc E[x_c], known without data: it is subtracted from the
    bias (DFQ, ICCV 2019, section 4.2).

    Args:
        flat: the float file with rounded weights; changed.
        weights: before and after rounding, by the index of their tensor.
        moments: of the channels of activations, by tensor index, in file units, where they are known.
        offsets: by how much the model's values of a tensor are larger than the file's, where they are.
        float_outputs: outputs of the operators that stay float.
        rounding_shift: whether what rounding does to the mean is corrected, or offsets alone.

    Returns:
        Names of the outputs of operators whose weights were changed and whose bias was not corrected for it: of those
        whose input's moments are unknown.
    """
    uncorrected = []
    counts = flat.consumer_counts()
    for operator in flat.operators:
        index = flat.weights(operator)
        kernel = None if index is None else weights.get(index)
        if kernel is None or int(operator.outputs[0]) in float_outputs:
            continue
        x, bias_index = flat.data(operator), _own_bias(flat, operator, counts)
        bias, tap_validity = flat.value(bias_index).astype(np.float64), _tap_validity(flat, operator)
        if offset := offsets.get(x, 0.0):
            bias = bias + kernels.mean_response(kernel.rounded, tap_validity, np.full(flat.shape(x)[-1], offset))
            flat.set_value(bias_index, bias)
        if x in moments and rounding_shift:
            shift = kernels.mean_response(kernel.rounded - kernel.original, tap_validity, moments[x].mean)
            flat.set_value(bias_index, bias - shift)
        elif not np.array_equal(kernel.rounded, kernel.original):
            uncorrected.append(flat.name(int(operator.outputs[0])))
    return uncorrected


def _tap_validity(flat: FlatModel, operator: Any) -> Array:
    """How often each tap of an operator with weights lies inside the input, shape (taps,)."""
    row = flat.row(operator)
    assert row.layout is not None, flat.kind(operator)  # its weights were rounded
    weights, output = int(operator.inputs[row.weights_operand]), int(operator.outputs[0])
    shapes = flat.shape(flat.data(operator)), flat.shape(weights), flat.shape(output)
    return row.layout.tap_validity(*shapes, operator.builtinOptions)


def _own_bias(flat: FlatModel, operator: Any, counts: Counter[int]) -> int:
    """The operator's bias, made its own; convolutions without one share a constant of zeros.

    Args:
        flat: the file.
        operator: with weights; gets a copy if others read its bias too.
        counts: how many operators still read each tensor; the last one keeps the tensor itself.
    """
    bias, operand = flat.bias(operator), flat.row(operator).bias_operand
    if bias is None:
        value = np.zeros(flat.shape(int(operator.outputs[0]))[-1], np.float32)
    elif counts[bias] == 1:
        return bias
    else:
        counts[bias] -= 1
        value = flat.value(bias).copy()
    index = flat.add_constant(f"{flat.name(int(operator.outputs[0]))}/bias", value)
    operator.inputs = np.array([*operator.inputs[:operand], index], np.int32)
    return index

"""Weights of the file on their integer grids."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spiq_tf.distributions.values import Array, Moments
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.weights.kernel_rounding import guard_small_outputs, round_kernel


@dataclass(frozen=True)
class RoundedWeights:
    """Weights before and after they were put on their grid.

    Attributes:
        original, rounded: canonical kernels, (taps, groups, inputs a group, outputs a group), in file units.
    """

    original: Array
    rounded: Array


def round_weights(
    flat: FlatModel,
    moments: Mapping[int, Moments],
    scales: Mapping[int, float],
    float_outputs: Collection[int],
    *,
    per_channel_dense: bool,
    sum_preserving: bool,
) -> dict[int, RoundedWeights]:
    """Puts, in place, the constant weights of every operator that has such on their integer grids.

    Weights that several operators read are rounded for the first of them.

    Args:
        flat: the float file; changed.
        moments: of the channels of activations, by tensor index, in file units, where they are known.
        scales: of the activations, by tensor index: real value of one integer step, in file units.
        float_outputs: outputs of the operators that stay float.
        per_channel_dense: whether a fully connected operator's weights have a scale for each output.
        sum_preserving: see `round_kernel`.

    Returns:
        The weights, by the index of their tensor.
    """
    result: dict[int, RoundedWeights] = {}
    for operator in flat.operators:
        row, weights, layout = flat.row(operator), flat.weights(operator), flat.row(operator).layout
        if layout is None or weights is None or weights in result or int(operator.outputs[0]) in float_outputs:
            continue
        x = flat.data(operator)
        kernel = layout.read(flat.value(weights).astype(np.float64), flat.shape(x))
        per_tensor = row.optional_channel_scales and not per_channel_dense
        guarded = guard_small_outputs(kernel, bias_value(flat, operator), scales[x], per_tensor)
        rounded = round_kernel(guarded, per_tensor, moments[x].deviation if x in moments else None, sum_preserving)
        flat.set_value(weights, layout.write(rounded, flat.shape(weights)))
        result[weights] = RoundedWeights(kernel, rounded)
    return result


def bias_value(flat: FlatModel, operator: Any) -> Array:
    """The bias of an operator with weights, shape (outputs,); zeros where it has none."""
    bias = flat.bias(operator)
    if bias is None:
        return np.zeros(flat.shape(int(operator.outputs[0]))[-1])
    return flat.value(bias).astype(np.float64)

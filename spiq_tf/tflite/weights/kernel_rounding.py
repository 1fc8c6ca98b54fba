"""Kernels on their integer grids; all of shape (taps, groups, inputs a group, outputs a group)."""

import math

import numpy as np
import numpy.typing as npt

from spiq_tf.distributions.values import Array
from spiq_tf.quantization.bit_width import INT8_WEIGHT, INT32, BitWidth

_TINY = 1e-30

BIAS_LIMIT = (INT32.qmax + 1) / 2
"""No quantized bias comes nearer to the end of int32 than half of it; the accumulator needs the rest."""


def round_kernel(
    kernel: Array,
    per_tensor: bool,
    deviation: Array | None = None,
    sum_preserving: bool = True,
    bit_width: BitWidth = INT8_WEIGHT,
) -> Array:
    """The kernel on its grid, rounded so that errors cancel where the inputs are similar.

    Neighboring pixels are similar, so the errors of each spatial kernel are made to sum to about 0; and channels rise
    and fall together with the contrast of the image, so those of each output, times the channels' deviations, are too
    (SQuant, ICLR 2022, section 3: the kernel-wise and the channel-wise term). Errors stay below one scale.

    Args:
        kernel: (taps, groups, inputs a group, outputs a group).
        per_tensor: whether there is one scale for all, rather than one for each output.
        deviation: of the inputs, (groups * inputs a group,), where known.
        sum_preserving: without it every weight is rounded to the nearest integer.
        bit_width: symmetric, of the integers.

    Returns:
        Multiples of the scale, which is the largest magnitude over the highest integer.
    """
    scale = _weight_scales(kernel, per_tensor, bit_width)
    # clipped so that both integers around each are on the grid
    exact = np.clip(kernel / scale, -bit_width.qmax, bit_width.qmax)
    rounded = np.rint(exact)
    if sum_preserving:
        rounded = _preserve_kernel_sums(exact, rounded) if kernel.shape[0] > 1 else rounded
        if deviation is not None and kernel.shape[2] > 1:
            rounded = _preserve_output_sums(exact, rounded, deviation.reshape(kernel.shape[1:3]))
    return rounded * scale


def _weight_scales(kernel: Array, per_tensor: bool, bit_width: BitWidth) -> Array:
    """Of each output or of all; 1 over the highest integer where all weights are 0."""
    largest = np.abs(kernel).max(axis=None if per_tensor else (0, 2), keepdims=True)
    return np.where(largest > 0, largest, 1.0) / bit_width.qmax


def _preserve_kernel_sums(exact: Array, nearest: Array) -> Array:
    """Rounds the other way the weights nearest to a tie, as many as bring each sum within half an integer."""
    error = exact - nearest
    total = np.rint(error.sum(axis=0))
    sign = np.sign(total)
    candidate = sign * error
    rank = np.argsort(np.argsort(-candidate, axis=0, kind="stable"), axis=0, kind="stable")
    flipped = (rank < np.abs(total)) & (candidate > 0)
    return nearest + np.where(flipped, sign, 0.0)


def _preserve_output_sums(exact: Array, rounded: Array, deviation: Array) -> Array:
    """Rounds the other way the weights that bring the sum of error x deviation of each output nearest to 0, those
    first that add the least error for what they move it."""
    taps, groups, ins, outs = exact.shape
    error = (exact - rounded).transpose(1, 3, 0, 2).reshape(groups, outs, taps * ins)
    size = np.tile(deviation, taps)[:, None, :]
    total = (error * size).sum(axis=2, keepdims=True)
    sign = np.sign(total)
    improvement = sign * error
    moves = np.where(improvement > 0, size, 0.0)
    cost = np.where(moves > 0, (1 - 2 * improvement) / np.maximum(size, _TINY), np.inf)
    flips = np.zeros_like(error)
    likely = _LIKELY_FLIPS * math.isqrt(taps * ins) + _LIKELY_FLIPS
    for count in sorted({min(likely, taps * ins), taps * ins}):
        order = _cheapest(cost, count)
        moved = np.take_along_axis(moves, order, axis=2)
        reached = np.cumsum(moved, axis=2)
        np.put_along_axis(flips, order, (moved > 0) & (reached - moved / 2 <= np.abs(total)), axis=2)
        if np.all(reached[..., -1:] >= np.abs(total)):
            break
    return rounded + (sign * flips).reshape(groups, outs, taps, ins).transpose(2, 0, 3, 1)


_LIKELY_FLIPS = 8
"""Times the root of the number of weights: sorted first, for speed. Errors sum to about 0.3 times the root."""


def _cheapest(cost: Array, count: int) -> npt.NDArray[np.intp]:
    """Indices of the `count` least along the last axis, ascending."""
    cheapest = np.sort(np.argpartition(cost, count - 1, axis=-1)[..., :count], axis=-1)
    order = np.argsort(np.take_along_axis(cost, cheapest, axis=-1), axis=-1, kind="stable")
    return np.take_along_axis(cheapest, order, axis=-1)


def guard_small_outputs(
    kernel: Array, bias: Array, input_scale: float, per_tensor: bool, bit_width: BitWidth = INT8_WEIGHT
) -> Array:
    """The kernel with no output so small that its bias, in units of input scale x weight scale, leaves int32.

    A dead channel's largest weight is raised just so far. Over the whole range of the input this moves the
    output by at most 127^2 / 2^30 of its bias, well below its last bit.

    Args:
        kernel: (taps, groups, inputs a group, outputs a group).
        bias: shape (groups * outputs a group,).
        input_scale: of the data operand.
        per_tensor: whether there is one weight scale for all outputs.
        bit_width: symmetric, of the weights.
    """
    groups, outputs = kernel.shape[1], kernel.shape[3]
    least = bit_width.qmax * np.abs(bias) / (BIAS_LIMIT * input_scale)
    least = least.reshape(groups, outputs)
    largest = np.abs(kernel).max(axis=(0, 2))
    if per_tensor:
        least, largest = np.atleast_1d(least.max()), np.atleast_1d(largest.max())
    if np.all(largest >= least):
        return kernel
    result = kernel.copy()
    if per_tensor:
        index = np.unravel_index(np.argmax(np.abs(kernel)), kernel.shape)
        result[index] = np.copysign(least[0], kernel[index])
        return result
    for group, output in np.argwhere(largest < least):
        column = result[:, group, :, output]
        index = np.unravel_index(np.argmax(np.abs(column)), column.shape)
        column[index] = np.copysign(least[group, output], column[index])
    return result

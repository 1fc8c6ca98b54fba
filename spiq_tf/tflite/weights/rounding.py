"""Kernels on their integer grids; all of shape (taps, groups, inputs a group, outputs a group)."""

import math

import numpy as np
import numpy.typing as npt

from spiq_tf.distributions.values import Array

_TINY = 1e-30

LIMIT = 127
"""Weights are symmetric and narrow: -127 to 127 (LiteRT 8-bit quantization specification)."""

BIAS_LIMIT = 2.0**30
"""No quantized bias comes nearer to the end of int32; the accumulator needs the rest."""


def round_kernel(
    kernel: Array, per_tensor: bool, deviation: Array | None = None, sum_preserving_rounding: bool = True
) -> Array:
    """The kernel on its grid, rounded so that errors cancel where the inputs are alike.

    Neighbouring pixels are alike, so the errors of each spatial kernel are made to sum to about 0; and channels rise
    and fall together with the contrast of the image, so those of each output, times the channels' deviations, are too
    (SQuant, ICLR 2022, section 3: the kernel-wise and the channel-wise term). Errors stay below one step.

    Args:
        kernel: (taps, groups, inputs a group, outputs a group).
        per_tensor: whether there is one step for all, rather than one for each output.
        deviation: of the inputs, (groups * inputs a group,), where known.
        kept_sums: without it every weight is rounded to the nearest step.

    Returns:
        Multiples of the step, which is the largest magnitude over 127.
    """
    step = _steps(kernel, per_tensor)
    exact = np.clip(kernel / step, -LIMIT, LIMIT)  # so that both integers around each are on the grid
    rounded = np.rint(exact)
    if sum_preserving_rounding:
        rounded = _keep_kernel_sums(exact, rounded) if kernel.shape[0] > 1 else rounded
        if deviation is not None and kernel.shape[2] > 1:
            rounded = _keep_output_sums(exact, rounded, deviation.reshape(kernel.shape[1:3]))
    return rounded * step


def _steps(kernel: Array, per_tensor: bool) -> Array:
    largest = np.abs(kernel).max(axis=None if per_tensor else (0, 2), keepdims=True)
    return np.where(largest > 0, largest, 1.0) / LIMIT


def _keep_kernel_sums(exact: Array, nearest: Array) -> Array:
    """Rounds the other way the weights nearest to a tie, as many as bring each sum within half a step."""
    error = exact - nearest
    total = np.rint(error.sum(axis=0))
    sign = np.sign(total)
    candidate = sign * error
    rank = np.argsort(np.argsort(-candidate, axis=0, kind="stable"), axis=0, kind="stable")
    flipped = (rank < np.abs(total)) & (candidate > 0)
    return nearest + np.where(flipped, sign, 0.0)


def _keep_output_sums(exact: Array, rounded: Array, deviation: Array) -> Array:
    """Rounds the other way the weights that bring the sum of error x deviation of each output nearest to 0, those
    first that add the least error for what they move it."""
    taps, groups, ins, outs = exact.shape
    error = (exact - rounded).transpose(1, 3, 0, 2).reshape(groups, outs, taps * ins)
    size = np.tile(deviation, taps)[:, None, :]
    total = (error * size).sum(axis=2, keepdims=True)
    sign = np.sign(total)
    gained = sign * error
    moves = np.where(gained > 0, size, 0.0)
    cost = np.where(moves > 0, (1 - 2 * gained) / np.maximum(size, _TINY), np.inf)
    flips = np.zeros_like(error)
    few = _FLIPS * math.isqrt(taps * ins) + _FLIPS
    for count in sorted({min(few, taps * ins), taps * ins}):
        order = _cheapest(cost, count)
        moved = np.take_along_axis(moves, order, axis=2)
        reached = np.cumsum(moved, axis=2)
        np.put_along_axis(flips, order, (moved > 0) & (reached - moved / 2 <= np.abs(total)), axis=2)
        if np.all(reached[..., -1:] >= np.abs(total)):
            break
    return rounded + (sign * flips).reshape(groups, outs, taps, ins).transpose(2, 0, 3, 1)


_FLIPS = 8
"""Times the root of the number of weights: sorted first, for speed. Errors sum to about 0.3 times the root."""


def _cheapest(cost: Array, count: int) -> npt.NDArray[np.intp]:
    """Places of so many of the least along the last axis, ascending."""
    some = np.sort(np.argpartition(cost, count - 1, axis=-1)[..., :count], axis=-1)
    order = np.argsort(np.take_along_axis(cost, some, axis=-1), axis=-1, kind="stable")
    return np.take_along_axis(some, order, axis=-1)


def guard_small_outputs(kernel: Array, bias: Array, input_scale: float, per_tensor: bool) -> Array:
    """The kernel with no output so small that its bias, in steps of input x weight, leaves int32.

    A dead channel's largest weight is raised just so far. Over the whole range of the input this moves the
    output by at most 127^2 / 2^30 of its bias, well below its last bit.
    """
    groups, outputs = kernel.shape[1], kernel.shape[3]
    least = LIMIT * np.abs(bias) / (BIAS_LIMIT * input_scale)
    least = least.reshape(groups, outputs)
    largest = np.abs(kernel).max(axis=(0, 2))
    if per_tensor:
        least, largest = np.atleast_1d(least.max()), np.atleast_1d(largest.max())
    if np.all(largest >= least):
        return kernel
    result = kernel.copy()
    if per_tensor:
        place = np.unravel_index(np.argmax(np.abs(kernel)), kernel.shape)
        result[place] = np.copysign(least[0], kernel[place])
        return result
    for group, output in np.argwhere(largest < least):
        column = result[:, group, :, output]
        place = np.unravel_index(np.argmax(np.abs(column)), column.shape)
        column[place] = np.copysign(least[group, output], column[place])
    return result

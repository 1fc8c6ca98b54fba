"""Kernels on their integer grids; all of shape (taps, groups, inputs a group, outputs a group)."""

import numpy as np

from spiq_tf.primitives.values import Array

LIMIT = 127
"""Weights are symmetric and narrow: -127 to 127 (LiteRT 8-bit quantization specification)."""

_BIAS_LIMIT = 2.0**30
"""No quantized bias comes nearer to the end of int32; the accumulator needs the rest."""


def round_kernel(kernel: Array, per_tensor: bool, kept_sums: bool = True) -> Array:
    """The kernel on its grid, rounded so that the sum over the taps of each spatial kernel is kept.

    Neighbouring pixels are alike, so what a spatial kernel's rounding errors sum to weighs more than each
    alone (SQuant, ICLR 2022, section 3: the kernel-wise term). Errors stay below one step.

    Args:
        kernel: (taps, groups, inputs a group, outputs a group).
        per_tensor: whether there is one step for all, rather than one for each output.
        kept_sums: without it every weight is rounded to the nearest step.

    Returns:
        Multiples of the step, which is the largest magnitude over 127.
    """
    step = _steps(kernel, per_tensor)
    exact = kernel / step
    nearest = np.rint(exact)
    return (_keep_sums(exact, nearest) if kept_sums else nearest) * step


def _steps(kernel: Array, per_tensor: bool) -> Array:
    largest = np.abs(kernel).max(axis=None if per_tensor else (0, 2), keepdims=True)
    return np.where(largest > 0, largest, 1.0) / LIMIT


def _keep_sums(exact: Array, nearest: Array) -> Array:
    """Rounds the other way the weights nearest to a tie, as many as bring each sum within half a step."""
    error = exact - nearest
    total = np.rint(error.sum(axis=0))
    sign = np.sign(total)
    candidate = np.where(np.abs(nearest + sign) <= LIMIT, sign * error, -np.inf)
    rank = np.argsort(np.argsort(-candidate, axis=0, kind="stable"), axis=0, kind="stable")
    flipped = (rank < np.abs(total)) & (candidate > 0)
    return nearest + np.where(flipped, sign, 0.0)


def guard_small_outputs(kernel: Array, bias: Array, input_scale: float, per_tensor: bool) -> Array:
    """The kernel with no output so small that its bias, in steps of input x weight, leaves int32.

    A dead channel's largest weight is raised just so far. Over the whole range of the input this moves the
    output by at most 127^2 / 2^30 of its bias, well below its last bit.
    """
    groups, outputs = kernel.shape[1], kernel.shape[3]
    least = LIMIT * np.abs(bias) / (_BIAS_LIMIT * input_scale)
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

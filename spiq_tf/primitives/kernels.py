"""Convolution kernels in one layout for all kinds: (taps, groups, inputs a group, outputs a group).

Input channel g * I + i feeds the output channels g * O + o. A Dense layer has one tap and one group, a
depthwise convolution as many groups as input channels.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def canonical(kernel: Array, groups: int, depthwise: bool) -> Array:
    """A Keras kernel, (*spatial, I, outputs) or depthwise (*spatial, channels, multiplier), as (T, G, I, O)."""
    taps = int(np.prod(kernel.shape[:-2]))
    if depthwise:
        return kernel.reshape(taps, kernel.shape[-2], 1, kernel.shape[-1])
    return kernel.reshape(taps, kernel.shape[-2], groups, -1).transpose(0, 2, 1, 3)


def restored(kernel: Array, shape: Sequence[int], depthwise: bool) -> Array:
    """The inverse of `canonical`, for a Keras kernel of the given shape."""
    return kernel.reshape(shape) if depthwise else kernel.transpose(0, 2, 1, 3).reshape(shape)


def mean_response(kernel: Array, tap_validity: Array, mean: Array) -> Array:
    """Mean of the convolution's output: sum over taps t and inputs i of v_t W_tgio E[x_gi], v the tap validity.

    Args:
        kernel: (T, G, I, O).
        tap_validity: (T,), how often each tap lies inside the input, see the function.
        mean: of the input, (G * I,).

    Returns:
        (G * O,).
    """
    groups, inputs = kernel.shape[1:3]
    return np.einsum("tgio,t,gi->go", kernel, tap_validity, mean.reshape(groups, inputs), optimize=True).ravel()


def variance_response(kernel: Array, tap_validity: Array, variance: Array) -> Array:
    """Variance of the output for independent inputs: sum of v_t W_tgio^2 Var[x_gi], shape (G * O,)."""
    return mean_response(kernel**2, tap_validity, variance)


def tap_validity(
    sizes: Sequence[int], window: Sequence[int], strides: Sequence[int], dilations: Sequence[int], same: bool
) -> Array:
    """The share of output locations at which each tap of a window lies inside the input, flattened to (T,).

    Under "same" padding the taps at the border read zeros part of the time, so the mean of an output is smaller
    than that of its input by just this factor. Under "valid" padding all are 1.

    Args:
        sizes: of the input along each spatial axis.
        window, strides, dilations: along each spatial axis.
        same: whether the padding is "same".
    """
    result = np.ones(())
    for size, taps, stride, dilation in zip(sizes, window, strides, dilations, strict=True):
        result = np.multiply.outer(result, _axis_tap_validity(size, taps, stride, dilation, same))
    return result.ravel()


def _axis_tap_validity(size: int, taps: int, stride: int, dilation: int, same: bool) -> Array:
    if not same:
        return np.ones(taps)
    outputs = -(-size // stride)
    padding = max((outputs - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
    location = np.arange(outputs)[:, None] * stride - padding // 2 + np.arange(taps) * dilation
    return ((location >= 0) & (location < size)).mean(axis=0)

"""Convolutions and matrix products: everything that is a kernel and a bias."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spiq_tf import kernels
from spiq_tf.primitives.base import (
    Array,
    Channels,
    Moments,
    Primitive,
    Range,
    Weights,
    derived,
    gaussian_range,
)


@dataclass(frozen=True, eq=False)
class Linear(Primitive):
    """y_o = sum over c of W_co x_c, plus b_o: a convolution, a depthwise convolution or a Dense.

    Attributes:
        kernel: key of the kernel, in Keras's layout.
        bias: key of the bias, or None.
        coverage: share of positions at which each tap lies inside the input, shape (taps,).
        groups: of a convolution.
        depthwise: whether the kernel is (*spatial, channels, multiplier).
    """

    kernel: int
    bias: int | None
    coverage: Array
    groups: int = 1
    depthwise: bool = False

    is_linear = True
    takes_fused_activation = True

    def variables(self) -> tuple[int, ...]:
        return (self.kernel,) if self.bias is None else (self.kernel, self.bias)

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Independent inputs: means add with the weights, variances with their squares."""
        (x,) = inputs
        kernel = kernels.canonical(weights[self.kernel], self.groups, self.depthwise)
        mean = kernels.mean_response(kernel, self.coverage, x.mean)
        if self.bias is not None:
            mean = mean + weights[self.bias]
        return Moments(mean, kernels.variance_response(kernel, self.coverage, x.variance))

    def mean_map(self, weights: Weights) -> tuple[Array, Array]:
        """The mean of the output as a linear map of the input's: (outputs, inputs) and an offset (outputs,)."""
        kernel = kernels.canonical(weights[self.kernel], self.groups, self.depthwise)
        _, groups, ins, outs = kernel.shape
        summed = np.einsum("tgio,t->goi", kernel, self.coverage)
        response = np.zeros((groups, outs, groups, ins))
        response[np.arange(groups), :, np.arange(groups), :] = summed
        offset = np.zeros(groups * outs) if self.bias is None else weights[self.bias]
        return response.reshape(groups * outs, groups * ins), offset

    def range(self, inputs: Sequence[Channels], moments: Moments, weights: Weights, deviations: float) -> Range:
        """Of a Gaussian whose deviation is the geometric mean of two extremes: of independent inputs, and of
        inputs that all move together. Class scores are no sums of independent terms: the features of a class
        fire together, and a range of independent terms would cut the winner.
        """
        (x,) = inputs
        kernel = kernels.canonical(weights[self.kernel], self.groups, self.depthwise)
        together = kernels.mean_response(np.abs(kernel), self.coverage, x.moments.deviation)
        spread = Moments(moments.mean, moments.deviation * together)
        return gaussian_range(spread, deviations, derived([x.range]))

    def absorb(self, weights: Weights, inputs: Sequence[Array], output: Array) -> dict[int, Array]:
        """W'_co = W_co s_c / s_o and b'_o = b_o / s_o (SPIQ, section 3.3)."""
        original = weights[self.kernel]
        kernel = kernels.canonical(original, self.groups, self.depthwise)
        _, groups, ins, outs = kernel.shape
        scaled = kernel * inputs[0].reshape(groups, ins, 1) / output.reshape(groups, 1, outs)
        result = {self.kernel: kernels.restored(scaled, original.shape, self.depthwise)}
        if self.bias is not None:
            result[self.bias] = weights[self.bias] / output
        return result


def full_coverage() -> Array:
    """Of a Dense: its one tap always lies inside."""
    return np.ones(1)

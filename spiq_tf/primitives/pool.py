"""Pooling: averages and maxima over windows or whole maps. Scales pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spiq_tf import gaussian
from spiq_tf.primitives.base import (
    Channels,
    Moments,
    Primitive,
    Range,
    Tie,
    Weights,
    derived,
    gaussian_range,
    pass_through,
)


@dataclass(frozen=True, eq=False)
class AveragePool(Primitive):
    """Mean over a window.

    Attributes:
        size: number of positions in the window.
    """

    size: int

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """The variance falls with the square root of the size: neighbours are correlated."""
        (x,) = inputs
        return Moments(x.mean, x.variance / np.sqrt(self.size))

    def range(self, inputs: Sequence[Channels], moments: Moments, weights: Weights, deviations: float) -> Range:
        """That of a Gaussian with the average's own moments, never more than the input's."""
        x = inputs[0].range
        own = gaussian_range(moments, deviations, derived(x.range for x in inputs))
        return Range(np.clip(own.low, x.low, x.high), np.clip(own.high, x.low, x.high), own.source)

    def ties(self, channels: Sequence[int], output_channels: int) -> Sequence[Tie]:
        return pass_through(output_channels)


@dataclass(frozen=True, eq=False)
class MaxPool(Primitive):
    """Maximum over a window.

    Attributes:
        size: number of positions in the window.
    """

    size: int

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Of the largest of sqrt(size) independent Gaussians: neighbours are correlated, as in AveragePool."""
        (x,) = inputs
        shift, shrink = gaussian.largest_of(np.sqrt(self.size))
        return Moments(x.mean + shift * x.deviation, shrink * x.variance)

    def range(self, inputs: Sequence[Channels], moments: Moments, weights: Weights, deviations: float) -> Range:
        return inputs[0].range

    def ties(self, channels: Sequence[int], output_channels: int) -> Sequence[Tie]:
        return pass_through(output_channels)

"""Operations that join several tensors: additions and concatenations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spiq_tf.primitives.base import (
    OUTPUT,
    Channels,
    Moments,
    Primitive,
    Range,
    Tie,
    Weights,
    derived,
    gaussian_range,
    mixture,
)


@dataclass(frozen=True, eq=False)
class Add(Primitive):
    """Sum of the inputs, each times its sign; inputs of one channel are broadcast.

    Attributes:
        signs: 1 or -1 for each input.
    """

    signs: tuple[int, ...]

    takes_fused_activation = True

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Means and variances add, as if the inputs were independent (DFQ, section 4.2)."""
        mean = sum(sign * x.mean for sign, x in zip(self.signs, inputs, strict=True))
        return Moments(np.asarray(mean), np.asarray(sum(x.variance for x in inputs)) + 0.0 * mean)

    def range(self, inputs: Sequence[Channels], moments: Moments, weights: Weights, deviations: float) -> Range:
        """Of a Gaussian with the sum's moments, never more than the sum of the inputs' ranges."""
        own = gaussian_range(moments, deviations, derived(x.range for x in inputs))
        ends = [
            (x.range.low, x.range.high) if sign > 0 else (-x.range.high, -x.range.low)
            for sign, x in zip(self.signs, inputs, strict=True)
        ]
        low, high = sum(end[0] for end in ends), sum(end[1] for end in ends)
        return Range(np.maximum(own.low, low), np.minimum(own.high, high), own.source)

    def ties(self, channels: Sequence[int], output_channels: int) -> Sequence[Tie]:
        """Both producers of a sum must give it in the same units, channel by channel."""
        every = np.arange(output_channels)
        return tuple(Tie(port, every % count, OUTPUT, every) for port, count in enumerate(channels))


@dataclass(frozen=True, eq=False)
class Concatenate(Primitive):
    """Inputs side by side, along the channels or along another axis.

    Attributes:
        along_channels: whether the axis is that of the channels.
        shares: of the output's positions that each input makes up, where the axis is another.
    """

    along_channels: bool
    shares: tuple[float, ...]

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        if self.along_channels:
            return Moments(np.concatenate([x.mean for x in inputs]), np.concatenate([x.variance for x in inputs]))
        mean, variance = np.stack([x.mean for x in inputs]), np.stack([x.variance for x in inputs])
        return mixture(mean, variance, np.asarray(self.shares))

    def range(self, inputs: Sequence[Channels], moments: Moments, weights: Weights, deviations: float) -> Range:
        parts = [x.range for x in inputs]
        source = max(part.source for part in parts)
        if self.along_channels:
            return Range(np.concatenate([p.low for p in parts]), np.concatenate([p.high for p in parts]), source)
        low, high = np.stack([p.low for p in parts]), np.stack([p.high for p in parts])
        return Range(low.min(axis=0), high.max(axis=0), source)

    def ties(self, channels: Sequence[int], output_channels: int) -> Sequence[Tie]:
        if not self.along_channels:
            every = np.arange(output_channels)
            return tuple(Tie(port, every, OUTPUT, every) for port in range(len(channels)))
        starts = np.concatenate([[0], np.cumsum(channels)[:-1]])
        return tuple(
            Tie(port, np.arange(count), OUTPUT, start + np.arange(count))
            for port, (start, count) in enumerate(zip(starts, channels, strict=True))
        )

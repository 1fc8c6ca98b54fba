"""Operations that join several tensors: additions and concatenations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spiq_tf.primitives.base import OUTPUT, Primitive, Tie
from spiq_tf.primitives.spread import Channels, Spread, combined_spread, gaussian_spread, widest
from spiq_tf.primitives.values import Array, Moments, Weights, derived, mixture

_TINY = 1e-30


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

    def spread(self, inputs: Sequence[Channels], moments: Moments, weights: Weights) -> Spread:
        """Of a variable with the sum's moments, never more than the sum of the inputs' bounds.

        Its excess kurtosis is the inputs', weighted with their shares in the variance: they grow and shrink together.
        """
        parts = [x.spread if sign > 0 else x.spread.flipped for sign, x in zip(self.signs, inputs, strict=True)]
        low, high = -sum(p.below.bound for p in parts), sum(p.above.bound for p in parts)
        total = np.maximum(moments.variance, _TINY)
        excess = sum(x.moments.variance / total * x.spread.excess for x in inputs)
        source = derived([p.source for p in parts])
        return gaussian_spread(moments, excess, source, low, high)

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, alike: float
    ) -> Sequence[Array]:
        return tuple(output if len(x.mean) == len(output) else output.sum(keepdims=True) for x in inputs)

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

    keeps_quantization = True

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        if self.along_channels:
            return Moments(np.concatenate([x.mean for x in inputs]), np.concatenate([x.variance for x in inputs]))
        mean, variance = np.stack([x.mean for x in inputs]), np.stack([x.variance for x in inputs])
        return mixture(mean, variance, np.asarray(self.shares))

    def spread(self, inputs: Sequence[Channels], moments: Moments, weights: Weights) -> Spread:
        return combined_spread([x.spread for x in inputs], np.concatenate if self.along_channels else widest)

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, alike: float
    ) -> Sequence[Array]:
        if self.along_channels:
            return np.split(output, np.cumsum([len(x.mean) for x in inputs])[:-1])
        return [share * output for share in self.shares]

    def ties(self, channels: Sequence[int], output_channels: int) -> Sequence[Tie]:
        if not self.along_channels:
            every = np.arange(output_channels)
            return tuple(Tie(port, every, OUTPUT, every) for port in range(len(channels)))
        starts = np.concatenate([[0], np.cumsum(channels)[:-1]])
        return tuple(
            Tie(port, np.arange(count), OUTPUT, start + np.arange(count))
            for port, (start, count) in enumerate(zip(starts, channels, strict=True))
        )

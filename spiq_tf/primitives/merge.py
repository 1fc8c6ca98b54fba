"""Operations that join several tensors: additions, products, extremes and concatenations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from spiq_tf.primitives.activation import Elementwise
from spiq_tf.primitives.base import OUTPUT, Primitive, Sum, Tie
from spiq_tf.primitives.spread import (
    Channels,
    Side,
    Spread,
    combined_side,
    combined_spread,
    gaussian_spread,
    mapped_spread,
    widest,
)
from spiq_tf.primitives.values import Array, Moments, Range, Weights, derived, mixture

_TINY = 1e-30


@dataclass(frozen=True, eq=False)
class Add(Sum):
    """Sum of the inputs, each times a factor; inputs of one channel are broadcast.

    Attributes:
        factors: of the inputs: 1 or -1, or one over their number in an average.
    """

    factors: tuple[float, ...]

    takes_fused_activation = True

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Means and variances add, as if the inputs were independent (DFQ, section 4.2)."""
        mean = sum(f * x.mean for f, x in zip(self.factors, inputs, strict=True))
        variance = sum(f**2 * x.variance for f, x in zip(self.factors, inputs, strict=True))
        return Moments(np.asarray(mean), np.asarray(variance) + 0.0 * mean)

    def evaluated(self, inputs: Sequence[Array]) -> Array:
        return np.sum([f * x for f, x in zip(self.factors, inputs, strict=True)], axis=0)

    def spread(self, inputs: Sequence[Channels], moments: Moments, weights: Weights) -> Spread:
        """Of a variable with the sum's moments, never more than the sum of the inputs' bounds.

        Its excess kurtosis is the inputs', weighted with their shares in the variance: they grow and shrink together.
        """
        parts = [x.spread if f > 0 else x.spread.flipped for f, x in zip(self.factors, inputs, strict=True)]
        sizes = [abs(f) for f in self.factors]
        low = -sum(f * p.below.bound for f, p in zip(sizes, parts, strict=True))
        high = sum(f * p.above.bound for f, p in zip(sizes, parts, strict=True))
        total = np.maximum(moments.variance, _TINY)
        shares = [f**2 * x.moments.variance / total for f, x in zip(sizes, inputs, strict=True)]
        excess = sum(share * x.spread.excess for share, x in zip(shares, inputs, strict=True))
        source = derived([p.source for p in parts])
        return gaussian_spread(moments, excess, source, low, high)

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, alike: float
    ) -> Sequence[Array]:
        return tuple(f**2 * _collected(output, x) for f, x in zip(self.factors, inputs, strict=True))

    def ties(self, channels: Sequence[int], output_channels: int) -> Sequence[Tie]:
        """Both producers of a sum must give it in the same units, channel by channel."""
        return _all_alike(channels, output_channels)


@dataclass(frozen=True, eq=False)
class Multiply(Primitive):
    """Product of the inputs, broadcast where one has a single channel: gates, squeeze and excite, attention maps.

    The scale of a product is the product of its inputs'. One of them hands its scale on, the others keep theirs at 1.

    Attributes:
        value: the port whose scale passes.
        count: number of inputs.
    """

    value: int
    count: int

    takes_fused_activation = True

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Of independent inputs: first and second moments multiply."""
        mean, power = np.ones(1), np.ones(1)
        for x in inputs:
            mean, power = mean * x.mean, power * (x.variance + x.mean**2)
        return Moments(mean, np.maximum(power - mean**2, 0.0))

    def evaluated(self, inputs: Sequence[Array]) -> Array:
        return np.prod(inputs, axis=0)

    def spread(self, inputs: Sequence[Channels], moments: Moments, weights: Weights) -> Spread:
        """The value as far as it reaches, times the root mean square of the gates.

        The extremes of value and gate seldom meet, unless a gate is often at its own, as a steep tanh is. That gates
        vary makes the tail heavier: of independent factors, the fourth moments multiply.
        """
        gates = [x for port, x in enumerate(inputs) if port != self.value]
        size, heavier = np.ones(1), np.ones(1)
        for m in (x.moments for x in gates):
            power = m.variance + m.mean**2
            fourth = m.mean**4 + 6 * m.mean**2 * m.variance + 3 * m.variance**2
            size, heavier = size * np.sqrt(power), heavier * fourth / np.maximum(power**2, _TINY)
        value = inputs[self.value].spread
        least, _ = _extreme_products([_bounds(x.spread) for x in gates])
        lowest, highest = _extreme_products([_bounds(x.spread) for x in inputs])
        below, above = value.below, value.above
        if np.any(least < 0):
            below = above = combined_side([below, above], widest)

        mean, swing = self._gated_mean(inputs)
        own = inputs[self.value].moments

        def factored(side: Side, sign: float, bound: Array) -> Side:
            often = (side.bound < sign * own.mean + _OFTEN * own.deviation) & np.isfinite(bound)
            centre = np.where(often, bound, np.maximum(side.centre * size, sign * mean))
            deviation = np.where(often, 0.0, np.maximum(side.deviation * size, swing))
            return Side(centre, deviation, bound, (3 + side.excess) * heavier - 3)

        source = derived([x.spread.source for x in inputs])
        excess = (3 + value.excess) * heavier - 3
        return Spread(factored(below, -1.0, -lowest), factored(above, 1.0, highest), excess, source)

    def _gated_mean(self, inputs: Sequence[Channels]) -> tuple[Array, Array]:
        """Mean and deviation of the value's mean times the gates: all that varies of a nearly constant value."""
        value = inputs[self.value].moments.mean
        gates = [x.moments for port, x in enumerate(inputs) if port != self.value]
        mean = math.prod((g.mean for g in gates), start=np.ones(1))
        power = math.prod((g.variance + g.mean**2 for g in gates), start=np.ones(1))
        return value * mean, np.abs(value) * np.sqrt(np.maximum(power - mean**2, 0.0))

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, alike: float
    ) -> Sequence[Array]:
        """Noise of one input is multiplied with the others."""
        powers = [x.variance + x.mean**2 for x in inputs]
        passed = [math.prod(p for i, p in enumerate(powers) if i != own) for own in range(len(inputs))]
        return tuple(_collected(output * p, x) for p, x in zip(passed, inputs, strict=True))

    def ties(self, channels: Sequence[int], output_channels: int) -> Sequence[Tie]:
        every = np.arange(output_channels)
        return (Tie(self.value, every % channels[self.value], OUTPUT, every),)

    def unscaled(self) -> Sequence[int] | None:
        return tuple(port for port in range(self.count) if port != self.value)


@dataclass(frozen=True, eq=False)
class OwnGate(Multiply):
    """A product of a value and functions of it, as x * sigmoid(x): a function of the value.

    Attributes:
        whole: that function.
    """

    whole: Elementwise

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        return self.whole.moments([inputs[self.value]], weights)

    def spread(self, inputs: Sequence[Channels], moments: Moments, weights: Weights) -> Spread:
        return self.whole.spread([inputs[self.value]], moments, weights)


_OFTEN = 2.0  # deviations from the mean within which a bound is often met


def _bounds(spread: Spread) -> tuple[Array, Array]:
    return -spread.below.bound, spread.above.bound


def _extreme_products(bounds: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """The smallest and the largest product of values within bounds, which may be infinite."""
    low, high = np.ones(1), np.ones(1)
    for lowest, highest in bounds:
        with np.errstate(invalid="ignore"):
            ends = np.stack(np.broadcast_arrays(low * lowest, low * highest, high * lowest, high * highest))
        ends = np.where(np.isnan(ends), 0.0, ends)  # 0 times infinity: a gate that stays shut
        low, high = ends.min(axis=0), ends.max(axis=0)
    return low, high


@dataclass(frozen=True, eq=False)
class Extremum(Primitive):
    """The larger or the smaller of two inputs.

    Attributes:
        sign: 1 for the maximum, -1 for the minimum.
    """

    sign: int

    keeps_quantization = True

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Of two independent Gaussians (Clark, 1961)."""
        mean, power = self._parts(inputs)
        return Moments(self.sign * mean, np.maximum(power - mean**2, 0.0))

    def evaluated(self, inputs: Sequence[Array]) -> Array:
        return self.sign * np.max([self.sign * x for x in inputs], axis=0)

    def _parts(self, inputs: Sequence[Moments]) -> tuple[Array, Array]:
        x, y = inputs
        a, b = self.sign * x.mean, self.sign * y.mean
        apart = np.sqrt(np.maximum(x.variance + y.variance, _TINY))
        z = (a - b) / apart
        first, density = ndtr(z), np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        mean = a * first + b * (1 - first) + apart * density
        power = (x.variance + a**2) * first + (y.variance + b**2) * (1 - first) + (a + b) * apart * density
        return mean, power

    def spread(self, inputs: Sequence[Channels], moments: Moments, weights: Weights) -> Spread:
        parts = [x.spread for x in inputs]
        return mapped_spread(self._ends, derived([p.source for p in parts]), *parts)

    def _ends(self, x: Range, y: Range) -> tuple[Array, Array]:
        take = np.maximum if self.sign > 0 else np.minimum
        return take(x.low, y.low), take(x.high, y.high)

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, alike: float
    ) -> Sequence[Array]:
        """The noise of the one that is taken."""
        x, y = inputs
        z = self.sign * (x.mean - y.mean) / np.sqrt(np.maximum(x.variance + y.variance, _TINY))
        return _collected(output * ndtr(z), x), _collected(output * ndtr(-z), y)

    def ties(self, channels: Sequence[int], output_channels: int) -> Sequence[Tie]:
        return _all_alike(channels, output_channels)


def _all_alike(channels: Sequence[int], output_channels: int) -> tuple[Tie, ...]:
    """Each input shares the scales of the output, channel by channel; one of a single channel those of all."""
    every = np.arange(output_channels)
    return tuple(Tie(port, every % count, OUTPUT, every) for port, count in enumerate(channels))


def _collected(gains: Array, x: Moments) -> Array:
    """Gains of an input's channels: the sum over all where its one channel is broadcast."""
    return gains if len(x.mean) == len(gains) else gains.sum(keepdims=True)


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

    @property
    def hands_back(self) -> bool:
        return self.along_channels

    def handed_back(self, output: Moments, channels: Sequence[int]) -> Sequence[Moments] | None:
        if not self.hands_back:
            return None
        places = np.cumsum(channels)[:-1]
        parts = zip(np.split(output.mean, places), np.split(output.variance, places), strict=True)
        return [Moments(mean, variance) for mean, variance in parts]

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

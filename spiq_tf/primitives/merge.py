"""Operations that join several tensors: additions, products, extremes and concatenations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from spiq_tf import priors
from spiq_tf.distributions.tails import (
    ChannelDistribution,
    Tail,
    TensorStatistics,
    channelwise_max,
    combined_distribution,
    combined_tail,
    gaussian_distribution,
    mapped_distribution,
)
from spiq_tf.distributions.values import Array, ChannelRanges, Moments, Weights, derived_source, mixture
from spiq_tf.primitives.activation import Elementwise
from spiq_tf.primitives.base import Primitive, ScaleConstraint, Sum

_TINY = 1e-30


@dataclass(frozen=True, eq=False)
class Add(Sum):
    """Sum of the inputs, each times a factor; inputs of one channel are broadcast.

    Attributes:
        factors: of the inputs: 1 or -1, or one over their number in an average.
    """

    factors: tuple[float, ...]

    is_addition = True
    is_pointwise = True
    takes_fused_activation = True

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Means and variances add, as if the inputs were independent (DFQ, section 4.2)."""
        mean = sum(f * x.mean for f, x in zip(self.factors, inputs, strict=True))
        variance = sum(f**2 * x.variance for f, x in zip(self.factors, inputs, strict=True))
        return Moments(np.asarray(mean), np.asarray(variance) + 0.0 * mean)

    def forward(self, inputs: Sequence[Array]) -> Array:
        return np.sum([f * x for f, x in zip(self.factors, inputs, strict=True)], axis=0)

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        """Of a variable with the sum's moments, within the sum of the inputs' bounds.

        Its excess kurtosis is the inputs', weighted with their shares in the variance: they grow and shrink together.
        """
        parts = [x.distribution if f > 0 else x.distribution.negated for f, x in zip(self.factors, inputs, strict=True)]
        sizes = [abs(f) for f in self.factors]
        low = -sum(f * p.below.bound for f, p in zip(sizes, parts, strict=True))
        high = sum(f * p.above.bound for f, p in zip(sizes, parts, strict=True))
        total = np.maximum(moments.variance, _TINY)
        shares = [f**2 * x.moments.variance / total for f, x in zip(sizes, inputs, strict=True)]
        excess_kurtosis = sum(share * x.distribution.excess_kurtosis for share, x in zip(shares, inputs, strict=True))
        source = derived_source([p.source for p in parts])
        return gaussian_distribution(moments, excess_kurtosis, source, low, high)

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        return tuple(f**2 * _collected(output, x) for f, x in zip(self.factors, inputs, strict=True))

    def scale_constraints(self, channels: Sequence[int], output_channels: int) -> Sequence[ScaleConstraint]:
        """All inputs of a sum share the scales of the output, channel by channel."""
        return _inputs_share_output_scales(channels, output_channels)


@dataclass(frozen=True, eq=False)
class Multiply(Primitive):
    """Product of the inputs, broadcast where one has a single channel: gates, squeeze and excite, attention maps.

    The scale of a product is the product of its inputs'. One of them, the value, shares its scale with the output, the
    others, the gates, are pinned to 1.

    Attributes:
        value: the port of the value.
        count: number of inputs.
    """

    value: int
    count: int

    is_product = True
    is_pointwise = True
    takes_fused_activation = True

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Of independent inputs: first and second moments multiply."""
        mean, power = np.ones(1), np.ones(1)
        for x in inputs:
            mean, power = mean * x.mean, power * (x.variance + x.mean**2)
        return Moments(mean, np.maximum(power - mean**2, 0.0))

    def forward(self, inputs: Sequence[Array]) -> Array:
        return np.prod(inputs, axis=0)

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        """The value's distribution, times the root mean square of the gates.

        The extremes of value and gate seldom coincide, unless a gate is often at its own, as a steep tanh is. That
        gates vary makes the tail heavier: of independent factors, the fourth moments multiply.
        """
        gates = [x for port, x in enumerate(inputs) if port != self.value]
        size, kurtosis = np.ones(1), np.ones(1)
        for m in (x.moments for x in gates):
            power = m.variance + m.mean**2
            fourth = m.mean**4 + 6 * m.mean**2 * m.variance + 3 * m.variance**2
            size, kurtosis = size * np.sqrt(power), kurtosis * fourth / np.maximum(power**2, _TINY)
        value = inputs[self.value].distribution
        least, _ = _extreme_products([_bounds(x.distribution) for x in gates])
        lowest, highest = _extreme_products([_bounds(x.distribution) for x in inputs])
        below, above = value.below, value.above
        if np.any(least < 0):
            below = above = combined_tail([below, above], channelwise_max)

        mean, min_deviation = self._gated_mean(inputs)
        value_moments = inputs[self.value].moments

        def gated(tail: Tail, sign: float, bound: Array) -> Tail:
            near = sign * value_moments.mean + priors.MET_BOUND_SIGMAS.value * value_moments.deviation
            meets_bound = (tail.bound < near) & np.isfinite(bound)
            center = np.where(meets_bound, bound, np.maximum(tail.center * size, sign * mean))
            deviation = np.where(meets_bound, 0.0, np.maximum(tail.deviation * size, min_deviation))
            excess_kurtosis = (3 + tail.excess_kurtosis) * kurtosis - 3
            return Tail(center=center, deviation=deviation, bound=bound, excess_kurtosis=excess_kurtosis)

        return ChannelDistribution(
            below=gated(below, -1.0, -lowest),
            above=gated(above, 1.0, highest),
            excess_kurtosis=(3 + value.excess_kurtosis) * kurtosis - 3,
            source=derived_source([x.distribution.source for x in inputs]),
        )

    def _gated_mean(self, inputs: Sequence[TensorStatistics]) -> tuple[Array, Array]:
        """Mean and deviation of the value's mean times the gates: all that varies of a nearly constant value.

        Returns:
            Both of shape (channels,).
        """
        value = inputs[self.value].moments.mean
        gates = [x.moments for port, x in enumerate(inputs) if port != self.value]
        mean = math.prod((g.mean for g in gates), start=np.ones(1))
        power = math.prod((g.variance + g.mean**2 for g in gates), start=np.ones(1))
        return value * mean, np.abs(value) * np.sqrt(np.maximum(power - mean**2, 0.0))

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        """Noise of one input is multiplied by the others."""
        powers = [x.variance + x.mean**2 for x in inputs]
        others = [math.prod(p for i, p in enumerate(powers) if i != port) for port in range(len(inputs))]
        return tuple(_collected(output * p, x) for p, x in zip(others, inputs, strict=True))

    def scale_constraints(self, channels: Sequence[int], output_channels: int) -> Sequence[ScaleConstraint]:
        outputs = np.arange(output_channels)
        return (ScaleConstraint(self.value, outputs % channels[self.value], outputs),)

    def pinned_ports(self) -> Sequence[int] | None:
        return tuple(port for port in range(self.count) if port != self.value)


@dataclass(frozen=True, eq=False)
class SelfGated(Multiply):
    """A product of a value and functions of it, such as x * sigmoid(x): a function of the value.

    Attributes:
        function: of the value, the product.
    """

    function: Elementwise

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        return self.function.moments([inputs[self.value]], weights)

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        return self.function.distribution([inputs[self.value]], moments, weights)


def _bounds(distribution: ChannelDistribution) -> tuple[Array, Array]:
    return -distribution.below.bound, distribution.above.bound


def _extreme_products(bounds: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """The smallest and the largest product of values within (low, high) bounds, which may be infinite."""
    low, high = np.ones(1), np.ones(1)
    for lowest, highest in bounds:
        with np.errstate(invalid="ignore"):
            ends = np.stack(np.broadcast_arrays(low * lowest, low * highest, high * lowest, high * highest))
        ends = np.where(np.isnan(ends), 0.0, ends)  # 0 times infinity: a gate that is always 0
        low, high = ends.min(axis=0), ends.max(axis=0)
    return low, high


@dataclass(frozen=True, eq=False)
class Extremum(Primitive):
    """The larger or the smaller of two inputs.

    Attributes:
        sign: 1 for the maximum, -1 for the minimum.
    """

    sign: int

    is_pointwise = True
    preserves_quantization = True

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Of two independent Gaussians (Clark, 1961)."""
        mean, power = self._mean_and_power(inputs)
        return Moments(self.sign * mean, np.maximum(power - mean**2, 0.0))

    def forward(self, inputs: Sequence[Array]) -> Array:
        return self.sign * np.max([self.sign * x for x in inputs], axis=0)

    def _mean_and_power(self, inputs: Sequence[Moments]) -> tuple[Array, Array]:
        """E[max] and E[max^2] of sign x and sign y, shape (channels,) (Clark, 1961)."""
        x, y = inputs
        a, b = self.sign * x.mean, self.sign * y.mean
        deviation = np.sqrt(np.maximum(x.variance + y.variance, _TINY))  # of x - y
        z = (a - b) / deviation
        first, density = ndtr(z), np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        mean = a * first + b * (1 - first) + deviation * density
        power = (x.variance + a**2) * first + (y.variance + b**2) * (1 - first) + (a + b) * deviation * density
        return mean, power

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        parts = [x.distribution for x in inputs]
        return mapped_distribution(self._extremes, derived_source([p.source for p in parts]), *parts)

    def _extremes(self, x: ChannelRanges, y: ChannelRanges) -> tuple[Array, Array]:
        extremum = np.maximum if self.sign > 0 else np.minimum
        return extremum(x.low, y.low), extremum(x.high, y.high)

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        """The noise of the input that is the extremum."""
        x, y = inputs
        z = self.sign * (x.mean - y.mean) / np.sqrt(np.maximum(x.variance + y.variance, _TINY))
        return _collected(output * ndtr(z), x), _collected(output * ndtr(-z), y)

    def scale_constraints(self, channels: Sequence[int], output_channels: int) -> Sequence[ScaleConstraint]:
        return _inputs_share_output_scales(channels, output_channels)


def _inputs_share_output_scales(channels: Sequence[int], output_channels: int) -> tuple[ScaleConstraint, ...]:
    """Each input shares the scales of the output, channel by channel; one of a single channel those of all."""
    outputs = np.arange(output_channels)
    return tuple(ScaleConstraint(port, outputs % count, outputs) for port, count in enumerate(channels))


def _collected(gains: Array, x: Moments) -> Array:
    """Gains of an input's channels, (input channels,): the sum over all where its one channel is broadcast."""
    return gains if len(x.mean) == len(gains) else gains.sum(keepdims=True)


@dataclass(frozen=True, eq=False)
class Concatenate(Primitive):
    """A concatenation along the channels or along another axis.

    Attributes:
        along_channels: whether the axis is that of the channels.
        shares: of the output's spatial locations that are each input's, where the axis is another.
    """

    along_channels: bool
    shares: tuple[float, ...]

    preserves_quantization = True

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        if self.along_channels:
            return Moments(np.concatenate([x.mean for x in inputs]), np.concatenate([x.variance for x in inputs]))
        mean, variance = np.stack([x.mean for x in inputs]), np.stack([x.variance for x in inputs])
        return mixture(mean, variance, np.asarray(self.shares))

    @property
    def has_inverse_moments(self) -> bool:
        return self.along_channels

    def inverse_moments(self, output: Moments, channels: Sequence[int]) -> Sequence[Moments] | None:
        if not self.has_inverse_moments:
            return None
        starts = np.cumsum(channels)[:-1]
        parts = zip(np.split(output.mean, starts), np.split(output.variance, starts), strict=True)
        return [Moments(mean, variance) for mean, variance in parts]

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        return combined_distribution(
            [x.distribution for x in inputs], np.concatenate if self.along_channels else channelwise_max
        )

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        if self.along_channels:
            return np.split(output, np.cumsum([len(x.mean) for x in inputs])[:-1])
        return [share * output for share in self.shares]

    def scale_constraints(self, channels: Sequence[int], output_channels: int) -> Sequence[ScaleConstraint]:
        if not self.along_channels:
            same = np.arange(output_channels)
            return tuple(ScaleConstraint(port, same, same) for port in range(len(channels)))
        starts = np.concatenate([[0], np.cumsum(channels)[:-1]])
        return tuple(
            ScaleConstraint(port, np.arange(count), start + np.arange(count))
            for port, (start, count) in enumerate(zip(starts, channels, strict=True))
        )

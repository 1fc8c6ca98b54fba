"""Activations: rectifiers, which commute with a channel scale, and all others, which do not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.special import ndtr, softmax

from spiq_tf import priors
from spiq_tf.distributions import gaussian
from spiq_tf.distributions.tails import (
    ChannelDistribution,
    Tail,
    TensorStatistics,
    bounded_distribution,
    mapped_distribution,
)
from spiq_tf.distributions.values import Array, ChannelRanges, Moments, Source, Weights, mixture
from spiq_tf.primitives.base import Primitive, ScaleConstraint, same_noise_ratio, same_scale_per_channel

_GRID = 257  # points at which a function is evaluated to find its range
_SLOPE_STEP = 1e-2  # of a deviation
_TINY = 1e-12

_DRAWS, _FEWEST_DRAWS = 2**18, 64
"""Values that are drawn for the moments of a softmax: some thousands of a gate's."""


@dataclass(frozen=True, eq=False)
class Rectifier(Primitive):
    """ReLU, leaky ReLU and ReLU with a maximum: slope x below the threshold, x above it, saturated at the maximum.

    Attributes:
        negative_slope: of the part below the threshold.
        maximum: where the function saturates, or None.
        threshold: below it f(x) = negative_slope (x - threshold), as Keras defines it.
    """

    negative_slope: float = 0.0
    maximum: float | None = None
    threshold: float = 0.0

    is_pointwise = True

    @property
    def rectifies(self) -> bool:  # type: ignore[override]
        return self.negative_slope == 0 and self.threshold == 0

    @property
    def fuses_into_producer(self) -> bool:  # type: ignore[override]
        return self.rectifies and self.maximum in (None, 6.0)

    @property
    def elementwise_function(self) -> Callable[[Array], Array]:
        return self._values

    @property
    def saturation(self) -> float | None:  # type: ignore[override]
        return self.maximum

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        (x,) = inputs
        knots, slopes, offsets = [self.threshold], [self.negative_slope, 1.0], [0.0, 0.0]
        offsets[0] = -self.negative_slope * self.threshold
        if self.maximum is not None:
            knots, slopes, offsets = [*knots, self.maximum], [*slopes, 0.0], [*offsets, self.maximum]
        return Moments(*gaussian.piecewise_linear(x.mean, x.deviation, knots, slopes, offsets))

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        """After a ReLU the upper tail is its input's; the kurtosis of the values grows where it is seldom active."""
        x, input_moments = inputs[0].distribution, inputs[0].moments
        excess_kurtosis = x.excess_kurtosis + gaussian.relu_excess_kurtosis(
            (input_moments.mean - self.threshold) / np.maximum(input_moments.deviation, _TINY)
        )
        if not self.rectifies:
            mean = _limited_rarity(input_moments)
            added = gaussian.excess_kurtosis_of(mean, input_moments.deviation, self._values)
            return replace(
                mapped_distribution(self._extremes, x.source, x),
                excess_kurtosis=x.excess_kurtosis + np.maximum(added, 0.0),
            )
        maximum = np.inf if self.maximum is None else self.maximum
        above = replace(x.above, bound=np.clip(x.above.bound, 0.0, maximum))
        zero = np.zeros_like(excess_kurtosis)
        return ChannelDistribution(Tail(zero, zero, zero, zero), above, excess_kurtosis, x.source)

    def _extremes(self, x: ChannelRanges) -> tuple[Array, Array]:
        """Extremes of a piecewise linear function lie at the ends of its domain or at its knots."""
        knots = [k for k in (self.threshold, self.maximum) if k is not None]
        just_below = [np.nextafter(k, -np.inf) for k in knots]
        arguments = [x.low, x.high, *(np.clip(k, x.low, x.high) for k in [*knots, *just_below])]
        values = np.stack([self._values(argument) for argument in arguments])
        return values.min(axis=0), values.max(axis=0)

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        """Noise passes with the square of the slope."""
        (x,) = inputs
        deviation = np.maximum(x.deviation, _TINY)
        below = ndtr((self.threshold - x.mean) / deviation)
        saturated = 0.0 if self.maximum is None else 1 - ndtr((self.maximum - x.mean) / deviation)
        return (output * (np.maximum(1 - below - saturated, 0.0) + self.negative_slope**2 * below),)

    def _values(self, x: Array) -> Array:
        below = self.negative_slope * (x - self.threshold)
        return np.where(x >= self.threshold, x if self.maximum is None else np.minimum(x, self.maximum), below)

    def scale_constraints(self, channels: Sequence[int], output_channels: int) -> Sequence[ScaleConstraint]:
        return same_scale_per_channel(output_channels)

    def pinned_ports(self) -> Sequence[int] | None:
        return () if self.threshold == 0 else None


def _limited_rarity(x: Moments) -> Array:
    """The mean, raised to -NEAR_SIGMAS deviations where values are seldomer positive.

    There, at 1 in 30,000 for 4 deviations, a Gaussian's tail ends.

    Returns:
        Of shape (channels,).
    """
    return np.maximum(x.mean, -priors.NEAR_SIGMAS.value * x.deviation)


@dataclass(frozen=True, eq=False)
class ParametricRelu(Primitive):
    """PReLU: alpha x below zero, x above, with a trained alpha for each channel or each value of a feature map.

    Attributes:
        alpha: key of the slopes, of a shape that broadcasts against the input without its batch.
    """

    alpha: int

    def variables(self) -> tuple[int, ...]:
        return (self.alpha,)

    def _slopes(self, weights: Weights, channels: int) -> Array:
        """alpha, shape (spatial locations or 1, channels)."""
        alpha = weights[self.alpha]
        return alpha.reshape(-1, alpha.shape[-1]) * np.ones(channels)

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Those of the piecewise linear function with each slope, mixed over the spatial locations."""
        (x,) = inputs
        slopes = self._slopes(weights, len(x.mean))
        mean, variance = gaussian.piecewise_linear(x.mean, x.deviation, [0.0], [slopes, 1.0], [0.0, 0.0])
        return mixture(mean, variance, np.full(len(mean), 1.0 / len(mean)))

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        x = inputs[0].distribution
        slopes, input_moments = self._slopes(weights, len(x.excess_kurtosis)), inputs[0].moments
        mean_slope = slopes.mean(axis=0)
        added = gaussian.excess_kurtosis_of(
            _limited_rarity(input_moments), input_moments.deviation, lambda v: np.where(v < 0, mean_slope * v, v)
        )
        distribution = mapped_distribution(partial(self._extremes, slopes), x.source, x)
        return replace(distribution, excess_kurtosis=x.excess_kurtosis + np.maximum(added, 0.0))

    def _extremes(self, slopes: Array, x: ChannelRanges) -> tuple[Array, Array]:
        below = slopes * np.minimum(x.low, 0.0)
        ends = [below, slopes * np.minimum(x.high, 0.0), np.zeros_like(below) + np.maximum(x.high, 0.0)]
        ends = [*ends, np.zeros_like(below) + np.maximum(x.low, 0.0)]
        values = np.concatenate(ends)
        return values.min(axis=0), values.max(axis=0)

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        (x,) = inputs
        slopes = self._slopes(weights, len(x.mean))
        below = ndtr(-x.mean / np.maximum(x.deviation, _TINY))
        return (output * (1 - below + (slopes**2).mean(axis=0) * below),)

    def scale_constraints(self, channels: Sequence[int], output_channels: int) -> Sequence[ScaleConstraint]:
        return same_scale_per_channel(output_channels)


@dataclass(frozen=True, eq=False)
class Elementwise(Primitive):
    """Any other elementwise function: sigmoid, tanh, SiLU, hard-swish, GELU, ELU. It commutes with no scale.

    Attributes:
        function: on arrays, elementwise.
        bounds: its smallest and largest value, or None where it has no bounds.
        steep: whether it grows faster than its argument: an exponential, a square.
    """

    function: Callable[[Array], Array]
    bounds: tuple[float, float] | None = None
    steep: bool = False

    is_pointwise = True

    @property
    def is_steep(self) -> bool:  # type: ignore[override]
        return self.steep

    @property
    def elementwise_function(self) -> Callable[[Array], Array]:
        return self.function

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        (x,) = inputs
        return Moments(*gaussian.quadrature(x.mean, x.deviation, self.function))

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        x, input_moments = inputs[0].distribution, inputs[0].moments
        if self.bounds is not None:
            ones = np.ones_like(moments.mean)
            return bounded_distribution(self.bounds[0] * ones, self.bounds[1] * ones, Source.FIXED)
        excess_kurtosis = x.excess_kurtosis + gaussian.relu_excess_kurtosis(
            input_moments.mean / np.maximum(input_moments.deviation, _TINY)
        )
        return replace(mapped_distribution(self._extremes, x.source, x), excess_kurtosis=excess_kurtosis)

    def _extremes(self, x: ChannelRanges) -> tuple[Array, Array]:
        grid = np.linspace(0.0, 1.0, _GRID)[:, None]
        values = self.function(x.low + (x.high - x.low) * grid)
        return values.min(axis=0), values.max(axis=0)

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        """With the mean square of the slope over the input's Gaussian, by quadrature of central differences."""
        (x,) = inputs
        step = np.maximum(_SLOPE_STEP * x.deviation, _TINY)
        mean, variance = gaussian.quadrature(x.mean, x.deviation, lambda v: self._slope(v, step))
        return (output * (variance + mean**2),)

    def _slope(self, x: Array, step: Array) -> Array:
        return (self.function(x + step) - self.function(x - step)) / (2 * step)

    def pinned_ports(self) -> None:
        return None


@dataclass(frozen=True, eq=False)
class Softmax(Primitive):
    """Softmax over the channels: in [0, 1]."""

    is_softmax = True

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Of independent Gaussians, by drawing them (fixed seed): gates, as a softmax makes, are seldom near 1."""
        (x,) = inputs
        channels = len(x.mean)
        random = np.random.default_rng(0)
        draws = random.standard_normal((max(_DRAWS // channels, _FEWEST_DRAWS), channels))
        shares = softmax(x.mean + x.deviation * draws, axis=1)
        return Moments(shares.mean(axis=0), shares.var(axis=0))

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        return bounded_distribution(np.zeros_like(moments.mean), np.ones_like(moments.mean), Source.FIXED)

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        """The signal-to-noise ratio is assumed to be the same before and after."""
        return (same_noise_ratio(output, moments, inputs[0]),)

    def pinned_ports(self) -> None:
        return None

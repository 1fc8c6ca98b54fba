"""Distributions of a tensor's channels: center, deviation and kurtosis of either tail, and bounds.

Distributions are in the model's units, like moments.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.values import Array, ChannelRanges, Moments, Source

_FLAT = 1e-9


@dataclass(frozen=True, kw_only=True)
class Tail:
    """One tail of the distribution of each channel, in the direction in which it grows; all of shape (channels,).

    Values are min(X, bound), where X has the given center, deviation and excess kurtosis.

    Attributes:
        center, deviation: of X, in the model's units; a deviation of zero stands for a constant.
        bound: what no value exceeds, in the model's units; infinite where nothing bounds it.
        excess_kurtosis: of X: kurtosis minus 3.
    """

    center: Array
    deviation: Array
    bound: Array
    excess_kurtosis: Array

    def end(self, deviations: float) -> Array:
        """The k-sigma end: center + k deviations, but no more than the bound, shape (channels,)."""
        return np.minimum(self.center + deviations * self.deviation, self.bound)


@dataclass(frozen=True, kw_only=True)
class ChannelDistribution:
    """The distribution of each channel of a tensor, by its two tails.

    Attributes:
        below: the lower tail, of -x: x >= -below.bound.
        above: the upper tail, of x.
        excess_kurtosis: of the values themselves, shape (channels,); after a ReLU not that of the tails, which
            describe the variable that the ReLU rectifies.
        source: where the ranges come from.
    """

    below: Tail
    above: Tail
    excess_kurtosis: Array
    source: Source

    def range(self, deviations: float) -> ChannelRanges:
        """For each channel [center - k deviation, center + k deviation], within the bounds (SPIQ, section 3.2)."""
        return ChannelRanges(-self.below.end(deviations), self.above.end(deviations), self.source)

    def with_added_kurtosis(self, excess_kurtosis: float) -> "ChannelDistribution":
        """With so much more excess kurtosis of either tail."""
        below, above = (
            replace(tail, excess_kurtosis=tail.excess_kurtosis + excess_kurtosis) for tail in (self.below, self.above)
        )
        return replace(self, below=below, above=above)

    def clipped_to(self, low: Array | float, high: Array | float) -> "ChannelDistribution":
        """With values clipped to [low, high], in the model's units, scalars or of shape (channels,)."""
        below = replace(self.below, bound=np.minimum(self.below.bound, -low))
        return replace(self, below=below, above=replace(self.above, bound=np.minimum(self.above.bound, high)))

    @property
    def negated(self) -> "ChannelDistribution":
        """The distribution of -x."""
        return replace(self, below=self.above, above=self.below)


@dataclass(frozen=True)
class TensorStatistics:
    """Statistics of one tensor's channels.

    Attributes:
        moments: over all images and spatial locations, in the model's units.
        distribution: of each channel, in the model's units.
        contrast_exponent: d ln sigma / d ln contrast of each channel: by how many per cent its deviation grows with one
            per cent more contrast in the image, shape (channels,).
    """

    moments: Moments
    distribution: ChannelDistribution
    contrast_exponent: Array


def gaussian_distribution(
    moments: Moments,
    excess_kurtosis: Array | float,
    source: Source,
    low: Array | float = -np.inf,
    high: Array | float = np.inf,
) -> ChannelDistribution:
    """Of a variable with the given moments, symmetric about its mean, within [low, high].

    Args:
        moments: of the channels.
        excess_kurtosis: of the variable and of both tails, a scalar or of shape (channels,).
        source: where the ranges come from.
        low, high: bounds, scalars or of shape (channels,).
    """
    ones = np.ones_like(moments.mean)
    kurtosis = excess_kurtosis * ones
    deviation = moments.deviation * ones
    return ChannelDistribution(
        below=Tail(center=-moments.mean, deviation=deviation, bound=-low * ones, excess_kurtosis=kurtosis),
        above=Tail(center=moments.mean, deviation=deviation, bound=high * ones, excess_kurtosis=kurtosis),
        excess_kurtosis=kurtosis,
        source=source,
    )


def bounded_distribution(low: Array, high: Array, source: Source) -> ChannelDistribution:
    """Of a variable of which nothing is known but that it fills [low, high], both of shape (channels,)."""
    below, above = constant_tail(-low), constant_tail(high)
    return ChannelDistribution(below=below, above=above, excess_kurtosis=np.zeros_like(low), source=source)


def constant_tail(bound: Array) -> Tail:
    """The tail of channels that fill their bound, or are constant, shape (channels,)."""
    zero = np.zeros_like(bound)
    return Tail(center=bound, deviation=zero, bound=bound, excess_kurtosis=zero)


def mapped_distribution(
    extremes: Callable[..., tuple[Array, Array]], source: Source, *inputs: ChannelDistribution
) -> ChannelDistribution:
    """Of a function of the inputs, from its extremes over the ranges of NEAR_SIGMAS and FAR_SIGMAS of each.

    Args:
        extremes: the function's smallest and largest values, shape (channels,), over given `ChannelRanges`.
        source: where the ranges come from.
        inputs: distributions of the inputs; the heaviest of their tails is that of the output.
    """
    near_low, near_high = extremes(*(x.range(priors.NEAR_SIGMAS.value) for x in inputs))
    far_low, far_high = extremes(*(x.range(priors.FAR_SIGMAS.value) for x in inputs))
    excess_kurtosis = functools.reduce(np.maximum, (x.excess_kurtosis for x in inputs)) + 0.0 * near_low
    of_tails = (np.maximum(x.below.excess_kurtosis, x.above.excess_kurtosis) for x in inputs)
    of_tail = functools.reduce(np.maximum, of_tails) + 0.0 * near_low
    below, above = _linear_tail(-near_low, -far_low, of_tail), _linear_tail(near_high, far_high, of_tail)
    return ChannelDistribution(below=below, above=above, excess_kurtosis=excess_kurtosis, source=source)


def _linear_tail(near: Array, far: Array, excess_kurtosis: Array) -> Tail:
    """The tail whose ends at NEAR_SIGMAS and FAR_SIGMAS are the given ones; a bound where they do not differ."""
    sigmas = priors.FAR_SIGMAS.value
    slope = np.maximum(far - near, 0.0) / (sigmas - priors.NEAR_SIGMAS.value)
    is_flat = slope < _FLAT * (1 + np.abs(far))
    slope = np.where(is_flat, 0.0, slope)
    bound = np.where(is_flat, far, np.inf)
    return Tail(center=far - sigmas * slope, deviation=slope, bound=bound, excess_kurtosis=excess_kurtosis)


def combined_distribution(
    parts: Sequence[ChannelDistribution], join: Callable[[Sequence[Array]], Array]
) -> ChannelDistribution:
    """Of a tensor whose channels come from several.

    Args:
        parts: the distributions.
        join: of arrays of one field of each part, shape (channels,): a concatenation or a maximum. (Every field is
            larger where values reach farther.)
    """
    below, above = combined_tail([p.below for p in parts], join), combined_tail([p.above for p in parts], join)
    return ChannelDistribution(
        below=below,
        above=above,
        excess_kurtosis=join([p.excess_kurtosis for p in parts]),
        source=max(p.source for p in parts),
    )


def combined_tail(tails: Sequence[Tail], join: Callable[[Sequence[Array]], Array]) -> Tail:
    """The same of one tail."""
    return Tail(**{f.name: join([getattr(tail, f.name) for tail in tails]) for f in fields(Tail)})


def channelwise_max(parts: Sequence[Array]) -> Array:
    """The largest of several values, channel by channel, shape (channels,)."""
    return np.max(np.stack(parts), axis=0)

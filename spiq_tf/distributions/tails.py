"""How far the values of a tensor's channels reach: a core, a tail, and ends that nothing passes."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.values import Array, ChannelRanges, Moments, Source

_FLAT = 1e-9


@dataclass(frozen=True)
class Tail:
    """One side of the distribution of each channel, in the direction in which it grows; all of shape (channels,).

    Values are min(X, bound), X with the given centre and deviation and a tail as heavy as its kurtosis says.

    Attributes:
        centre, deviation: of X; a deviation of zero stands for a constant.
        bound: what no value exceeds; infinite where nothing bounds it.
        excess: kurtosis of X above a Gaussian's.
    """

    centre: Array
    deviation: Array
    bound: Array
    excess_kurtosis: Array

    def reach(self, deviations: float) -> Array:
        """The value that lies so many deviations from the centre, or the bound."""
        return np.minimum(self.centre + deviations * self.deviation, self.bound)


@dataclass(frozen=True)
class ChannelDistribution:
    """Both sides of a tensor's channels.

    Attributes:
        below: towards the smallest value, with its sign turned: x >= -below.bound.
        above: towards the largest.
        excess: kurtosis of the values themselves above a Gaussian's, shape (channels,); after a ReLU not that of
            the sides, which describe what the ReLU cut.
        source: where the ranges come from.
    """

    below: Tail
    above: Tail
    excess_kurtosis: Array
    source: Source

    def range(self, deviations: float) -> ChannelRanges:
        """[centre - lambda deviation, centre + lambda deviation] a channel, within the bounds (SPIQ, section 3.2)."""
        return ChannelRanges(-self.below.reach(deviations), self.above.reach(deviations), self.source)

    def with_added_kurtosis(self, excess_kurtosis: float) -> "ChannelDistribution":
        """With so much more excess kurtosis on either side."""
        below, above = (
            replace(side, excess_kurtosis=side.excess_kurtosis + excess_kurtosis) for side in (self.below, self.above)
        )
        return replace(self, below=below, above=above)

    def clipped_to(self, low: Array | float, high: Array | float) -> "ChannelDistribution":
        """The part of it that lies in [low, high]."""
        below = replace(self.below, bound=np.minimum(self.below.bound, -low))
        return replace(self, below=below, above=replace(self.above, bound=np.minimum(self.above.bound, high)))

    @property
    def negated(self) -> "ChannelDistribution":
        """Of -x."""
        return ChannelDistribution(self.above, self.below, self.excess_kurtosis, self.source)


@dataclass(frozen=True)
class TensorStatistics:
    """What is known of one tensor's channels.

    Attributes:
        moments: over all images.
        spread: how far they reach.
        elasticity: by how many per cent the deviation of each grows with one per cent more contrast in the image,
            shape (channels,).
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
    """Of a variable with the given moments, the same on both sides, that keeps to [low, high]."""
    ones = np.ones_like(moments.mean)
    tail = excess_kurtosis * ones
    below = Tail(-moments.mean, moments.deviation * ones, -low * ones, tail)
    return ChannelDistribution(below, Tail(moments.mean, moments.deviation * ones, high * ones, tail), tail, source)


def bounded_distribution(low: Array, high: Array, source: Source) -> ChannelDistribution:
    """Of a variable of which nothing is known but that it fills [low, high]."""
    zero = np.zeros_like(low)
    return ChannelDistribution(Tail(-low, zero, -low, zero), Tail(high, zero, high, zero), zero, source)


def mapped_distribution(
    extremes: Callable[..., tuple[Array, Array]], source: Source, *inputs: ChannelDistribution
) -> ChannelDistribution:
    """Of a function of the inputs, told from its extremes over two ranges of each; its tail is their heaviest."""
    near, far = priors.NEAR_SIGMAS.value, priors.FAR_SIGMAS.value
    near_low, near_high = extremes(*(x.range(near) for x in inputs))
    far_low, far_high = extremes(*(x.range(far) for x in inputs))
    excess_kurtosis = functools.reduce(np.maximum, (x.excess_kurtosis for x in inputs)) + 0.0 * near_low
    tail = (
        functools.reduce(np.maximum, (np.maximum(x.below.excess_kurtosis, x.above.excess_kurtosis) for x in inputs))
        + 0.0 * near_low
    )
    return ChannelDistribution(
        _line(-near_low, -far_low, tail), _line(near_high, far_high, tail), excess_kurtosis, source
    )


def _line(near: Array, far: Array, excess_kurtosis: Array) -> Tail:
    sigmas = priors.FAR_SIGMAS.value
    slope = np.maximum(far - near, 0.0) / (sigmas - priors.NEAR_SIGMAS.value)
    flat = slope < _FLAT * (1 + np.abs(far))
    slope = np.where(flat, 0.0, slope)
    return Tail(far - sigmas * slope, slope, np.where(flat, far, np.inf), excess_kurtosis)


def combined_distribution(
    parts: Sequence[ChannelDistribution], join: Callable[[Sequence[Array]], Array]
) -> ChannelDistribution:
    """Of a tensor whose channels come from several: every field is larger where values reach farther."""
    below, above = combined_tail([p.below for p in parts], join), combined_tail([p.above for p in parts], join)
    return ChannelDistribution(below, above, join([p.excess_kurtosis for p in parts]), max(p.source for p in parts))


def combined_tail(sides: Sequence[Tail], join: Callable[[Sequence[Array]], Array]) -> Tail:
    """The same of one side."""
    return Tail(*(join([getattr(s, f.name) for s in sides]) for f in fields(Tail)))


def channelwise_max(parts: Sequence[Array]) -> Array:
    """The largest of several values, channel by channel."""
    return np.max(np.stack(parts), axis=0)

"""The small values that the stages hand on: moments, ranges, and where they come from."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
Weights: TypeAlias = Mapping[int, Array]
"""Values of variables by key; a key is the identity of a Keras variable within one LayerGraph."""

Shape: TypeAlias = tuple[int, ...]
"""A static shape with the batch axis first and the channels last."""


class Source(enum.IntEnum):
    """Where a tensor's range comes from; a concatenation takes the last of its inputs' in this order."""

    BATCH_NORM = 0  # read from a BatchNorm layer
    PROPAGATED = 1  # computed from the ranges or moments of the inputs
    FIXED = 2  # the operator fixes it: a sigmoid, a softmax
    GIVEN = 3  # stated by the user: the model's input
    TOLD = 4  # the model's input, told from the model
    FALLBACK = 5  # an unknown layer, sampled

    @property
    def label(self) -> str:
        """Its name as users see it, "batch_norm"."""
        return self.name.lower()


@dataclass(frozen=True)
class Moments:
    """Mean and variance of each channel, over images and positions; both of shape (channels,)."""

    mean: Array
    variance: Array

    @property
    def deviation(self) -> Array:
        """Standard deviation of each channel, shape (channels,)."""
        return np.sqrt(self.variance)

    def scaled_by(self, factor: float) -> "Moments":
        """Of the channels, each times a number."""
        return Moments(self.mean * factor, self.variance * factor**2)


@dataclass(frozen=True)
class ChannelRanges:
    """The interval that each channel keeps to; low and high of shape (channels,), low <= high."""

    low: Array
    high: Array
    source: Source

    @property
    def amplitude(self) -> Array:
        """The largest magnitude of each channel, shape (channels,)."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def scaled_by(self, factor: float) -> "ChannelRanges":
        """Of the channels, each times a number."""
        low, high = (self.low, self.high) if factor >= 0 else (self.high, self.low)
        return ChannelRanges(low * factor, high * factor, self.source)


@dataclass(frozen=True)
class InputStatistics:
    """What is known of the channels of one of the model's inputs."""

    moments: Moments
    range: ChannelRanges


def derived_source(sources: Iterable[Source]) -> Source:
    """The source of a range that is computed from others: a fallback stays one."""
    return Source.FALLBACK if Source.FALLBACK in sources else Source.PROPAGATED


def mixture(mean: Array, variance: Array, shares: Array) -> Moments:
    """Moments of values that come from several places: mean and variance (places, channels), shares (places,)."""
    mixed = shares @ mean
    return Moments(mixed, shares @ (variance + (mean - mixed) ** 2))

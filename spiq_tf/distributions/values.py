"""Moments and ranges of a tensor's channels, and where they come from.

Each is in one of three units: the *model's* (of the user's model), *rescaled* (the model's value over its channel
scale) or the *file's* (the rescaled value times the factor of `TensorProvenance`). The types are the same: whoever
holds them says which; where nothing is said, it is the model's.
"""

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
    GIVEN = 3  # given by the user: of a model input, or of a layer's output
    TOLD = 4  # of a model input, inferred from its preprocessing layer or its first BatchNorm
    FALLBACK = 5  # sampled: of an opaque layer

    @property
    def label(self) -> str:
        """Its name as users see it, "batch_norm"."""
        return self.name.lower()


@dataclass(frozen=True)
class Moments:
    """Mean and variance of each channel, over images and spatial locations; both of shape (channels,)."""

    mean: Array
    variance: Array

    @property
    def deviation(self) -> Array:
        """Standard deviation of each channel, shape (channels,)."""
        return np.sqrt(self.variance)

    def scaled_by(self, factor: float) -> "Moments":
        """Of all channels times one factor."""
        return Moments(self.mean * factor, self.variance * factor**2)


@dataclass(frozen=True)
class ChannelRanges:
    """The range of each channel; low and high of shape (channels,), low <= high."""

    low: Array
    high: Array
    source: Source

    @property
    def amplitude(self) -> Array:
        """The largest magnitude of each channel, shape (channels,)."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def scaled_by(self, factor: float) -> "ChannelRanges":
        """Of all channels times one factor, which may be negative."""
        low, high = (self.low, self.high) if factor >= 0 else (self.high, self.low)
        return ChannelRanges(low * factor, high * factor, self.source)


@dataclass(frozen=True)
class InputStatistics:
    """Moments and ranges of the channels of one model input, in the model's units."""

    moments: Moments
    range: ChannelRanges


def derived_source(sources: Iterable[Source]) -> Source:
    """The source of a range that is computed from others: FALLBACK if one of them is, or else PROPAGATED."""
    return Source.FALLBACK if Source.FALLBACK in sources else Source.PROPAGATED


def mixture(mean: Array, variance: Array, shares: Array) -> Moments:
    """Moments of a mixture.

    Args:
        mean, variance: of each component, shape (components, channels).
        shares: of the components, shape (components,), with a sum of 1.
    """
    mixed = shares @ mean
    return Moments(mixed, shares @ (variance + (mean - mixed) ** 2))

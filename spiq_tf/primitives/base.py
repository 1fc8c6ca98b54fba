"""What every primitive answers, and the small values that it answers with."""

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
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
        return self.name.lower()


@dataclass(frozen=True)
class Moments:
    """Mean and variance of each channel, over images and positions; both of shape (channels,)."""

    mean: Array
    variance: Array

    @property
    def deviation(self) -> Array:
        return np.sqrt(self.variance)


@dataclass(frozen=True)
class Range:
    """The interval that each channel keeps to; low and high of shape (channels,), low <= high."""

    low: Array
    high: Array
    source: Source

    @property
    def amplitude(self) -> Array:
        """The largest magnitude of each channel, shape (channels,)."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


@dataclass(frozen=True)
class Channels:
    """What is known of one tensor's channels."""

    moments: Moments
    range: Range


OUTPUT = -1
"""The port of a node's output; its inputs are the ports 0, 1, ..."""


@dataclass(frozen=True)
class Tie:
    """Channels of two ports that must share a scale, pair by pair."""

    port: int
    channels: npt.NDArray[np.intp]
    other_port: int
    other_channels: npt.NDArray[np.intp]


class Primitive(ABC):
    """A rule without wiring; a Node holds it together with its tensors.

    The flags say what the TFLite converter does with the operation, see LayerGraph.fused.
    """

    is_linear = False
    folds_into_linear = False
    fuses_into_producer = False
    takes_fused_activation = False
    saturation: float | None = None
    """The value at which every channel is cut, whatever its scale (ReLU6: 6); scales then stay at most 1."""

    @abstractmethod
    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Moments of the output."""

    @abstractmethod
    def range(self, inputs: Sequence[Channels], moments: Moments, weights: Weights, deviations: float) -> Range:
        """Range of the output.

        Args:
            inputs: what is known of the inputs.
            moments: the output's moments.
            weights: values of the model's variables.
            deviations: how far a Gaussian's range reaches, in standard deviations (SPIQ's lambda).
        """

    def variables(self) -> tuple[int, ...]:
        """Keys of the variables that it reads, in an order of its own."""
        return ()

    def input_moments(self, weights: Weights) -> Moments | None:
        """Moments that the primitive's own weights state for its input (a BatchNorm's running statistics)."""
        return None

    def ties(self, channels: Sequence[int], output_channels: int) -> Sequence[Tie]:
        """Channels that must share a scale; channels holds the number of each input's."""
        return ()

    def unscaled(self) -> Sequence[int] | None:
        """Ports whose scale must be 1; None stands for all of them."""
        return ()

    def absorb(self, weights: Weights, inputs: Sequence[Array], output: Array) -> dict[int, Array]:
        """New values of the weights, for inputs and an output that are divided by their scales.

        Args:
            weights: the original values.
            inputs: the scale of each input, shape (channels,).
            output: the scale of the output, shape (channels,).
        """
        return {}


def gaussian_range(moments: Moments, deviations: float, source: Source) -> Range:
    """[mean - lambda std, mean + lambda std] a channel (SPIQ, section 3.2)."""
    reach = deviations * moments.deviation
    return Range(moments.mean - reach, moments.mean + reach, source)


def derived(ranges: Iterable[Range]) -> Source:
    """The source of a range that is computed from others: a fallback stays one."""
    return Source.FALLBACK if any(r.source == Source.FALLBACK for r in ranges) else Source.PROPAGATED


def mixture(mean: Array, variance: Array, shares: Array) -> Moments:
    """Moments of values that come from several places: mean and variance (places, channels), shares (places,)."""
    mixed = shares @ mean
    return Moments(mixed, shares @ (variance + (mean - mixed) ** 2))


def pass_through(output_channels: int) -> tuple[Tie, ...]:
    """Channel c of the only input shares its scale with channel c of the output."""
    every = np.arange(output_channels)
    return (Tie(0, every, OUTPUT, every),)

"""Where noise comes from: channels that are rounded and cut, and the weights that read them.

Each as a function of the scales of a family and of the ends H and -L of its intervals, see `Family`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spiq_tf.distributions.tails import ChannelDistribution, combined_tail
from spiq_tf.distributions.values import Array
from spiq_tf.quantization.bit_width import INT8, INT8_WEIGHT
from spiq_tf.search.noise_gain import ClippedTail

_ACTIVATIONS, _WEIGHTS = INT8, INT8_WEIGHT
"""Bit widths for which noise is predicted."""


@dataclass(frozen=True)
class TensorTerms:
    """A tensor that the file holds.

    Attributes:
        name: of the tensor.
        label: for each channel the index of its scale in the family; the number of scales where it is 1.
        interval: index of its interval.
        spread: how far it reaches.
        rounding: output noise for a unit of rounding noise, shape (channels,).
        above, below: output noise for a unit of noise from the tail cut on either side, shape (channels,).
        saturation: where an activation cuts the scaled values of each channel, or infinity, shape (channels,).
    """

    name: str
    label: npt.NDArray[np.intp]
    interval: int
    distribution: ChannelDistribution
    rounding: Array
    above: Array
    below: Array
    saturation: Array


@dataclass(frozen=True)
class ChannelTerms:
    """Those of all held tensors in a row, so that each step of the descent works on all of them at once.

    Attributes:
        place: of each channel's tensor among the tensors.
        label, interval, rounding, saturation: of each channel.
        above: tails on the upper side.
        above_gain, below_gain: output noise for a unit of noise from either side.
        reaching_below: indices of the channels that can be below 0: behind a ReLU is none.
        below: tails of these on the lower side.
    """

    place: npt.NDArray[np.intp]
    label: npt.NDArray[np.intp]
    interval: npt.NDArray[np.intp]
    rounding: Array
    saturation: Array
    above: ClippedTail
    above_gain: Array
    below_gain: Array
    reaching_below: npt.NDArray[np.intp]
    below: ClippedTail

    @classmethod
    def of(cls, held: Sequence[TensorTerms]) -> "ChannelTerms":
        """The channels of the tensors."""
        counts = [len(t.label) for t in held]
        (reaching,) = np.nonzero(np.concatenate([t.distribution.below.bound for t in held]) > 0)
        return cls(
            np.repeat(np.arange(len(held)), counts),
            np.concatenate([t.label for t in held]),
            np.repeat([t.interval for t in held], counts),
            np.concatenate([t.rounding for t in held]),
            np.concatenate([t.saturation for t in held]),
            ClippedTail(combined_tail([t.distribution.above for t in held], np.concatenate)),
            np.concatenate([t.above for t in held]),
            np.concatenate([t.below for t in held]),
            reaching,
            ClippedTail(
                combined_tail([t.distribution.below for t in held], lambda parts: np.concatenate(parts)[reaching])
            ),
        )

    def at(self, scales: Array, high: Array, low: Array) -> tuple[Array, Array, Array]:
        """The scale of each channel, and H and L of its interval."""
        return scales[self.label], high[self.interval], low[self.interval]

    def rounding_noise(self, scale: Array, width: Array) -> Array:
        """Of each channel: an error uniform over a step has a twelfth of its square for variance."""
        return self.rounding * (scale * width / _ACTIVATIONS.levels) ** 2 / 12

    def cut_above(self, scale: Array, high: Array) -> tuple[Array, Array, Array]:
        """Noise of each channel that is cut at H, or below by an activation, and its derivatives with the logarithms of
        the scale and of H."""
        reached = np.minimum(high, self.saturation)
        noise, slope = self.above.cut_noise(scale * reached)
        slope = self.above_gain * slope * scale * reached
        return self.above_gain * noise, slope, np.where(reached < high, 0.0, slope)

    def cut_below(self, scale: Array, low: Array) -> tuple[Array, Array]:
        """Likewise at -L; one derivative with the logarithms of both."""
        noise, slope, reaching = np.zeros(len(scale)), np.zeros(len(scale)), self.reaching_below
        noise[reaching], slope[reaching] = self.below.cut_noise((scale * low)[reaching])
        return self.below_gain * noise, self.below_gain * slope * scale * low


@dataclass(frozen=True)
class WeightTerms:
    """A linear primitive that reads a tensor of the family.

    Attributes:
        name: of its output.
        label: as of the tensor that it reads, shape (groups, inputs a group).
        largest: the largest magnitude of the weights over the taps, (groups, outputs a group, inputs a group), or over
            the outputs too where all weights share one scale; in float32, since most of the time goes by reading it.
        energy: variance of the inputs that meet a weight's error, summed over the taps, (groups, inputs a group).
        lasting: output noise for a unit of noise variance, (groups, outputs a group).
    """

    name: str
    label: npt.NDArray[np.intp]
    largest: npt.NDArray[np.float32]
    energy: Array
    lasting: Array

    def noise(self, scales: Array) -> tuple[Array, Array, npt.NDArray[np.intp]]:
        """Noise of the rounded weights.

        Returns:
            The noise by output, (groups, outputs a group); the part of it that goes down with each input's scale,
            (groups, inputs a group); and the label of the scale that sets each output's step.
        """
        scale = scales[self.label]
        which = (self.largest * scale[:, None, :].astype(np.float32)).argmax(axis=2)
        largest = np.take_along_axis(self.largest, which[:, :, None], axis=2)[:, :, 0].astype(np.float64)
        step = largest * np.take_along_axis(scale, which, axis=1) / _WEIGHTS.qmax
        output = self.lasting * step**2 / 12
        energy = self.energy / scale**2
        noise = output * energy.sum(axis=1, keepdims=True)
        return noise, output.sum(axis=1, keepdims=True) * energy, np.take_along_axis(self.label, which, axis=1)


@dataclass(frozen=True)
class PredictedNoise:
    """Predicted noise at the outputs, relative to their power."""

    rounding: float = 0.0
    cutting: float = 0.0
    weights: float = 0.0

    @property
    def total(self) -> float:
        """Of all three."""
        return self.rounding + self.cutting + self.weights

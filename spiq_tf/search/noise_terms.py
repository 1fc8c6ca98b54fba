"""The terms of the predicted noise: channels that are rounded and clipped, and the weights that read them.

Each is a function of the scales of coupled tensors and of the ends H and -L of their tensor ranges, see
`CoupledTensors`. Scale and range indices count among those of the coupled tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spiq_tf.distributions.tails import ChannelDistribution, combined_tail
from spiq_tf.distributions.values import Array
from spiq_tf.quantization.bit_width import INT8, INT8_WEIGHT
from spiq_tf.search.clipping_noise import ClippedTail

_ACTIVATIONS, _WEIGHTS = INT8, INT8_WEIGHT
"""Bit widths for which noise is predicted."""

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class TensorTerms:
    """A materialized tensor.

    Attributes:
        name: of the tensor.
        scale_index: for each channel the index of its scale, shape (channels,); the number of scales where it is
            pinned.
        range_index: index of its tensor range.
        distribution: of its channels, in the model's units.
        rounding_gain: noise at the outputs for a unit of rounding noise, shape (channels,).
        upper_clipping_gain, lower_clipping_gain: noise at the outputs for a unit of clipping noise of either tail,
            shape (channels,).
        saturation: the rescaled value at which an activation saturates each channel, or infinity, shape (channels,).
    """

    name: str
    scale_index: Indices
    range_index: int
    distribution: ChannelDistribution
    rounding_gain: Array
    upper_clipping_gain: Array
    lower_clipping_gain: Array
    saturation: Array


@dataclass(frozen=True, kw_only=True)
class ChannelTerms:
    """The channels of several tensors side by side, so that each step of the descent works on all of them at once.

    Attributes:
        tensor_index: of each channel's tensor, shape (channels,) as all that follow but `with_lower_tail`.
        scale_index, range_index, rounding_gain, saturation: of each channel, as in `TensorTerms`.
        upper_tail: upper tails of all channels.
        upper_clipping_gain, lower_clipping_gain: as in `TensorTerms`.
        with_lower_tail: indices of the channels that can be below 0 (none after a ReLU).
        lower_tail: lower tails of these.
    """

    tensor_index: Indices
    scale_index: Indices
    range_index: Indices
    rounding_gain: Array
    saturation: Array
    upper_tail: ClippedTail
    upper_clipping_gain: Array
    lower_clipping_gain: Array
    with_lower_tail: Indices
    lower_tail: ClippedTail

    @classmethod
    def of(cls, tensors: Sequence[TensorTerms]) -> "ChannelTerms":
        """The channels of the tensors."""
        counts = [len(t.scale_index) for t in tensors]
        (negative,) = np.nonzero(np.concatenate([t.distribution.below.bound for t in tensors]) > 0)
        upper_tail = combined_tail([t.distribution.above for t in tensors], np.concatenate)
        lower_tail = combined_tail(
            [t.distribution.below for t in tensors], lambda parts: np.concatenate(parts)[negative]
        )
        return cls(
            tensor_index=np.repeat(np.arange(len(tensors)), counts),
            scale_index=np.concatenate([t.scale_index for t in tensors]),
            range_index=np.repeat([t.range_index for t in tensors], counts),
            rounding_gain=np.concatenate([t.rounding_gain for t in tensors]),
            saturation=np.concatenate([t.saturation for t in tensors]),
            upper_tail=ClippedTail(upper_tail),
            upper_clipping_gain=np.concatenate([t.upper_clipping_gain for t in tensors]),
            lower_clipping_gain=np.concatenate([t.lower_clipping_gain for t in tensors]),
            with_lower_tail=negative,
            lower_tail=ClippedTail(lower_tail),
        )

    def at(self, scales: Array, high: Array, low: Array) -> tuple[Array, Array, Array]:
        """The scale of each channel, and H and L of its tensor range, each of shape (channels,).

        Args:
            scales: shape (scales + 1,), the last being that of the pinned channels, 1.
            high, low: H and L, in rescaled units, shape (ranges,).
        """
        return scales[self.scale_index], high[self.range_index], low[self.range_index]

    def rounding_noise(self, scale: Array, width: Array) -> Array:
        """Rounding noise of each channel: an error uniform over one LSB has a twelfth of its square as variance.

        Args:
            scale: of each channel, shape (channels,).
            width: H + L, in rescaled units, shape (channels,).
        """
        return self.rounding_gain * (scale * width / _ACTIVATIONS.levels) ** 2 / 12

    def upper_clipping_noise(self, scale: Array, high: Array) -> tuple[Array, Array, Array]:
        """Noise of each channel that is clipped at H, or lower by an activation that saturates.

        Args:
            scale: of each channel, shape (channels,).
            high: H, in rescaled units, shape (channels,).

        Returns:
            The noise, and its derivatives with the logarithms of the scale and of H.
        """
        end = np.minimum(high, self.saturation)
        noise, slope = self.upper_tail.noise(scale * end)
        slope = self.upper_clipping_gain * slope * scale * end
        return self.upper_clipping_gain * noise, slope, np.where(end < high, 0.0, slope)

    def lower_clipping_noise(self, scale: Array, low: Array) -> tuple[Array, Array]:
        """Likewise of channels that are clipped at -L.

        Returns:
            The noise, and its derivative with the logarithm of the scale, which is that with the logarithm of L.
        """
        noise, slope, negative = np.zeros(len(scale)), np.zeros(len(scale)), self.with_lower_tail
        noise[negative], slope[negative] = self.lower_tail.noise((scale * low)[negative])
        return self.lower_clipping_gain * noise, self.lower_clipping_gain * slope * scale * low


@dataclass(frozen=True, kw_only=True)
class WeightTerms:
    """The weights of a linear primitive that reads one of the tensors.

    Attributes:
        name: of its output.
        scale_index: of each input channel, as in `TensorTerms`, shape (groups, inputs a group).
        max_weight: the largest magnitude of the weights over the taps, (groups, outputs a group, inputs a group), or
            over the outputs too where all weights share one scale; in float32, since most of the time goes by reading
            it.
        input_variance: variance of the inputs that meet a weight's error, summed over the taps, in the model's units,
            (groups, inputs a group).
        gain: noise at the outputs for a unit of noise variance, (groups, outputs a group).
    """

    name: str
    scale_index: Indices
    max_weight: npt.NDArray[np.float32]
    input_variance: Array
    gain: Array

    def noise(self, scales: Array) -> tuple[Array, Array, Indices]:
        """Noise of the rounded weights W_co s_c: each has a variance of a twelfth of its scale squared.

        Args:
            scales: shape (scales + 1,), the last being that of the pinned channels, 1.

        Returns:
            The noise by output, (groups, outputs a group); the part of it that goes down with each input's scale,
            (groups, inputs a group); and the index of the scale that determines each output's weight scale, (groups,
            outputs a group).
        """
        scale = scales[self.scale_index]
        which = (self.max_weight * scale[:, None, :].astype(np.float32)).argmax(axis=2)
        largest = np.take_along_axis(self.max_weight, which[:, :, None], axis=2)[:, :, 0].astype(np.float64)
        weight_scale = largest * np.take_along_axis(scale, which, axis=1) / _WEIGHTS.qmax
        weight_noise = self.gain * weight_scale**2 / 12
        variance = self.input_variance / scale**2
        noise = weight_noise * variance.sum(axis=1, keepdims=True)
        falling = weight_noise.sum(axis=1, keepdims=True) * variance
        return noise, falling, np.take_along_axis(self.scale_index, which, axis=1)


@dataclass(frozen=True)
class PredictedNoise:
    """Predicted noise power at the model's outputs, relative to theirs.

    Attributes:
        rounding: from rounding a tensor's values.
        clipping: from clipping them.
        weights: from rounding the weights of the linear primitive that makes the tensor.
    """

    rounding: float = 0.0
    clipping: float = 0.0
    weights: float = 0.0

    @property
    def total(self) -> float:
        """The sum of all three."""
        return self.rounding + self.clipping + self.weights

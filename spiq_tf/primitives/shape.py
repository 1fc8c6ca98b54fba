"""Operations that only move values: reshapes, flattening, padding."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spiq_tf.distributions.tails import (
    ChannelDistribution,
    TensorStatistics,
    bounded_distribution,
    channelwise_max,
    combined_distribution,
)
from spiq_tf.distributions.values import Array, Moments, Source, Weights
from spiq_tf.primitives.base import Primitive, ScaleConstraint, same_scale_per_channel


@dataclass(frozen=True, eq=False, kw_only=True)
class Rearrange(Primitive):
    """Values that are moved: reshapes, transposes, crops, repetitions, and interpolation between neighbors.

    Attributes:
        channels: number of channels of the input.
        source, target: pairs of an input channel and an output channel that holds values of it.
        share: of the output channel's spatial locations that hold values of that input channel; its sum is 1 for each
            output channel.
    """

    channels: int
    source: npt.NDArray[np.intp]
    target: npt.NDArray[np.intp]
    share: Array

    is_rearrangement = True
    preserves_quantization = True

    @property
    def keeps_channels(self) -> bool:  # type: ignore[override]
        return self.channels == self._outputs and np.array_equal(self.source, self.target)

    @property
    def _outputs(self) -> int:
        return int(self.target.max()) + 1

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Of the mixture of the input channels that an output channel holds."""
        (x,) = inputs
        mean = _summed(self.target, self.share * x.mean[self.source], self._outputs)
        variance = x.variance[self.source] + (x.mean[self.source] - mean[self.target]) ** 2
        return Moments(mean, _summed(self.target, self.share * variance, self._outputs))

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        return combined_distribution([inputs[0].distribution], lambda parts: self._max_over_sources(parts[0]))

    def _max_over_sources(self, values: Array) -> Array:
        result = np.full(self._outputs, -np.inf)
        np.maximum.at(result, self.target, values[self.source])
        return result

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        """A channel's noise counts once for each output channel that holds its values."""
        return (_summed(self.source, self.share * output[self.target], self.channels),)

    def scale_constraints(self, channels: Sequence[int], output_channels: int) -> Sequence[ScaleConstraint]:
        """A Flatten repeats the scales; where channels are mixed, all channels of a mixture share one."""
        return (ScaleConstraint(0, self.source, self.target),)


def _summed(channels: npt.NDArray[np.intp], values: Array, count: int) -> Array:
    """Sums of values by channel, shape (count,)."""
    return np.bincount(channels, values, count).astype(np.float64)


def rearrange_of_indices(indices: Array, channels: int) -> Rearrange:
    """The primitive of an operation that has been run on channel indices in place of values.

    Args:
        indices: what it returned, (batch, ..., output channels).
        channels: number of channels of its input.
    """
    origin = np.rint(indices).astype(np.intp).reshape(-1, indices.shape[-1])
    outputs = np.arange(origin.shape[1])
    if np.all(origin == origin[0]):  # the same at every spatial location, as nearly always
        return Rearrange(channels=channels, source=origin[0], target=outputs, share=np.ones(len(outputs)))
    pairs, counts = np.unique(origin * len(outputs) + outputs, return_counts=True)
    source, target = np.divmod(pairs, len(outputs))
    return Rearrange(channels=channels, source=source, target=target, share=counts / len(origin))


_TINY = 1e-20


@dataclass(frozen=True, eq=False)
class Pad(Primitive):
    """One value around the feature map.

    Attributes:
        inside: share of the output's spatial locations that hold values of the input.
        value: what the others hold, in the model's units.
    """

    inside: float
    value: float = 0.0

    is_padding = True
    preserves_quantization = True

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Of the mixture of the input and the value."""
        (x,) = inputs
        mean = self.inside * x.mean + (1 - self.inside) * self.value
        square = self.inside * (x.variance + x.mean**2) + (1 - self.inside) * self.value**2
        return Moments(mean, square - mean**2)

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        x = inputs[0].distribution
        if self.value:
            value = np.full_like(x.excess_kurtosis, self.value)
            border = bounded_distribution(value, value, Source.PROPAGATED)
            distribution = combined_distribution([x, border], channelwise_max)
            return replace(distribution, excess_kurtosis=self._excess_kurtosis(inputs[0], moments))
        below = replace(x.below, bound=np.maximum(x.below.bound, 0.0))  # every range holds 0
        return replace(x, below=below, above=replace(x.above, bound=np.maximum(x.above.bound, 0.0)))

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        return (output * self.inside,)

    def _excess_kurtosis(self, x: TensorStatistics, moments: Moments) -> Array:
        """Of the mixture, shape (channels,): fourth moments about its mean add; the input is taken to be symmetric."""
        shift, variance = x.moments.mean - moments.mean, x.moments.variance
        inside = (3 + x.distribution.excess_kurtosis) * variance**2 + 6 * variance * shift**2 + shift**4
        fourth = self.inside * inside + (1 - self.inside) * (self.value - moments.mean) ** 4
        return fourth / np.maximum(moments.variance, _TINY) ** 2 - 3

    def scale_constraints(self, channels: Sequence[int], output_channels: int) -> Sequence[ScaleConstraint]:
        return same_scale_per_channel(output_channels)

    def pinned_ports(self) -> Sequence[int] | None:
        """The operator has one value for all channels."""
        return None if self.value else ()

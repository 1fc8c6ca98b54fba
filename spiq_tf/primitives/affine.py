"""Channel-wise multiply and add: BatchNormalization, Rescaling, Normalization."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from spiq_tf.distributions.tails import (
    ChannelDistribution,
    TensorStatistics,
    gaussian_distribution,
    mapped_distribution,
)
from spiq_tf.distributions.values import Array, ChannelRanges, Moments, Source, Weights
from spiq_tf.primitives.base import Primitive, ScaleConstraint, same_scale_per_channel


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchNorm(Primitive):
    """y = gamma (x - moving_mean) / sqrt(moving_variance + epsilon) + beta: where statistics come from.

    Attributes:
        mean, variance: keys of the running statistics.
        gamma, beta: keys, or None where the layer has none.
        epsilon: as in the layer.
    """

    mean: int
    variance: int
    gamma: int | None
    beta: int | None
    epsilon: float

    states_input_moments = True
    folds_into_linear = True
    takes_fused_activation = True

    @property
    def as_batch_norm(self) -> "BatchNorm":
        return self

    def variables(self) -> tuple[int, ...]:
        return tuple(key for key in (self.mean, self.variance, self.gamma, self.beta) if key is not None)

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """About N(beta, gamma^2) (SPIQ, section 3.2): exactly beta and gamma^2 v / (v + epsilon)."""
        variance = weights[self.variance]
        gamma = 1.0 if self.gamma is None else weights[self.gamma]
        beta = np.zeros_like(variance) if self.beta is None else weights[self.beta]
        return Moments(beta, gamma**2 * variance / (variance + self.epsilon))

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        return gaussian_distribution(moments, inputs[0].distribution.excess_kurtosis, Source.BATCH_NORM)

    def contrast_exponent(
        self, inputs: Sequence[Moments], contrast_exponents: Sequence[Array], weights: Weights
    ) -> Array:
        """The input's: running statistics normalize all images in the same way."""
        return contrast_exponents[0]

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        return (output * self.factor(weights) ** 2,)

    def factor(self, weights: Weights) -> Array:
        """What the layer multiplies each channel with: gamma / sqrt(moving_variance + epsilon), shape (channels,)."""
        gamma = 1.0 if self.gamma is None else weights[self.gamma]
        return gamma / np.sqrt(weights[self.variance] + self.epsilon)

    def input_moments(self, weights: Weights) -> Moments:
        return Moments(weights[self.mean], weights[self.variance])

    def scale_constraints(self, channels: Sequence[int], output_channels: int) -> Sequence[ScaleConstraint]:
        """Without gamma nothing in the layer can absorb a scale: input and output share theirs."""
        if self.gamma is not None:
            return ()
        return same_scale_per_channel(output_channels)

    def absorb(self, weights: Weights, inputs: Sequence[Array], output: Array) -> dict[int, Array]:
        """gamma' = gamma s_in / s_out, beta' = beta / s_out, moving_mean' = moving_mean / s_in."""
        result = {self.mean: weights[self.mean] / inputs[0]}
        if self.gamma is not None:
            result[self.gamma] = weights[self.gamma] * inputs[0] / output
        if self.beta is not None:
            result[self.beta] = weights[self.beta] / output
        return result


@dataclass(frozen=True, eq=False)
class _ChannelWeight(Primitive):
    """A trained factor or offset for each channel.

    Attributes:
        weight: key of the variable, of as many values as there are channels.
    """

    weight: int

    folds_into_linear = True
    takes_fused_activation = True

    def variables(self) -> tuple[int, ...]:
        return (self.weight,)


class ChannelScale(_ChannelWeight):
    """y = w x, where w is the weight; it absorbs scales."""

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        (x,), factor = inputs, weights[self.weight].reshape(-1)
        return Moments(factor * x.mean, factor**2 * x.variance)

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        x, factor = inputs[0].distribution, weights[self.weight].reshape(-1)
        return mapped_distribution(lambda r: _extremes(r, factor, 0.0), x.source, x)

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        return (output * weights[self.weight].reshape(-1) ** 2,)

    def absorb(self, weights: Weights, inputs: Sequence[Array], output: Array) -> dict[int, Array]:
        """w' = w s_in / s_out."""
        factor = weights[self.weight]
        return {self.weight: factor * (inputs[0] / output).reshape(factor.shape)}


class ChannelShift(_ChannelWeight):
    """y = x + b, where b is the weight; input and output share a scale."""

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        return Moments(inputs[0].mean + weights[self.weight].reshape(-1), inputs[0].variance)

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        x, offset = inputs[0].distribution, weights[self.weight].reshape(-1)
        return mapped_distribution(lambda r: _extremes(r, 1.0, offset), x.source, x)

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        return (output,)

    def scale_constraints(self, channels: Sequence[int], output_channels: int) -> Sequence[ScaleConstraint]:
        return same_scale_per_channel(output_channels)

    def absorb(self, weights: Weights, inputs: Sequence[Array], output: Array) -> dict[int, Array]:
        """b' = b / s_out."""
        offset = weights[self.weight]
        return {self.weight: offset / output.reshape(offset.shape)}


def _extremes(x: ChannelRanges, factor: Array | float, offset: Array | float) -> tuple[Array, Array]:
    """The smallest and largest value of factor x + offset, shape (channels,)."""
    ends = np.stack([factor * x.low, factor * x.high]) + offset
    return ends.min(axis=0), ends.max(axis=0)


@dataclass(frozen=True, eq=False)
class FixedAffine(Primitive):
    """y = factor x + offset with fixed constants of the layer, which absorb no scale.

    Attributes:
        factor, offset: shape (channels,).
    """

    factor: Array
    offset: Array

    is_fixed_affine = True
    is_pointwise = True
    folds_into_linear = True
    takes_fused_activation = True

    @property
    def as_fixed_affine(self) -> "FixedAffine":
        return self

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        (x,) = inputs
        return Moments(self.factor * x.mean + self.offset, self.factor**2 * x.variance)

    @property
    def elementwise_function(self) -> Callable[[Array], Array] | None:
        """The function, where all channels have the same constants."""
        factor, offset = self.factor[0], self.offset[0]
        uniform = np.all(self.factor == factor) and np.all(self.offset == offset)
        return (lambda values: factor * values + offset) if uniform else None

    @property
    def inverse(self) -> Callable[[Array], Array] | None:
        return (lambda values: (values - self.offset) / self.factor) if np.all(self.factor) else None

    def forward(self, inputs: Sequence[Array]) -> Array:
        return self.factor * inputs[0] + self.offset

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        x = inputs[0].distribution
        return mapped_distribution(lambda r: _extremes(r, self.factor, self.offset), x.source, x)

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        return (output * self.factor**2,)

    def pinned_ports(self) -> None:
        return None


@dataclass(frozen=True, eq=False)
class MapShift(Primitive):
    """y = x + c, where the constant c varies over spatial locations: a grid of anchors, an embedding of positions.

    Attributes:
        shift: moments of c, over spatial locations.
        low, high: smallest and largest value of c, shape (channels,).
    """

    shift: Moments
    low: Array
    high: Array

    takes_fused_activation = True

    @classmethod
    def by(cls, values: Array) -> "MapShift":
        """Of a constant c of shape (batch, ..., channels)."""
        flat = values.reshape(-1, values.shape[-1])
        return cls(Moments(flat.mean(axis=0), flat.var(axis=0)), flat.min(axis=0), flat.max(axis=0))

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        (x,) = inputs
        return Moments(x.mean + self.shift.mean, x.variance + self.shift.variance)

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        """Extremes of x may occur at any spatial location, so those of x and c add."""
        x = inputs[0].distribution
        return mapped_distribution(lambda r: (r.low + self.low, r.high + self.high), x.source, x)

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        return (output,)

    def pinned_ports(self) -> None:
        return None

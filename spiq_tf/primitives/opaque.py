"""Opaque layers, for which there is no rule: their scales are pinned, and their moments are sampled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.tails import ChannelDistribution, TensorStatistics, gaussian_distribution
from spiq_tf.distributions.values import Array, Moments, Source, Weights
from spiq_tf.primitives.base import Primitive, same_noise_ratio


@dataclass(frozen=True, eq=False, kw_only=True)
class Opaque(Primitive):
    """Any layer without a rule.

    Attributes:
        evaluate: the layer itself as a function of arrays, one for each input, with a batch axis; returns the
            output that this primitive stands for.
        shapes: of the inputs, with the batch axis.
        keys: of the layer's variables.
        function: the elementwise function that the layer is, or None.
    """

    evaluate: Callable[[Sequence[Array]], Array]
    shapes: tuple[tuple[int, ...], ...]
    keys: tuple[int, ...] = ()
    function: Callable[[Array], Array] | None = None

    @property
    def elementwise_function(self) -> Callable[[Array], Array] | None:
        return self.function

    def variables(self) -> tuple[int, ...]:
        return self.keys

    @property
    def varies_by_image(self) -> bool:  # type: ignore[override]
        """Of a norm or a variance over spatial locations; for a layer with weights drawn inputs say as much."""
        return not self.keys

    is_opaque = True
    uses_sampled_variance = True
    uses_sampled_mean = True
    mixes_locations = True

    VALUES = 200_000
    """About how many values are drawn for the largest input: seconds stay bounded, a mean is good to 1 %."""

    def forward(self, inputs: Sequence[Array]) -> Array | None:
        return self.evaluate(inputs) if len(self.shapes) == 1 else None

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """The fallback: the layer is run on Gaussians of its inputs' moments (fixed seed).

        NaN and infinity, where a Gaussian left the layer's domain (a logarithm's), do not count.
        """
        batch = self.shapes[0][0]
        largest = max(int(np.prod(shape[1:])) for shape in self.shapes)
        count = -(-int(np.clip(self.VALUES // largest, 4, 32)) // batch) * batch
        random = np.random.default_rng(0)
        drawn = [self._drawn(random, x, (count, *s[1:])) for x, s in zip(inputs, self.shapes, strict=True)]
        values = self.evaluate(drawn)
        flat = values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)
        is_finite = np.isfinite(flat)
        if not is_finite.any(axis=0).all():
            return Moments(np.full(flat.shape[-1], np.nan), np.full(flat.shape[-1], np.nan))
        return Moments(flat.mean(axis=0, where=is_finite), flat.var(axis=0, where=is_finite))

    def sampled_moments(self, sampled: Moments, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Those on synthetic inputs: the layer's inputs are then in its domain, and correlated as they are."""
        return sampled

    def _drawn(self, random: np.random.Generator, x: Moments, shape: tuple[int, ...]) -> Array:
        """Gaussian values of the given shape, part of whose variance the spatial locations of an example share."""
        if len(shape) == 1:  # a batch axis alone
            return x.mean + x.deviation * random.standard_normal(shape)
        level = random.standard_normal((shape[0], *(1 for _ in shape[1:-1]), shape[-1]))
        noise = random.standard_normal(shape)
        common = priors.OPAQUE_COMMON_VARIANCE.value
        return x.mean + x.deviation * (np.sqrt(common) * level + np.sqrt(1 - common) * noise)

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        """With the excess kurtosis of the inputs, averaged with their channels' variances, plus that of a sum.

        Of an elementwise function, within its extremes over the inputs' range.
        """
        of_inputs = max((_mean_excess_kurtosis(x) for x in inputs), default=0.0)
        common = (
            priors.COMMON_KURTOSIS.value
            * self._common_contrast_exponent([x.contrast_exponent for x in inputs], weights) ** 2
        )
        distribution = gaussian_distribution(moments, common + of_inputs, Source.FALLBACK)
        if self.function is None:
            return distribution
        domain = inputs[0].distribution.range(priors.FAR_SIGMAS.value)
        values = self.function(np.linspace(domain.low, domain.high, _GRID))
        is_finite = np.isfinite(values)
        if not is_finite.any(axis=0).all():
            return distribution
        return distribution.clipped_to(
            np.where(is_finite, values, np.inf).min(axis=0), np.where(is_finite, values, -np.inf).max(axis=0)
        )

    def contrast_exponent(
        self, inputs: Sequence[Moments], contrast_exponents: Sequence[Array], weights: Weights
    ) -> Array:
        return np.full(1, self._common_contrast_exponent(contrast_exponents, weights))

    def _common_contrast_exponent(self, contrast_exponents: Sequence[Array], weights: Weights) -> float:
        """The inputs' where there is a kernel; else between that of a normalization, 0, and of anything else, 1."""
        if any(key in weights and weights[key].ndim > 1 for key in self.keys):
            return max((float(np.mean(e)) for e in contrast_exponents), default=1.0)
        return priors.OPAQUE_CONTRAST_EXPONENT.value

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        """The signal-to-noise ratio is assumed to be the same before and after."""
        return tuple(same_noise_ratio(output, moments, x) for x in inputs)

    def pinned_ports(self) -> Sequence[int] | None:
        return None


@dataclass(frozen=True, eq=False)
class RuntimeNormalization(Opaque):
    """Values divided by their own deviation, then times a trained factor for each channel, and perhaps plus an offset.

    LayerNormalization, GroupNormalization and their like. Factor and offset, the last axis of `keys`, absorb scales.

    Attributes:
        over_positions: whether spatial locations have their deviation in common.
    """

    over_positions: bool = False

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        """Contrast is divided out: of each location, or of the feature map, within which it still varies.

        In three networks the excess kurtosis is -0.6 to 0.1 after each LayerNormalization, 0.2 to 1.2 after each
        GroupNormalization, whatever it is before.
        """
        kurtosis = priors.COMMON_KURTOSIS if self.over_positions else priors.NORMALIZED_KURTOSIS
        return gaussian_distribution(moments, kurtosis.value, Source.FALLBACK)

    def pinned_ports(self) -> Sequence[int]:
        return (0,)

    def absorb(self, weights: Weights, inputs: Sequence[Array], output: Array) -> dict[int, Array]:
        """gamma' = gamma / s_out, beta' = beta / s_out."""
        return {key: weights[key] / output for key in self.keys}


_GRID = 257  # points at which a function is evaluated to find its extremes


def _mean_excess_kurtosis(x: TensorStatistics) -> float:
    """Of the channels, weighted with their variance."""
    total = x.moments.variance.sum()
    return float(x.moments.variance @ x.distribution.excess_kurtosis / total) if total > 0 else 0.0

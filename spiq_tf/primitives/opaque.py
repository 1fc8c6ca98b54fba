"""A layer that nobody wrote a rule for: it stays unscaled, and its moments are sampled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.tails import ChannelDistribution, TensorStatistics, gaussian_distribution
from spiq_tf.distributions.values import Array, Moments, Source, Weights
from spiq_tf.primitives.base import Primitive, same_noise_ratio


@dataclass(frozen=True, eq=False)
class Opaque(Primitive):
    """Anything else.

    Attributes:
        evaluate: the layer itself as a function of arrays, one for each input, with a batch axis; returns the
            output that this primitive stands for.
        shapes: of the inputs, with the batch axis.
    """

    evaluate: Callable[[Sequence[Array]], Array]
    shapes: tuple[tuple[int, ...], ...]
    keys: tuple[int, ...] = ()
    """Of the layer's variables."""
    function: Callable[[Array], Array] | None = None
    """Of single values, where the layer is one."""

    @property
    def elementwise_function(self) -> Callable[[Array], Array] | None:
        return self.function

    def variables(self) -> tuple[int, ...]:
        return self.keys

    @property
    def varies_by_image(self) -> bool:  # type: ignore[override]
        """Of a norm or a variance over positions; a layer with weights is known as well by drawing its inputs."""
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
        """The stated fallback: the layer is run on Gaussians of its inputs' moments (fixed seed).

        Values that are no numbers, since a Gaussian left the layer's domain (a logarithm's), do not count.
        """
        batch = self.shapes[0][0]
        largest = max(int(np.prod(shape[1:])) for shape in self.shapes)
        count = -(-int(np.clip(self.VALUES // largest, 4, 32)) // batch) * batch
        random = np.random.default_rng(0)
        drawn = [self._drawn(random, x, (count, *s[1:])) for x, s in zip(inputs, self.shapes, strict=True)]
        values = self.evaluate(drawn)
        flat = values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)
        number = np.isfinite(flat)
        if not number.any(axis=0).all():
            return Moments(np.full(flat.shape[-1], np.nan), np.full(flat.shape[-1], np.nan))
        return Moments(flat.mean(axis=0, where=number), flat.var(axis=0, where=number))

    def sampled_moments(self, sampled: Moments, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Those on random fields: the inputs then keep to their domain and depend on each other as they do."""
        return sampled

    def _drawn(self, random: np.random.Generator, x: Moments, shape: tuple[int, ...]) -> Array:
        if len(shape) == 1:  # nothing but examples
            return x.mean + x.deviation * random.standard_normal(shape)
        level = random.standard_normal((shape[0], *(1 for _ in shape[1:-1]), shape[-1]))
        noise = random.standard_normal(shape)
        common = priors.OPAQUE_COMMON_VARIANCE.value
        return x.mean + x.deviation * (np.sqrt(common) * level + np.sqrt(1 - common) * noise)

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        """With a tail as heavy as that of the inputs, their channels weighted with their share in the variance, and of
        a sum; of a function of single values, within what it makes of values that are met."""
        passed = max((_typical_excess(x) for x in inputs), default=0.0)
        common = priors.COMMON_KURTOSIS.value * self._elasticity([x.contrast_exponent for x in inputs], weights) ** 2
        distribution = gaussian_distribution(moments, common + passed, Source.FALLBACK)
        if self.function is None:
            return distribution
        reach = inputs[0].distribution.range(priors.FAR_SIGMAS.value)
        made = self.function(np.linspace(reach.low, reach.high, _GRID))
        number = np.isfinite(made)
        if not number.any(axis=0).all():
            return distribution
        return distribution.clipped_to(
            np.where(number, made, np.inf).min(axis=0), np.where(number, made, -np.inf).max(axis=0)
        )

    def contrast_exponent(
        self, inputs: Sequence[Moments], contrast_exponents: Sequence[Array], weights: Weights
    ) -> Array:
        return np.full(1, self._elasticity(contrast_exponents, weights))

    def _elasticity(self, contrast_exponents: Sequence[Array], weights: Weights) -> float:
        """The inputs' where a kernel sums; else between that of what normalises, which takes contrast out, and of what
        does not."""
        if any(key in weights and weights[key].ndim > 1 for key in self.keys):
            return max((float(np.mean(e)) for e in contrast_exponents), default=1.0)
        return priors.OPAQUE_CONTRAST_EXPONENT.value

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        """The ratio of signal to noise is taken for the same on both sides."""
        return tuple(same_noise_ratio(output, moments, x) for x in inputs)

    def pinned_ports(self) -> Sequence[int] | None:
        return None


@dataclass(frozen=True, eq=False)
class RuntimeNormalization(Opaque):
    """What is divided by a deviation of its own, then multiplied by a trained number a channel, and perhaps shifted by
    another; scales are absorbed into both, the last axis of `keys`.

    Attributes:
        over_positions: whether positions have their deviation in common.
    """

    over_positions: bool = False

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        """Contrast is taken out: of each position, or of the map, within which it still varies.

        In three networks the excess kurtosis is -0.6 to 0.1 behind each LayerNormalization, 0.2 to 1.2 behind each
        GroupNormalization, whatever it is in front.
        """
        kurtosis = priors.COMMON_KURTOSIS if self.over_positions else priors.NORMALIZED_KURTOSIS
        return gaussian_distribution(moments, kurtosis.value, Source.FALLBACK)

    def pinned_ports(self) -> Sequence[int]:
        return (0,)

    def absorb(self, weights: Weights, inputs: Sequence[Array], output: Array) -> dict[int, Array]:
        """gamma' = gamma / s_out, beta' = beta / s_out."""
        return {key: weights[key] / output for key in self.keys}


_GRID = 257  # points at which a function is evaluated to find its extremes


def _typical_excess(x: TensorStatistics) -> float:
    total = x.moments.variance.sum()
    return float(x.moments.variance @ x.distribution.excess_kurtosis / total) if total > 0 else 0.0

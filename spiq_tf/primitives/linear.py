"""Convolutions and matrix products: everything that has a kernel and perhaps a bias."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.tails import (
    ChannelDistribution,
    Tail,
    TensorStatistics,
    gaussian_distribution,
)
from spiq_tf.distributions.values import Array, Moments, Weights, derived_source
from spiq_tf.primitives import kernels
from spiq_tf.primitives.base import Sum
from spiq_tf.primitives.role import NO_ROLE, ClassifierHead, Role


@dataclass(frozen=True)
class Layout:
    """How Keras lays a kernel out.

    Attributes:
        groups: of a convolution.
        depthwise: whether it is (*spatial, channels, multiplier).
        transposed: whether it is (*spatial, outputs, inputs).
    """

    groups: int = 1
    depthwise: bool = False
    transposed: bool = False

    def canonical(self, kernel: Array) -> Array:
        """A Keras kernel as (taps, groups, inputs a group, outputs a group)."""
        if self.transposed:
            kernel = np.swapaxes(kernel, -1, -2)
        return kernels.canonical(kernel, self.groups, self.depthwise)

    def restored(self, kernel: Array, shape: Sequence[int]) -> Array:
        """The inverse of `canonical`, for a Keras kernel of the given shape."""
        if not self.transposed:
            return kernels.restored(kernel, shape, self.depthwise)
        return np.swapaxes(kernels.restored(kernel, (*shape[:-2], shape[-1], shape[-2]), False), -1, -2)


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Sum):
    """y_o = sum over c of W_co x_c, plus b_o: a convolution, a depthwise convolution or a Dense.

    Attributes:
        kernel: key of the kernel, in Keras's layout.
        bias: key of the bias, or None.
        tap_validity: share of output locations at which each tap lies inside the input, shape (taps,).
        layout: of the kernel.
        dense: whether it is a fully connected operator in the file, whose weights may share one scale.
        role: see `in_role`.
    """

    kernel: int
    bias: int | None
    tap_validity: Array
    layout: Layout = Layout()
    dense: bool = False
    role: Role = NO_ROLE

    is_linear = True
    takes_fused_activation = True
    varies_by_image = True

    @property
    def mixes_locations(self) -> bool:  # type: ignore[override]
        return len(self.tap_validity) > 1

    @property
    def as_linear(self) -> "Linear":
        return self

    def in_role(self, role: Role) -> "Linear":
        return replace(self, role=role)

    @property
    def depthwise(self) -> bool:
        """Whether every output reads one channel."""
        return self.layout.depthwise

    def canonical(self, weights: Weights) -> Array:
        """The kernel, (taps, groups, inputs a group, outputs a group)."""
        return self.layout.canonical(weights[self.kernel])

    def variables(self) -> tuple[int, ...]:
        return (self.kernel,) if self.bias is None else (self.kernel, self.bias)

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Means add with the weights, variances of independent inputs with their squares.

        Features of a whole example are aligned with the weights, see `_alignment`, where no sample says how they vary.
        """
        (x,) = inputs
        kernel = self.canonical(weights)
        mean = kernels.mean_response(kernel, self.tap_validity, x.mean)
        if self.bias is not None:
            mean = mean + weights[self.bias]
        variance = kernels.variance_response(kernel, self.tap_validity, x.variance)
        if self.role.head is not None:
            variance = variance * _alignment(kernel, x.variance, self.role.head).deviation ** 2
        return Moments(mean, variance)

    def sampled_moments(self, sampled: Moments, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """The sampled variance for a dense output; for others no less than that of independent terms.

        The model's output was 2 times too wide in networks that make images, whose last kernel takes differences of
        similar channels: 1 to 2 dB. Sums in between lose where they are narrower.
        """
        if not self.role.is_dense_output:
            return super().sampled_moments(sampled, inputs, weights)
        return replace(self.moments(inputs, weights), variance=sampled.variance)

    def mean_map(self, weights: Weights) -> tuple[Array, Array]:
        """The mean of the output as an affine map of the input's: (outputs, inputs) and an offset (outputs,)."""
        kernel = self.canonical(weights)
        _, groups, ins, outs = kernel.shape
        summed = np.einsum("tgio,t->goi", kernel, self.tap_validity)
        response = np.zeros((groups, outs, groups, ins))
        response[np.arange(groups), :, np.arange(groups), :] = summed
        offset = np.zeros(groups * outs) if self.bias is None else weights[self.bias]
        return response.reshape(groups * outs, groups * ins), offset

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        """Of a sum of independent terms; of features of a whole example it reaches farther, see `_alignment`.

        Fourth cumulants of independent terms add, so the excess kurtosis is the inputs', weighted with the square
        of their share in the variance. Above that comes what the terms have in common, the contrast C of the image: if
        ln C is Gaussian with a small variance v, C g with a Gaussian g has the kurtosis 3 E[C^4] / E[C^2]^2 =
        3 exp(8 v) / exp(2 v)^2 = 3 exp(4 v), an excess of about 12 v; and a value that goes with C^e has e^2 v in place
        of v, so that the excess grows with the square of the contrast exponent e.
        """
        (x,) = inputs
        kernel = self.canonical(weights)
        source = derived_source([x.distribution.source])
        share = _variance_shares(kernel, x.moments.variance)
        of_inputs = np.einsum("gio,gi->go", share**2, x.distribution.excess_kurtosis.reshape(share.shape[:2])).ravel()
        common = priors.COMMON_KURTOSIS.value * self._mixed(share, x.contrast_exponent) ** 2
        distribution = gaussian_distribution(moments, common + of_inputs, source)
        if self.role.head is None:
            return distribution
        return _alignment(kernel, x.moments.variance, self.role.head).widened(distribution)

    def contrast_exponent(
        self, inputs: Sequence[Moments], contrast_exponents: Sequence[Array], weights: Weights
    ) -> Array:
        """The inputs', weighted with their share in the variance, pulled towards one, which every layer tends to."""
        return self._mixed(_variance_shares(self.canonical(weights), inputs[0].variance), contrast_exponents[0])

    def _mixed(self, share: Array, contrast_exponent: Array) -> Array:
        """The contrast exponent of each output, shape (outputs,).

        Args:
            share: of each input in the variance of each output, (groups, inputs a group, outputs a group).
            contrast_exponent: of each input, shape (inputs,).
        """
        mixed = np.einsum("gio,gi->go", share, contrast_exponent.reshape(share.shape[:2])).ravel()
        retention = priors.SPATIAL_CONTRAST_RETENTION if self.mixes_locations else priors.CONTRAST_RETENTION
        inherited = retention.value
        return np.sqrt(inherited * mixed**2 + 1 - inherited)

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        """Sum over taps of W^2 where the noise of neighbors is independent, (sum of W)^2 where it is the same."""
        kernel = self.canonical(weights)
        _, groups, _, outs = kernel.shape
        independent = np.einsum("tgio,t->gio", kernel**2, self.tap_validity)
        identical = np.einsum("tgio,t->gio", kernel, self.tap_validity) ** 2
        power = (1 - noise_correlation) * independent + noise_correlation * identical
        return (np.einsum("gio,go->gi", power, output.reshape(groups, outs)).ravel(),)

    def absorb(self, weights: Weights, inputs: Sequence[Array], output: Array) -> dict[int, Array]:
        """W'_co = W_co s_c / s_o and b'_o = b_o / s_o (SPIQ, section 3.3)."""
        kernel = self.canonical(weights)
        _, groups, ins, outs = kernel.shape
        scaled = kernel * inputs[0].reshape(groups, ins, 1) / output.reshape(groups, 1, outs)
        result = {self.kernel: self.layout.restored(scaled, weights[self.kernel].shape)}
        if self.bias is not None:
            result[self.bias] = weights[self.bias] / output
        return result


def all_taps_valid() -> Array:
    """Tap validity of a Dense layer, shape (1,): its one tap always lies inside."""
    return np.ones(1)


_TINY = 1e-12


@dataclass(frozen=True)
class _Alignment:
    """How the outputs of aligned weights differ from sums of independent inputs.

    Attributes:
        deviation: factor of their deviation.
        below, above: further factors of the lower and the upper tail's deviation.
    """

    deviation: float
    below: float
    above: float

    def widened(self, distribution: ChannelDistribution) -> ChannelDistribution:
        """A distribution that has the aligned outputs' moments, with each tail widened by its factor."""
        return replace(
            distribution,
            below=_widened(distribution.below, self.below),
            above=_widened(distribution.above, self.above),
        )


def _widened(tail: Tail, factor: float) -> Tail:
    kurtosis = np.full_like(tail.excess_kurtosis, priors.ALIGNED_KURTOSIS.value)
    return replace(tail, deviation=factor * tail.deviation, excess_kurtosis=kurtosis)


def _alignment(kernel: Array, variance: Array, head: ClassifierHead) -> _Alignment:
    """Features of a whole example, once trained, vary in about num_logits - 1 directions, those of the weights.

    (Neural collapse, Papyan et al., PNAS 2020.) So the deviation of a logit is sqrt(inputs / (logits - 1)) that of
    independent inputs: 0.7 to 1.2 times that in eleven classifiers of 10 to 1000 classes. On the images of its own
    class a logit reaches sqrt(logits - 1) times as far again. The geometric mean of the two: the largest logit of
    MobileNetV2, an EfficientNet, a ResNet and DS-CNN lay 2.5 to 3 of these deviations out. Features beyond 32 for each
    logit, more than any of them has, are taken to add nothing. Only the top-1 logit reaches so far above: below, logits
    reach by the geometric mean of this and the deviation of all classes.

    Where the weights are small on just the features that vary much, the two are not aligned, and the factor falls
    with the correlation: to its square root at -0.5 (another ResNet, whose logits reach a fifth as far).

    Args:
        kernel: (taps, groups, inputs a group, outputs a group).
        variance: of the inputs, shape (inputs,).
        head: where the layer stands in the classifier head.
    """
    features = min(kernel.shape[2], priors.FEATURES_PER_LOGIT.value * head.num_logits)
    rank = max(1 if head.is_logits else priors.MIN_HIDDEN_RANK.value, min(features, head.num_logits - 1))
    energy = (kernel - kernel.mean(axis=3, keepdims=True)) ** 2
    alignment = _correlation(np.log(energy.sum(axis=(0, 3)).ravel() + _TINY), np.log(variance + _TINY))
    exponent = 1 + min(alignment, 0.0)
    power = 1.0 if head.is_logits else priors.HIDDEN_ALIGNMENT.value / (1 + head.hidden_depth)
    deviation = max(features / rank, 1.0) ** (0.5 * exponent * power)
    return _Alignment(deviation, rank ** (0.125 * exponent), rank ** (0.25 * exponent))


def _correlation(x: Array, y: Array) -> float:
    x, y = x - x.mean(), y - y.mean()
    norms = np.linalg.norm(x) * np.linalg.norm(y)
    return float(x @ y / norms) if norms > 0 else 0.0


def _variance_shares(kernel: Array, variance: Array) -> Array:
    """The share of each input in the variance of each output, (groups, inputs a group, outputs a group)."""
    _, groups, ins, _ = kernel.shape
    parts = (kernel**2).sum(axis=0) * variance.reshape(groups, ins, 1)
    total = parts.sum(axis=1, keepdims=True)
    return np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)

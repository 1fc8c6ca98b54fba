"""Pooling: averages and maxima over windows or whole feature maps. They commute with channel scales."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions import gaussian
from spiq_tf.distributions.tails import ChannelDistribution, TensorStatistics, gaussian_distribution
from spiq_tf.distributions.values import Array, Moments, Weights, derived_source
from spiq_tf.primitives.base import Primitive, ScaleConstraint, same_scale_per_channel
from spiq_tf.primitives.role import NO_ROLE, Role

MAX_DEPTHWISE_TAPS = 25
"""Of the depthwise kernels of XNNPACK, on every processor."""
MAX_DEPTHWISE_OVERHANG = 1
"""What lies outside is one mean of what lies inside; further out means of several windows would have to agree."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AveragePool(Primitive):
    """Mean over a window.

    Attributes:
        size: number of spatial locations in the window.
        whole: whether the window is the whole feature map.
        overhang: by how many locations some window reaches over the border, along the axis where that is most.
        role: see `in_role`.
    """

    size: int
    whole: bool = False
    overhang: int = 0
    role: Role = NO_ROLE

    mixes_locations = True
    varies_by_image = True

    def in_role(self, role: Role) -> "AveragePool":
        return replace(self, role=role)

    @property
    def is_global_average(self) -> bool:  # type: ignore[override]
        return self.whole

    @property
    def preserves_quantization(self) -> bool:  # type: ignore[override]
        return not self.whole  # MEAN has a scale of its own

    @property
    def has_depthwise_form(self) -> bool:  # type: ignore[override]
        return not self.whole and 1 < self.size <= MAX_DEPTHWISE_TAPS and self.overhang <= MAX_DEPTHWISE_OVERHANG

    @property
    def _variance_share(self) -> float:
        """Share of the variance that is left: neighbors are correlated, and whole images differ in level."""
        return float(self.size**priors.POOLED_VARIANCE_EXPONENT.value)

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        (x,) = inputs
        return Moments(x.mean, x.variance * self._variance_share)

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        """Of a variable with the average's own moments, within the input's bounds."""
        x = inputs[0].distribution
        if self.role.averages_are_logits:  # their deviation is sampled: nothing else is uncertain
            excess_kurtosis = np.full_like(x.above.excess_kurtosis, priors.COMMON_KURTOSIS.value)
        else:
            excess_kurtosis = x.above.excess_kurtosis + (priors.POOLED_KURTOSIS.value if self.whole else 0.0)
        return gaussian_distribution(
            moments, excess_kurtosis, derived_source([x.source]), -x.below.bound, x.above.bound
        )

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        """Independent noise averages out, noise that neighbors share as little as the signal does."""
        return (output * ((1 - noise_correlation) / self.size + noise_correlation * self._variance_share),)

    def scale_constraints(self, channels: Sequence[int], output_channels: int) -> Sequence[ScaleConstraint]:
        return same_scale_per_channel(output_channels)


def overhangs(before: int, after: int, window: int, stride: int) -> tuple[int, int]:
    """How far the first and the last window of a padded pool reach over the border along an axis; a window that reaches
    over both ends counts as if it did so with all at either.

    Args:
        before, after: length of the input and of the output.
        window: its taps.
        stride: between windows.
    """
    total = max((after - 1) * stride + window - before, 0)
    both = total > 1 and window > before
    return (total, total) if both else (total // 2, total - total // 2)


@dataclass(frozen=True, eq=False)
class MaxPool(Primitive):
    """Maximum over a window.

    Attributes:
        size: number of spatial locations in the window.
        whole: whether the window is the whole feature map.
    """

    size: int
    whole: bool = False

    preserves_quantization = True
    varies_by_image = True

    @property
    def uses_sampled_variance(self) -> bool:  # type: ignore[override]
        return not self.whole

    def sampled_moments(self, sampled: Moments, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Those on synthetic inputs: after a ReLU values are not Gaussian, and maxima of rare ones vary more."""
        return sampled

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Of the maximum of sqrt(size) independent Gaussians: neighbors are correlated, as in AveragePool.

        Over a whole feature map it makes a large difference how much they are: the distance to the mean of fully
        independent ones counts as deviation.
        """
        (x,) = inputs
        shift, variance = gaussian.maximum_moments(self.size**priors.MAX_POOL_INDEPENDENCE.value)
        uncertainty = gaussian.maximum_moments(self.size)[0] - shift if self.whole else 0.0
        return Moments(x.mean + shift * x.deviation, (variance + uncertainty**2) * x.variance)

    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        return inputs[0].distribution

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        """The noise of the one value that is the maximum."""
        return (output,)

    def scale_constraints(self, channels: Sequence[int], output_channels: int) -> Sequence[ScaleConstraint]:
        return same_scale_per_channel(output_channels)

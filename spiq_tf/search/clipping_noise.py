"""Clipping noise: the error of values beyond a threshold that are set to it, from the tail of a distribution."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.tails import Tail
from spiq_tf.distributions.values import Array

_TINY = 1e-12


@dataclass(frozen=True)
class ClippedTail:
    """One tail of each channel's distribution, clipped at a threshold.

    Attributes:
        tail: in the model's units, or any others; thresholds have the same.
    """

    tail: Tail

    def noise(self, threshold: Array) -> tuple[Array, Array]:
        """Mean square of what is clipped at a threshold, and its derivative with the threshold.

        With the partial moments Mk(t) = E[((X - t)+)^k] of the tail's variable X, and its bound b >= t,

            E[((min(X, b) - t)+)^2] = M2(t) - M2(b) - 2 (b - t) M1(b),

        since (X - t)^2 - (b - t)^2 = (X - b)^2 + 2 (b - t) (X - b) is what the bound takes away where X > b. From
        d/dt ((X - t)+)^2 = -2 (X - t)+ follows M1 = -M2' / 2, so that M2 is all that must be known.

        Args:
            threshold: shape (channels,).

        Returns:
            Noise and derivative, both of shape (channels,).
        """
        noise, slope = self._second_partial_moment(threshold)
        bound, second, first = self._at_bound
        is_clipped = threshold < bound
        noise = np.where(is_clipped, noise - second - 2 * (bound - threshold) * first, 0.0)
        return np.maximum(noise, 0.0), np.where(is_clipped, np.minimum(slope + 2 * first, 0.0), 0.0)

    @cached_property
    def _at_bound(self) -> tuple[Array, Array, Array]:
        """The bound b, M2(b) and M1(b); where nothing bounds the tail, b is so far out that none of it is left."""
        unbounded = self.tail.center + _INFINITE_SIGMAS * self._deviation
        bound = np.where(np.isfinite(self.tail.bound), self.tail.bound, unbounded)
        second, slope = self._second_partial_moment(bound)
        return bound, second, -0.5 * slope

    def _second_partial_moment(self, threshold: Array) -> tuple[Array, Array]:
        """M2 of X without its bound, and its derivative."""
        noise, slope = _standardized_second_partial_moment(
            (threshold - self.tail.center) / self._deviation, self._steepness
        )
        return noise * self._deviation**2, slope * self._deviation

    @cached_property
    def _deviation(self) -> Array:
        return np.maximum(self.tail.deviation, _TINY)

    @cached_property
    def _steepness(self) -> Array:
        kurtosis = np.maximum(self.tail.excess_kurtosis, _MIN_KURTOSIS)
        return priors.TAIL_STEEPNESS.value * kurtosis**-priors.TAIL_STEEPNESS_EXPONENT.value


_MIN_KURTOSIS = 0.05  # least excess kurtosis whose power is taken; lighter tails have no weight
_INFINITE_SIGMAS = 1e3  # deviations from the center at which no tail is left


def _standardized_second_partial_moment(z: Array, steepness: Array) -> tuple[Array, Array]:
    """M2(z) = E[((Z - z)+)^2] of a symmetric variable Z of mean 0 and variance 1, and its derivative.

    A stretched exponential. For z >= 0: M2 = (exp(-a ((1 + z)^p - 1)) + rare exp(-z / d)) / 2, with the priors
    p = TAIL_EXPONENT, rare = RARE_TAIL_POWER and d = RARE_TAIL_SIGMAS. For z < 0 it follows from
    E[(Z - z)^2] = 1 + z^2 and symmetry: M2(z) = 1 + z^2 - M2(-z).

    Args:
        z: thresholds, shape (channels,).
        steepness: a = TAIL_STEEPNESS excess_kurtosis^-TAIL_STEEPNESS_EXPONENT, shape (channels,).
    """
    exponent, decay = priors.TAIL_EXPONENT.value, priors.RARE_TAIL_SIGMAS.value
    distance = np.abs(z)
    stretched = (1 + distance) ** exponent
    bulk, rare = np.exp(-steepness * (stretched - 1)), priors.RARE_TAIL_POWER.value * np.exp(-distance / decay)
    value = 0.5 * (bulk + rare)
    slope = -0.5 * (bulk * steepness * exponent * stretched / (1 + distance) + rare / decay)
    return np.where(z < 0, 1 + z * z - value, value), np.where(z < 0, 2 * z + slope, slope)

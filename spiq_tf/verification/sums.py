"""Sums over positions and examples, from which the noise of each channel follows."""

import numpy as np
import numpy.typing as npt

from spiq_tf.distributions.values import Array
from spiq_tf.verification.finding import MeasuredNoise

_STILL = 1e-5  # of a channel's power: what varies by less has no signal to compare noise with


class Sums:
    """Of the float model's values x and their errors, channel by channel."""

    def __init__(self, channels: int) -> None:
        self._count = 0
        self._x, self._xx, self._error, self._squared = np.zeros((4, channels))

    def add(self, x: npt.NDArray[np.float32], error: npt.NDArray[np.float32]) -> None:
        """More of both; of shape (..., channels)."""
        a, b = (v.reshape(-1, len(self._x)).astype(np.float64) for v in (x, error))
        self._count += len(a)
        self._x += a.sum(axis=0)
        self._xx += np.einsum("ic,ic->c", a, a)
        self._error += b.sum(axis=0)
        self._squared += np.einsum("ic,ic->c", b, b)

    def noise(self) -> MeasuredNoise:
        """What the errors are, relative to the values."""
        variance = self._xx / self._count - (self._x / self._count) ** 2
        varies = variance * self._count > _STILL * self._xx
        each, total = decibels(self._xx, self._squared), decibels(np.sum(self._xx), np.sum(self._squared))
        worst = int(np.argmin(np.where(varies, each, np.inf)))
        distribution = np.sum(variance[varies])
        bias = float(np.sqrt(np.sum((self._error / self._count) ** 2) / distribution)) if distribution > 0 else None
        return MeasuredNoise(sqnr_db=float(total), bias=bias, worst_channel=worst, worst_channel_db=float(each[worst]))


def decibels(signal: Array | float, noise: Array | float) -> Array:
    """Signal over noise; infinite where there is no noise, NaN where either is."""
    power, error = np.asarray(signal, np.float64), np.asarray(noise, np.float64)
    with np.errstate(divide="ignore"):
        return np.where(error == 0, np.inf, 10 * np.log10(power / np.where(error == 0, 1.0, error)))

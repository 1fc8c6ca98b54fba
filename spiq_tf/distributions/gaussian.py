"""Moments of functions of a Gaussian variable: closed forms for piecewise linear ones, quadrature for the rest."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, roots_hermitenorm

Array = npt.NDArray[np.float64]

_MIN_DEVIATION = 1e-12
_NODES = 64
"""Of the Gauss-Hermite quadrature."""


def piecewise_linear(
    mean: Array, deviation: Array, knots: Sequence[float], slopes: Sequence[Array | float], offsets: Sequence[float]
) -> tuple[Array, Array]:
    """Mean and variance of f(X), X ~ N(mean, deviation^2), f(x) = slopes[j] x + offsets[j] between knots.

    Sums, over the pieces, the moments of a Gaussian truncated to the piece (DFQ, ICCV 2019, appendix C, is the
    case of one or two knots): with z = (x - mean) / deviation, E[z; l < z < r] = phi(l) - phi(r) and
    E[z^2; l < z < r] = Phi(r) - Phi(l) + l phi(l) - r phi(r).

    Args:
        mean, deviation: shape (..., channels); a deviation of zero stands for a constant.
        knots: ascending values at which the slope changes; knots[j - 1] <= x < knots[j] is piece j.
        slopes: len(knots) + 1 slopes, each a scalar or broadcastable to (..., channels).
        offsets: len(knots) + 1 offsets.

    Returns:
        Mean and variance, both of shape (..., channels).
    """
    sigma = np.maximum(deviation, _MIN_DEVIATION)
    edges = [np.full_like(mean, -np.inf), *((k - mean) / sigma for k in knots), np.full_like(mean, np.inf)]
    first = np.zeros(np.broadcast_shapes(np.shape(mean), *(np.shape(a) for a in slopes)))
    second = np.zeros_like(first)
    for a, b, left, right in zip(slopes, offsets, edges[:-1], edges[1:], strict=True):
        mass = ndtr(right) - ndtr(left)
        z1 = _density(left) - _density(right)
        m1 = mean * mass + sigma * z1
        z2 = mass + _z_times_density(left) - _z_times_density(right)
        m2 = mean**2 * mass + 2 * mean * sigma * z1 + sigma**2 * z2
        first = first + a * m1 + b * mass
        second = second + a**2 * m2 + 2 * a * b * m1 + b**2 * mass
    return first, np.maximum(second - first**2, 0.0)


def quadrature(mean: Array, deviation: Array, function: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Mean and variance of function(X), X ~ N(mean, deviation^2), by Gauss-Hermite quadrature.

    Exact to about 1e-6 for smooth functions whose bends are as wide as the deviation or wider.

    Args:
        mean, deviation: shape (channels,).
        function: elementwise; called once with an array of shape (nodes, channels).

    Returns:
        Mean and variance, both of shape (channels,).
    """
    nodes, node_weights = roots_hermitenorm(_NODES)
    node_weights = node_weights / node_weights.sum()
    values = function(mean + deviation * nodes[:, None])
    first = node_weights @ values
    return first, np.maximum(node_weights @ (values - first) ** 2, 0.0)


def excess_kurtosis_of(mean: Array, deviation: Array, function: Callable[[Array], Array]) -> Array:
    """Excess kurtosis of function(X), X ~ N(mean, deviation^2), by summation over a fine grid.

    Args:
        mean, deviation: shape (channels,).
        function: elementwise; called once with an array of shape (points, channels).

    Returns:
        Of shape (channels,).
    """
    z = np.linspace(-8.0, 8.0, 1001)
    mass = _density(z) / _density(z).sum()
    values = function(mean + deviation * z[:, None])
    centered = values - mass @ values
    variance = mass @ centered**2
    return (mass @ centered**4) / np.maximum(variance**2, _MIN_DEVIATION**4) - 3.0


def relu_excess_kurtosis(mean: Array) -> Array:
    """Excess kurtosis of max(X, 0), X ~ N(mean, 1): large where X is seldom positive; below -4 that at -4.

    Mk = E[max(X, 0)^k] follow from M0 = Phi(p), M1 = p M0 + phi(p) and Mk = p M(k-1) + (k-1) M(k-2), by parts.

    Args:
        mean: p, in deviations, shape (channels,).

    Returns:
        Of shape (channels,).
    """
    p = np.clip(mean, _LOWEST_MEAN, _HIGHEST_MEAN)
    rate = ndtr(p)
    first = p * rate + _density(p)
    second = p * first + rate
    third = p * second + 2 * first
    fourth = p * third + 3 * second
    centered = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    return np.asarray(centered / (second - first**2) ** 2 - 3.0)


_LOWEST_MEAN, _HIGHEST_MEAN = -4.0, 8.0  # beyond them the central moment loses its digits to cancellation


def maximum_moments(count: float) -> tuple[float, float]:
    """Mean and variance of the maximum of `count` independent N(0, 1); the count need not be an integer.

    The density of the maximum is count phi(z) Phi(z)^(count - 1).
    """
    z = np.linspace(-9.0, 9.0, 3601)
    mass = count * _density(z) * ndtr(z) ** (count - 1)
    mass = mass / mass.sum()
    mean = float(mass @ z)
    return mean, float(mass @ (z - mean) ** 2)


def _density(z: Array) -> Array:
    return np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)


def _z_times_density(z: Array) -> Array:
    """z phi(z), which is 0 at both infinities."""
    finite = np.where(np.isfinite(z), z, 0.0)
    return finite * _density(finite)

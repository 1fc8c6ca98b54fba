"""Closed forms against numerical integration by scipy."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from spiq_tf.distributions import gaussian


def integrated(function, mean, deviation):
    """Mean and variance of function(X) by adaptive quadrature between the function's bends."""

    def expectation(g):
        edges = np.unique(np.concatenate([np.linspace(-9, 9, 37), (np.array([0.0, 6.0]) - mean) / deviation]))
        edges = edges[np.abs(edges) <= 9]
        parts = [
            integrate.quad(lambda z: g(mean + deviation * z) * stats.norm.pdf(z), a, b)[0]
            for a, b in itertools.pairwise(edges)
        ]
        return sum(parts)

    first = expectation(function)
    return first, expectation(lambda x: (function(x) - first) ** 2)


@given(st.floats(-8, 8), st.floats(0.05, 4))
def test_relu6_of_a_gaussian(mean, deviation):
    found = gaussian.piecewise_linear(
        np.array([mean]), np.array([deviation]), [0.0, 6.0], [0.0, 1.0, 0.0], [0.0, 0.0, 6.0]
    )
    expected = integrated(lambda x: min(max(x, 0.0), 6.0), mean, deviation)
    assert found[0][0] == pytest.approx(expected[0], abs=1e-8)
    assert found[1][0] == pytest.approx(expected[1], abs=1e-8)


@pytest.mark.fast
@given(st.floats(-4, 4), st.floats(0.05, 4), st.floats(-1, 2))
def test_prelu_of_a_gaussian(mean, deviation, slope):
    found = gaussian.piecewise_linear(np.array([mean]), np.array([deviation]), [0.0], [slope, 1.0], [0.0, 0.0])
    expected = integrated(lambda x: x if x > 0 else slope * x, mean, deviation)
    assert found[0][0] == pytest.approx(expected[0], abs=1e-8)
    assert found[1][0] == pytest.approx(expected[1], abs=1e-8)


@pytest.mark.fast
def test_a_constant_has_no_variance():
    mean, variance = gaussian.piecewise_linear(np.array([2.0, -1.0]), np.zeros(2), [0.0], [0.0, 1.0], [0.0, 0.0])
    np.testing.assert_allclose(mean, [2.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(variance, [0.0, 0.0], atol=1e-9)


@given(st.floats(-4, 4), st.floats(0.05, 1.5))
def test_quadrature_of_a_sigmoid(mean, deviation):
    def function(x):
        return 1 / (1 + np.exp(-x))

    found = gaussian.quadrature(np.array([mean]), np.array([deviation]), function)
    expected = integrated(function, mean, deviation)
    assert found[0][0] == pytest.approx(expected[0], abs=1e-6)
    assert found[1][0] == pytest.approx(expected[1], abs=1e-6)


@pytest.mark.fast
def test_largest_of_two_gaussians():
    """The maximum of two standard normals has mean 1 / sqrt(pi) and variance 1 - 1 / pi."""
    mean, variance = gaussian.maximum_moments(2)
    assert mean == pytest.approx(1 / np.sqrt(np.pi), abs=1e-5)
    assert variance == pytest.approx(1 - 1 / np.pi, abs=1e-5)


@pytest.mark.fast
@pytest.mark.parametrize(("slope", "place"), [(0.0, -1.0), (0.25, 0.3), (-0.7, 0.0)])
def test_excess_kurtosis_of_a_rectified_gaussian(slope, place, random):
    """Against four million draws."""
    x = place + 1.5 * random.standard_normal(4_000_000)
    y = np.where(x < 0, slope * x, x)
    expected = np.mean((y - y.mean()) ** 4) / y.var() ** 2 - 3
    found = gaussian.excess_kurtosis_of(np.array([place]), np.array([1.5]), lambda v: np.where(v < 0, slope * v, v))
    assert found[0] == pytest.approx(expected, rel=0.02, abs=0.02)


@pytest.mark.fast
def test_closed_form_of_the_excess_kurtosis_behind_a_relu():
    """Against summation over a grid; far below, where a channel fires once in ten thousand times, and far above."""
    place = np.array([-3.9, -2.0, -0.5, 0.0, 1.0, 4.0, 7.9])
    summed = gaussian.excess_kurtosis_of(place, np.ones(7), lambda v: np.maximum(v, 0.0))
    np.testing.assert_allclose(gaussian.relu_excess_kurtosis(place), summed, rtol=1e-3, atol=1e-3)
    assert gaussian.relu_excess_kurtosis(np.array([-50.0])) == gaussian.relu_excess_kurtosis(np.array([-4.0]))

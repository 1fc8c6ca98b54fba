"""The noise model against Monte Carlo, numerical integration and finite differences."""

import keras
import numpy as np
import pytest
from keras import layers
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import minimize

from spiq_tf import pipeline
from spiq_tf.distributions.tails import Tail
from spiq_tf.distributions.values import ChannelRanges, InputStatistics, Moments, Source
from spiq_tf.frontend.capture import capture
from spiq_tf.options import checked_options
from spiq_tf.search import constraints, minimum_noise, noise_gain
from spiq_tf.search.clipping_noise import ClippedTail
from spiq_tf.search.noise_problem import NoiseProblem
from spiq_tf.search.objective import CoupledTensors
from spiq_tf.statistics import propagation
from spiq_tf.statistics.input_range import input_statistics
from tests.layer_table import TABLE
from tests.networks import NETWORKS, RANGE, settle
from tests.tiers import ROWS, with_fast

SAMPLES = 400
SHIFT = 0.02  # deviation of the noise that is put on, in units of the values'


def tail(center, deviation, bound, excess_kurtosis):
    values = {"center": center, "deviation": deviation, "bound": bound, "excess_kurtosis": excess_kurtosis}
    return Tail(**{name: np.array([value]) for name, value in values.items()})


def clipping_noise(threshold, excess_kurtosis, bound=np.inf, center=1.0, deviation=2.0):
    noise, _ = ClippedTail(tail(center, deviation, bound, excess_kurtosis)).noise(np.array([float(threshold)]))
    return noise[0]


@pytest.mark.fast
@pytest.mark.parametrize("excess_kurtosis", [0.3, 1.0, 6.0])
@pytest.mark.parametrize("threshold", [3.0, 5.5, 8.5])
def test_a_bound_ends_the_integral(excess_kurtosis, threshold):
    """The integral of 2 (x - t) P(X > x) up to the bound, where P is half the curvature without a bound."""

    def exceeded(x, h=2e-3):
        low, middle, high = (clipping_noise(x + d, excess_kurtosis) for d in (-h, 0.0, h))
        return (high - 2 * middle + low) / (2 * h**2)

    expected, _ = quad(lambda x: 2 * (x - threshold) * exceeded(x), threshold, 9.0, limit=200)
    np.testing.assert_allclose(clipping_noise(threshold, excess_kurtosis, 9.0), expected, rtol=1e-2)


@pytest.mark.fast
@pytest.mark.parametrize("excess_kurtosis", [0.05, 0.3, 1.0, 6.0, 30.0])
def test_a_tail_is_one(excess_kurtosis):
    """Half of the variance lies beyond the mean; the rest falls, ever more slowly, and less where values are heavy."""
    thresholds = np.linspace(1.0, 60.0, 60)
    found = np.array([clipping_noise(t, excess_kurtosis) for t in thresholds])
    heavier = np.array([clipping_noise(t, 1.5 * excess_kurtosis) for t in thresholds])
    assert found[0] == pytest.approx(0.5 * 2.0**2, rel=1e-3)
    assert np.all(np.diff(found) < 0)
    assert np.all(np.diff(found, 2) > 0)
    assert np.all(heavier[2:20] > found[2:20])


_HEAVY = {
    "logistic": (stats.logistic(scale=np.sqrt(3) / np.pi), 1.2),
    "hyperbolic secant": (stats.hypsecant(scale=2 / np.pi), 2.0),
    "laplace": (stats.laplace(scale=np.sqrt(0.5)), 3.0),
}
"""Distributions of variance 1 by their excess kurtosis."""


@pytest.mark.fast
@pytest.mark.parametrize("name", _HEAVY)
def test_noise_of_known_distributions(name):
    """Within a factor of 2; at 5 deviations, where feature maps are heavier than any of them, of 4."""
    distribution, excess_kurtosis = _HEAVY[name]
    for threshold in (2.0, 3.0, 5.0):
        real, _ = quad(lambda x, t=threshold: (x - t) ** 2 * distribution.pdf(x), threshold, 40.0)
        found = clipping_noise(threshold, excess_kurtosis, center=0.0, deviation=1.0)
        assert real / 2 < found < real * (2 if threshold < 5 else 4)


@pytest.mark.fast
def test_nothing_is_cut_beyond_the_bound():
    side = tail(0.0, 1.0, 6.0, 1.0)
    assert ClippedTail(side).noise(np.array([6.0]))[0] == 0
    assert ClippedTail(side).noise(np.array([5.0]))[0] > 0


@pytest.mark.fast
def test_a_constant_beyond_the_threshold_is_cut_by_its_whole_distance():
    side = tail(5.0, 0.0, np.inf, 1.0)
    np.testing.assert_allclose(ClippedTail(side).noise(np.array([2.0]))[0], 9.0, rtol=1e-6)


def passing(row):
    """Rows through which the noise can be followed: all but those whose answer is a stated guess."""
    return row.moments == "independent" and row.name not in ("reshape_mixing",)


@pytest.mark.parametrize("row", with_fast([r for r in TABLE if passing(r)], ROWS), ids=lambda r: r.name)
def test_gains_equal_noise_put_on_by_hand(row, random):
    """Independent noise on the layer's first input, its power after the layer relative to the output's."""
    inputs = [keras.Input((8, 8, 6), name=name) for name in ("x", "y")]
    model = settle(keras.Model(inputs, row.apply(*inputs)))
    drawn = {k: Moments(random.normal(0, 1, 6), np.exp(random.normal(0, 0.7, 6))) for k in ("x", "y")}
    wide = ChannelRanges(np.full(6, -9.0), np.full(6, 9.0), Source.GIVEN)
    graph = capture(model, 1)
    moments = propagation.all_moments(graph, {t.name: InputStatistics(drawn[t.name], wide) for t in graph.inputs})
    gain = noise_gain.output_gains(graph, moments, {})["x"].white

    values = {k: m.mean + m.deviation * random.standard_normal((SAMPLES, 8, 8, 6)) for k, m in drawn.items()}
    added = SHIFT * drawn["x"].deviation * random.standard_normal((SAMPLES, 8, 8, 6))
    names = [t.name for t in graph.inputs]
    clean = model.predict([values[k] for k in names], verbose=0)
    noisy = model.predict([values[k] + (added if k == "x" else 0) for k in names], verbose=0)
    measured = np.mean((noisy - clean) ** 2) / np.mean(clean**2)
    # the sample's own error, and slopes that change within the noise
    np.testing.assert_allclose(gain @ (SHIFT**2 * drawn["x"].variance), measured, rtol=0.15)


def noise_problem(graph, moments, distributions, classes):
    return NoiseProblem(
        graph=graph,
        classes=classes,
        moments=moments,
        distributions=distributions,
        gains=noise_gain.output_gains(graph, moments, {}),
        per_channel_dense=False,
    )


@pytest.mark.parametrize("name", ["residual", "saturating_addition", "concatenation", "depthwise"])
def test_gradient_of_the_noise_equals_finite_differences(name, random):
    graph = capture(NETWORKS[name](), 1)
    inputs = input_statistics(graph, RANGE)
    moments = propagation.all_moments(graph, inputs)
    distributions, classes = propagation.all_distributions(graph, moments, inputs), constraints.scale_classes(graph)
    problem = noise_problem(graph, moments, distributions, classes)
    checked = 0
    for tensors in problem.coupled_tensors():
        free, ranges = problem.free_classes(tensors), problem.range_indices(tensors)
        family = problem.terms(tensors, free, ranges)
        x = family._start() + 0.1 * random.standard_normal(len(free) + 2 * (max(ranges.values()) + 1))
        _, gradient = family.noise(x)
        for place in range(len(x)):
            step = np.where(np.arange(len(x)) == place, 1e-5, 0.0)
            difference = (family.noise(x + step)[0] - family.noise(x - step)[0]) / 2e-5
            np.testing.assert_allclose(gradient[place], difference, rtol=1e-3, atol=1e-6 * np.abs(gradient).max())
            checked += 1
    assert checked > 10


def test_the_choice_is_a_minimum(random):
    """No scale or range moved by a tenth lowers the predicted noise noticeably."""
    graph = capture(NETWORKS["residual"](), 1)
    inputs = input_statistics(graph, RANGE)
    moments = propagation.all_moments(graph, inputs)
    distributions, classes = propagation.all_distributions(graph, moments, inputs), constraints.scale_classes(graph)
    problem = noise_problem(graph, moments, distributions, classes)
    for tensors in problem.coupled_tensors():
        free, ranges = problem.free_classes(tensors), problem.range_indices(tensors)
        family = problem.terms(tensors, free, ranges)
        found = family.solve()
        best = sum(n.rounding + n.clipping + n.weights for n in found.noise.values())
        x = np.log(np.concatenate([found.scales, found.high, np.maximum(-found.low, 1e-300)]))
        np.testing.assert_allclose(family.noise(x)[0], best, rtol=1e-6)
        bounds = family._bounds(family._start())
        for _ in range(20):
            moved = np.clip(x + 0.1 * random.standard_normal(len(x)), bounds.lb, bounds.ub)
            assert family.noise(moved)[0] > 0.995 * best


@pytest.mark.fast
def test_what_is_cut_below_is_felt_where_the_other_addend_lifts_the_sum_above_zero(random):
    x, y = keras.Input((4, 4, 3), name="x"), keras.Input((4, 4, 3), name="y")
    total = keras.layers.Add()([x, y])
    graph = capture(keras.Model([x, y], keras.layers.ReLU()(total)), 1)
    wide = ChannelRanges(np.full(3, -9.0), np.full(3, 9.0), Source.GIVEN)
    given = {"x": Moments(np.zeros(3), np.full(3, 0.04)), "y": Moments(np.array([0.5, 1.0, 2.0]), np.ones(3))}
    moments = propagation.all_moments(graph, {k: InputStatistics(m, wide) for k, m in given.items()})
    lifted = (given["y"].mean + random.standard_normal((100_000, 3)) - 5 * 0.2 > 0).mean(axis=0)
    np.testing.assert_allclose(noise_gain.relu_attenuation_of_lower_clipping(graph, moments, "x"), lifted, atol=0.01)
    assert np.all(noise_gain.relu_attenuation_of_lower_clipping(graph, moments, "y") == 0.05)
    assert noise_gain.relu_attenuation_of_lower_clipping(graph, moments, graph.outputs[0].name) == 1.0


@pytest.mark.fast
def test_no_range_reaches_farther_than_the_tensor_in_front_allows():
    """A threshold, and a sum of it and of itself: what cannot come of the range in front is cut off, the rest stays."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3)(image))
    y = layers.ReLU(threshold=0.5, name="threshold")(x)
    graph = capture(settle(keras.Model(image, layers.Conv2D(2, 1)(layers.Add(name="sum")([x, y])))), 1)
    inputs = input_statistics(graph, RANGE)
    moments = propagation.all_moments(graph, inputs)
    distributions = propagation.all_distributions(graph, moments, inputs)
    ones = np.ones(4)
    ranges = {t.name: distributions[t.name].range(8.0) for t in graph.tensors}
    ranges["norm"] = ChannelRanges(-3.0 * ones, np.array([1.0, 2.0, 0.25, 4.0]), Source.BATCH_NORM)
    ranges["threshold"] = ChannelRanges(0.0 * ones, 3.0 * ones, Source.PROPAGATED)
    ranges["sum"] = ChannelRanges(-2.0 * ones, 50.0 * ones, Source.PROPAGATED)
    found = minimum_noise._reachable(graph, moments, ranges)
    np.testing.assert_allclose(found["threshold"].high, [1.0, 2.0, 0.0, 3.0])
    np.testing.assert_allclose(found["sum"].high, [2.0, 4.0, 0.25, 7.0])
    np.testing.assert_allclose(found["sum"].low, -2.0 * ones)
    np.testing.assert_allclose(found["norm"].high, ranges["norm"].high)


def test_descent_ends_at_the_least_noise(real_networks, monkeypatch):
    """A descent ten times as long and tight lowers the noise of no family by more than a tenth, and that of all by no
    more than 1 %; on this network the first one of some ends after a single step, 15 % above."""
    solved = []
    solve = CoupledTensors.solve

    def kept(family):
        solution = solve(family)
        solved.append((family, solution))
        return solution

    monkeypatch.setattr(CoupledTensors, "solve", kept)
    model = keras.models.load_model(real_networks / "mobilenet_v2_imagenet.keras", compile=False)
    pipeline.plan(model, RANGE, checked_options())
    assert len(solved) > 20
    noise, least = [], []
    for family, solution in solved:
        found = sum(n.rounding + n.clipping + n.weights for n in solution.noise.values())
        bounds, options = family._bounds(family._start()), {"maxiter": 1000, "ftol": 1e-8}
        start = np.clip(family._start(), bounds.lb, bounds.ub)
        longer = minimize(family._log_noise, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        noise.append(found)
        least.append(np.exp(longer.fun))
    assert np.all(np.array(noise) < 1.1 * np.array(least))
    assert sum(noise) < 1.01 * sum(least)

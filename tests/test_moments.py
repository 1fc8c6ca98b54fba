"""Moments of every layer against Monte Carlo through the layer itself."""

import keras
import numpy as np
import pytest

from spiq_tf.distributions.tails import TensorStatistics, gaussian_distribution
from spiq_tf.distributions.values import ChannelRanges, InputStatistics, Moments, Source
from spiq_tf.frontend.capture import capture
from spiq_tf.graph.classifier_head import network_roles
from spiq_tf.primitives.merge import Add, Multiply
from spiq_tf.primitives.pool import MaxPool
from spiq_tf.primitives.role import ClassifierHead
from spiq_tf.primitives.shape import Pad
from spiq_tf.statistics.propagation import all_contrast_exponents, all_distributions, all_moments
from tests.layer_table import TABLE
from tests.networks import settle
from tests.tiers import ROWS, with_fast

SAMPLES = 1500


def drawn(random, moments, kind):
    """Gaussian inputs of the given moments: (samples, 8, 8, 6)."""
    shape = (SAMPLES, 8, 8, 6) if kind == "independent" else (SAMPLES, 8, 1, 6)
    noise = random.standard_normal(shape) * np.ones((1, 8, 8, 6))
    return (moments.mean + moments.deviation * noise).astype(np.float32)


@pytest.mark.parametrize("row", with_fast([r for r in TABLE if r.moments], ROWS), ids=lambda r: r.name)
def test_moments_equal_monte_carlo(row, random):
    inputs = [keras.Input((8, 8, 6), name=name) for name in ("x", "y")]
    output = row.apply(*inputs)
    model = settle(keras.Model(inputs, [output, inputs[1]]))
    given = {name: Moments(random.normal(0, 1, 6), np.exp(random.normal(0, 0.7, 6))) for name in ("x", "y")}
    wide = ChannelRanges(np.full(6, -9.0), np.full(6, 9.0), Source.GIVEN)
    graph = capture(model, 1)
    found = all_moments(graph, {k: InputStatistics(m, wide) for k, m in given.items()})[graph.outputs[0].name]

    values = model.predict([drawn(random, given[k], row.moments) for k in ("x", "y")], verbose=0)[0]
    flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
    # five standard errors of the sample mean; the variance's is larger where tails are heavy
    tolerance = 5 * flat.std(axis=0) / np.sqrt(SAMPLES) + 1e-5
    np.testing.assert_array_less(np.abs(found.mean - flat.mean(axis=0)), tolerance)
    np.testing.assert_allclose(found.variance, flat.var(axis=0), rtol=0.2, atol=1e-8)


@pytest.mark.fast
def test_moments_of_a_softmax(random):
    """Gates, whose logits differ in mean and deviation, against 200,000 draws."""
    logits = keras.Input((4,), name="logits")
    graph = capture(keras.Model(logits, keras.layers.Softmax()(logits)), 1)
    own = Moments(np.array([-1.0, 0.0, 0.5, 2.0]), np.array([0.1, 4.0, 1.0, 0.5]))
    span = ChannelRanges(np.full(4, -9.0), np.full(4, 9.0), Source.GIVEN)
    found = all_moments(graph, {"logits": InputStatistics(own, span)})[graph.outputs[0].name]
    drawn = np.exp(own.mean + own.deviation * random.standard_normal((200_000, 4)))
    shares = drawn / drawn.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.mean, shares.mean(axis=0), rtol=0.02)
    np.testing.assert_allclose(found.variance, shares.var(axis=0), rtol=0.05)


@pytest.mark.fast
def test_concatenation_along_positions_weighs_its_inputs_by_their_length():
    image, other = keras.Input((30, 4, 3), name="x"), keras.Input((2, 4, 3), name="y")
    graph = capture(keras.Model([image, other], keras.layers.Concatenate(axis=1)([image, other])), 1)
    span = ChannelRanges(np.full(3, -9.0), np.full(3, 9.0), Source.GIVEN)
    given = {
        "x": InputStatistics(Moments(np.zeros(3), np.ones(3)), span),
        "y": InputStatistics(Moments(np.full(3, 8.0), np.full(3, 4.0)), span),
    }
    found = all_moments(graph, given)[graph.outputs[0].name]
    np.testing.assert_allclose(found.mean, 0.5)
    np.testing.assert_allclose(found.variance, (30 * 0.5**2 + 2 * 7.5**2) / 32 + (30 * 1 + 2 * 4) / 32)


@pytest.mark.fast
def test_batch_norm_states_the_moments_of_both_its_sides(random):
    image = keras.Input((8, 8, 3))
    norm = keras.layers.BatchNormalization(name="norm")
    model = settle(keras.Model(image, norm(keras.layers.Conv2D(5, 3, name="conv")(image))))
    graph = capture(model, 1)
    given = InputStatistics(Moments(np.zeros(3), np.ones(3)), ChannelRanges(-np.ones(3), np.ones(3), Source.GIVEN))
    found = all_moments(graph, {graph.inputs[0].name: given})
    gamma, beta, mean, variance = (np.asarray(v) for v in norm.weights)
    np.testing.assert_allclose(found["conv"].mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found["conv"].variance, variance, rtol=1e-6)
    np.testing.assert_allclose(found["norm"].mean, beta, rtol=1e-6)
    np.testing.assert_allclose(found["norm"].variance, gamma**2 * variance / (variance + 1e-3), rtol=1e-5)


@pytest.mark.fast
def test_mean_of_the_input_is_read_from_the_first_batch_norm(random):
    """The input's true mean lies far from the middle of its range, and is found again within 0.1 deviation."""
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Conv2D(16, 3, padding="same")(keras.layers.ZeroPadding2D(0)(image))
    norm = keras.layers.BatchNormalization(momentum=0.0)
    model = keras.Model(image, norm(x))
    true = np.array([2.0, -1.0, 0.5])
    model((true + random.standard_normal((64, 16, 16, 3))).astype(np.float32), training=True)
    graph = capture(model, 1)
    assumed = InputStatistics(
        Moments(np.zeros(3), 4 * np.ones(3)), ChannelRanges(-8 * np.ones(3), 8 * np.ones(3), Source.GIVEN)
    )
    found = all_moments(graph, {"image": assumed})["image"].mean
    np.testing.assert_allclose(found, true, atol=0.1)


@pytest.mark.fast
def test_an_average_keeps_some_of_the_variance_and_less_over_more_positions():
    """Less than if all positions were equal, more than if they were independent."""
    image = keras.Input((8, 8, 3), name="image")
    outputs = [keras.layers.AveragePooling2D(2)(image), keras.layers.GlobalAveragePooling2D()(image)]
    graph = capture(keras.Model(image, outputs), 1)
    given = InputStatistics(Moments(np.zeros(3), np.ones(3)), ChannelRanges(-np.ones(3), np.ones(3), Source.GIVEN))
    moments = all_moments(graph, {"image": given})
    small, whole = (moments[t.name].variance for t in graph.outputs)
    assert np.all((small > 1 / 4) & (small < 1))
    assert np.all((whole > 1 / 64) & (whole < small))


@pytest.mark.fast
def test_scores_of_collapsed_features(random):
    """Features in which the winner of 20 classes stands out: the scores' deviation is told to a quarter, both ends
    hold, and the lower is the nearer."""
    features = np.eye(20)[random.integers(0, 20, 4000)] + 0.15 * random.standard_normal((4000, 20))
    mixing = np.linalg.qr(random.standard_normal((64, 20)))[0]
    values = features @ mixing.T
    scores = values @ mixing
    x = keras.Input((1, 64), name="x")
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Conv1D(64, 1, use_bias=False, name="map")(x))
    model = keras.Model(x, keras.layers.Dense(20, use_bias=False, name="scores")(pooled))
    for name, kernel in (("map", np.eye(64)[None]), ("scores", mixing)):
        model.get_layer(name).set_weights([kernel])
    given = Moments(values.mean(axis=0), values.var(axis=0))
    wide = ChannelRanges(np.full(64, -9.0), np.full(64, 9.0), Source.GIVEN)
    inputs = {"x": InputStatistics(given, wide)}
    graph = capture(model, 1)
    moments = all_moments(graph, inputs)
    np.testing.assert_allclose(moments["scores"].deviation, scores.std(axis=0), rtol=0.25)
    reach = all_distributions(graph, moments, inputs)["scores"].range(4.0)
    mean = moments["scores"].mean
    assert np.all(reach.high - mean > 1.4 * (mean - reach.low))
    assert np.mean(scores > reach.high) < 1e-3
    assert np.mean(scores < reach.low) < 1e-3


def test_deviations_of_a_deep_regressor(random):
    """One score: whatever its hidden layers align is told within a factor of 3, not of 4 a layer."""
    x = keras.Input((16,), name="x")
    hidden = x
    for index in range(4):
        hidden = keras.layers.Dense(64, "relu", kernel_initializer="he_normal", name=f"hidden{index}")(hidden)
    model = keras.Model(x, keras.layers.Dense(1)(hidden))
    inputs = {
        "x": InputStatistics(Moments(np.zeros(16), np.ones(16)), ChannelRanges(-np.ones(16), np.ones(16), Source.GIVEN))
    }
    found = all_moments(capture(model, 1), inputs)
    inside = keras.Model(x, [model.get_layer(f"hidden{index}").output for index in range(4)])
    drawn = inside.predict(random.standard_normal((4000, 16)), verbose=0)
    for index, values in enumerate(drawn):
        ratio = np.sqrt(found[f"hidden{index}"].variance.mean() / values.var(axis=0).mean())
        assert 0.9 < ratio < 3


@pytest.mark.fast
def test_layers_that_know_that_they_stand_in_the_head():
    """After the last feature map: not a gate, not a layer on pixels, not before another feature map or a
    BatchNorm."""
    x = keras.Input((8, 8, 3))
    features = keras.layers.Conv2D(4, 3, name="features")(x)
    gate = keras.layers.Dense(4, name="gate")(keras.layers.GlobalAveragePooling2D(keepdims=True)(features))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Multiply()([features, gate]))
    hidden = keras.layers.Dense(6, activation="silu", name="hidden")(pooled)
    pixels = keras.layers.Dense(2, name="pixels")(keras.layers.Flatten()(x))
    drawn = keras.layers.Reshape((2, 2, 4))(keras.layers.Dense(16, name="seed")(pooled))
    strung = keras.layers.Dense(5, name="strung")(keras.layers.Flatten()(features))
    outputs = [
        strung,
        keras.layers.Dot(1)([keras.layers.Dense(12, name=name)(pooled) for name in ("left", "right")]),
        keras.layers.Dense(10, activation="softmax", name="classes")(hidden),
        keras.layers.Dense(3, name="box")(hidden),
        pixels,
        keras.layers.Conv2D(1, 1, name="drawn")(drawn),
        keras.layers.BatchNormalization()(
            keras.layers.Concatenate()([keras.layers.Dense(3, name=name)(pooled) for name in ("one", "other")])
        ),
    ]
    graph = capture(keras.Model(x, outputs), 1)
    roles = network_roles(graph)
    heads = {node.call.name: roles[node.output.name].head for node in graph.nodes if node.primitive.is_linear}
    known = {name: head for name, head in heads.items() if head is not None}
    assert known == {
        "hidden": ClassifierHead(num_logits=13, is_logits=False),
        "classes": ClassifierHead(num_logits=10, is_logits=True, hidden_depth=1),
        "box": ClassifierHead(num_logits=3, is_logits=True, hidden_depth=1),
        "strung": ClassifierHead(num_logits=5, is_logits=True),
        "left": ClassifierHead(num_logits=12, is_logits=True),
        "right": ClassifierHead(num_logits=12, is_logits=True),
    }
    assert set(heads) == {"features", "gate", "pixels", "seed", "drawn", "one", "other", *known}


@pytest.mark.fast
def test_tails_grow_heavier_with_every_layer_since_the_last_norm():
    """What is propagated is less and less certain; a BatchNorm states it anew, and layers before one are sure."""
    x = keras.Input((8, 8, 3), name="x")
    first = keras.layers.Conv2D(4, 1, name="first")(x)
    second = keras.layers.Conv2D(4, 1, name="second")(first)
    stated = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 1, name="stated")(second))
    model = settle(keras.Model(x, keras.layers.Conv2D(4, 1, name="after")(stated)))
    graph = capture(model, 1)
    inputs = {
        "x": InputStatistics(Moments(np.zeros(3), np.ones(3)), ChannelRanges(-np.ones(3), np.ones(3), Source.GIVEN))
    }
    distributions = all_distributions(graph, all_moments(graph, inputs), inputs)
    added = {
        name: (distributions[name].above.excess_kurtosis - distributions[name].excess_kurtosis)
        for name in ("first", "second", "stated", "after")
    }
    assert np.all(added["first"] > 0)
    for name, layers in (("second", 2), ("stated", 0), ("after", 1)):
        np.testing.assert_allclose(added[name], added["first"] * layers)


_BEHIND = {
    "seldom_positive": lambda x, y: keras.layers.ReLU()(keras.ops.subtract(x, 1.5)),
    "mostly_positive": lambda x, y: keras.layers.ReLU()(keras.ops.add(x, 1.0)),
    "silu": lambda x, y: keras.layers.Activation("silu")(keras.ops.subtract(x, 0.7)),
    "sum": lambda x, y: keras.layers.Add()([x, keras.layers.ReLU()(y)]),
    "gate": lambda x, y: keras.layers.Multiply()([x, y]),
    "saturating": lambda x, y: keras.layers.Activation("tanh")(x),
}


@pytest.mark.parametrize("name", _BEHIND)
def test_contrast_exponent_is_that_of_values_a_tenth_farther_from_their_means(name, random):
    """Deviations of the layer's own output, drawn twice with the same numbers."""
    x, y = keras.Input((8, 8, 4), name="x"), keras.Input((8, 8, 4), name="y")
    output = _BEHIND[name](x, y)
    graph = capture(keras.Model([x, y], [output, y]), 1)
    given = {"x": Moments(np.full(4, 0.2), np.linspace(0.5, 2, 4)), "y": Moments(np.full(4, -0.5), np.ones(4))}
    wide = ChannelRanges(np.full(4, -9.0), np.full(4, 9.0), Source.GIVEN)
    moments = all_moments(graph, {k: InputStatistics(m, wide) for k, m in given.items()})
    found = all_contrast_exponents(graph, moments)[graph.outputs[0].name]

    noise = {k: random.standard_normal((SAMPLES, 8, 8, 4)) for k in given}
    less, more = (
        keras.Model([x, y], output)
        .predict([m.mean + contrast * m.deviation * noise[k] for k, m in given.items()], verbose=0)
        .std(axis=(0, 1, 2))
        for contrast in (1.0, 1.1)
    )
    np.testing.assert_allclose(found, np.log(more / less) / np.log(1.1), atol=0.05)
    assert np.all(np.abs(found - 1) > 0.03) or name == "sum"  # one is what a rule would say that knows nothing


def test_sums_are_heavier_where_the_layers_in_front_exaggerate_contrast(random):
    """A lognormal contrast before a ReLU that is seldom, half or mostly open: the kurtosis that a 1x1 convolution
    makes of many such channels, relative to each other within 0.4 of what is predicted."""
    x = keras.Input((1, 1, 64), name="x")
    shifts = (-1.0, 0.0, 1.0)
    outputs = [
        keras.layers.Conv2D(8, 1, use_bias=False)(keras.layers.ReLU()(keras.ops.add(x, shift))) for shift in shifts
    ]
    model = settle(keras.Model(x, outputs))
    graph = capture(model, 1)
    ones = Moments(np.zeros(64), np.ones(64))
    inputs = {"x": InputStatistics(ones, ChannelRanges(np.full(64, -9.0), np.full(64, 9.0), Source.GIVEN))}
    moments = all_moments(graph, inputs)
    distributions = all_distributions(graph, moments, inputs)
    contrast = np.exp(0.25 * random.standard_normal((200_000, 1, 1, 1)))
    values = model.predict(contrast * random.standard_normal((200_000, 1, 1, 64)), batch_size=4096, verbose=0)
    real = []
    for each in values:
        centered = each.reshape(-1, 8) - each.mean(axis=0).reshape(-1)
        real.append(np.mean(np.mean(centered**4, axis=0) / np.mean(centered**2, axis=0) ** 2 - 3))
    found = [distributions[t.name].excess_kurtosis.mean() for t in graph.outputs]
    np.testing.assert_allclose(np.array(found) / found[1], np.array(real) / real[1], rtol=0.4)
    assert real[0] > 3 * real[1] > 4.5 * real[2]


@pytest.mark.fast
def test_kurtosis_of_a_sum_whose_terms_grow_together(random):
    """Two Gaussians times one contrast: the sum's excess kurtosis is theirs. Tolerance: of fourth moments, 400,000."""
    contrast = np.exp(0.3 * random.standard_normal((400_000, 1)))
    first, second = (contrast * random.standard_normal((400_000, 2)) * size for size in ([1.0, 2.0], [1.5, 0.5]))

    def excess_kurtosis(values):
        return np.mean(values**4, axis=0) / np.mean(values**2, axis=0) ** 2 - 3

    parts = []
    for values in (first, second):
        own = Moments(np.zeros(2), values.var(axis=0))
        parts.append(
            TensorStatistics(own, gaussian_distribution(own, excess_kurtosis(values), Source.BATCH_NORM), np.ones(2))
        )
    primitive = Add((1, 1))
    total = primitive.moments([p.moments for p in parts], {})
    found = primitive.distribution(parts, total, {}).excess_kurtosis
    np.testing.assert_allclose(found, excess_kurtosis(first + second), rtol=0.15)


@pytest.mark.parametrize(
    ("layer", "most"), [(keras.layers.LayerNormalization(), 0.5), (keras.layers.GroupNormalization(1), 2.0)]
)
def test_a_norm_takes_contrast_out(layer, most, random):
    """Positions of lognormal contrast, with an excess kurtosis of 6: each is normalized by its own, or by that of the
    map, in which it varies less."""
    x = keras.Input((8, 8, 32), name="x")
    model = settle(keras.Model(x, keras.layers.Conv2D(4, 1)(layer(x))))
    image, place = (np.exp(size * random.standard_normal((1000, *shape))) for size, shape in _CONTRASTS)
    values = image * place * random.standard_normal((1000, 8, 8, 32))
    made = np.asarray(layer(values.astype(np.float32)), np.float64).reshape(-1, 32)
    own = Moments(np.zeros(32), values.var(axis=(0, 1, 2)))
    flat = values.reshape(-1, 32)
    heavy = np.mean(flat**4, axis=0) / own.variance**2 - 3
    (node, _) = capture(model, 1).nodes
    told = Moments(made.mean(axis=0), made.var(axis=0))
    given = TensorStatistics(own, gaussian_distribution(own, heavy, Source.BATCH_NORM), np.ones(32))
    found = node.primitive.distribution([given], told, {}).excess_kurtosis
    real = np.mean((made - told.mean) ** 4, axis=0) / told.variance**2 - 3
    assert np.median(heavy) > 4
    np.testing.assert_allclose(np.median(found), np.median(real), atol=most)


_CONTRASTS = ((0.5, (1, 1, 1)), (0.25, (8, 8, 1)))


@pytest.mark.fast
def test_kurtosis_of_a_feature_map_within_a_border_of_one_value(random):
    """Gaussians at 7 of 10 positions, 1.5 at the others: moments and kurtosis of what is drawn, within sampling error;
    the border lies within the range, in which a dead channel's own kurtosis no longer counts."""
    mean, deviation = np.array([0.3, -2.0, 0.0]), np.array([0.5, 1.5, 1e-3])
    values = mean + deviation * random.standard_normal((500_000, 3))
    values[: len(values) * 3 // 10] = 1.5
    own = Moments(mean, deviation**2)
    x = TensorStatistics(
        own, gaussian_distribution(own, [0.0, 0.0, 1000.0] * np.ones(3), Source.BATCH_NORM), np.ones(3)
    )
    primitive = Pad(0.7, 1.5)
    told = primitive.moments([own], {})
    np.testing.assert_allclose(told.mean, values.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(told.variance, values.var(axis=0), rtol=0.01)
    real = np.mean((values - told.mean) ** 4, axis=0) / told.variance**2 - 3
    distribution = primitive.distribution([x], told, {})
    np.testing.assert_allclose(distribution.excess_kurtosis, real, atol=0.05)
    assert np.all(distribution.above.end(0.0) >= 1.5)


@pytest.mark.fast
def test_a_gated_tensor_reaches_as_far_as_values_that_meet_typical_gates(random):
    """Gaussian values and gates in [0, 1] against a million draws: the reach of one value in 100,000, and the kurtosis,
    for which a gate counts as a Gaussian too."""
    x, gate = 2.0 * random.standard_normal(1_000_000), 1 / (1 + np.exp(-random.standard_normal(1_000_000) - 0.5))
    own = Moments(np.zeros(1), np.full(1, 4.0))
    shut = Moments(np.full(1, gate.mean()), np.full(1, gate.var()))
    inputs = [
        TensorStatistics(own, gaussian_distribution(own, 0.0, Source.BATCH_NORM), np.ones(1)),
        TensorStatistics(shut, gaussian_distribution(shut, 0.0, Source.FIXED, 0.0, 1.0), np.ones(1)),
    ]
    primitive = Multiply(0, 2)
    moments = primitive.moments([own, shut], {})
    distribution = primitive.distribution(inputs, moments, {})
    y = x * gate
    np.testing.assert_allclose(moments.variance, y.var(), rtol=0.02)
    np.testing.assert_allclose(distribution.excess_kurtosis, np.mean(y**4) / y.var() ** 2 - 3, rtol=0.2)
    np.testing.assert_allclose(distribution.above.end(4.26), np.quantile(y, 1 - 1e-5), rtol=0.25)


@pytest.mark.fast
def test_what_a_batch_norm_states_of_a_concatenation_holds_for_its_parts():
    image = keras.Input((8, 8, 3), name="image")
    left, right = (keras.layers.Conv2D(n, 3, name=name)(image) for n, name in ((4, "left"), (2, "right")))
    norm = keras.layers.BatchNormalization(name="norm")
    model = settle(keras.Model(image, norm(keras.layers.Concatenate()([left, right]))))
    graph = capture(model, 1)
    given = InputStatistics(Moments(np.zeros(3), np.ones(3)), ChannelRanges(-np.ones(3), np.ones(3), Source.GIVEN))
    found = all_moments(graph, {"image": given})
    variance = np.asarray(norm.moving_variance)
    np.testing.assert_allclose(np.concatenate([found["left"].variance, found["right"].variance]), variance, rtol=1e-6)


@pytest.mark.fast
@pytest.mark.parametrize("equal", [1, 8, 64], ids=lambda n: f"{n} equal positions")
def test_deviation_of_a_maximum_over_the_feature_map(equal):
    """However many of the 64 positions are equal, the true mean lies within 1.5 of the predicted deviations."""
    random = np.random.default_rng(0)
    values = np.repeat(random.normal(0.3, 2.0, (20_000, 64 // equal)), equal, axis=1).max(axis=1)
    told = MaxPool(64, whole=True).moments([Moments(np.array([0.3]), np.array([4.0]))], {})
    assert abs(values.mean() - told.mean[0]) <= 1.5 * told.deviation[0]
    assert told.deviation[0] >= values.std()

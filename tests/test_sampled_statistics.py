"""What synthetic inputs tell of a model's tensors, against many more images."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import scipy.stats
from keras import layers

from spiq_tf.frontend.capture import capture
from spiq_tf.graph.classifier_head import network_roles
from spiq_tf.statistics import propagation, synthetic
from spiq_tf.statistics.input_range import input_statistics
from spiq_tf.statistics.sample_run import run_samples
from spiq_tf.statistics.sampled import NO_SAMPLES, sampled_statistics
from spiq_tf.statistics.samples import SampleGap, Samples
from spiq_tf.statistics.synthetic import synthetic_gap, synthetic_input, synthetic_samples
from tests.networks import RANGE, conv_bn


def on_synthetic_inputs(graph, inputs):
    """Statistics of the model's runs on synthetic inputs."""
    samples = synthetic_samples(graph, inputs)
    return sampled_statistics(graph, run_samples(graph, samples), samples.gap)


def drawn_images(graph, inputs, random, count):
    return np.concatenate([synthetic_input(graph.inputs[0], inputs["image"], random) for _ in range(count)])


def predicted(model):
    graph = capture(model, 1)
    inputs = input_statistics(graph, RANGE)
    return graph, inputs, propagation.all_moments(graph, inputs, on_synthetic_inputs(graph, inputs))


def test_samples_tell_how_much_a_sum_of_correlated_terms_varies(random):
    """Two smoothing kernels in a row, no BatchNorm: independent terms say a third of what smooth images give."""
    kernel = np.full((3, 3, 3, 4), 1 / 27) * random.uniform(0.5, 1.5, (1, 1, 1, 4))
    smooth = layers.Conv2D(4, 3, use_bias=False, name="smooth", activation="relu")
    image = keras.Input((32, 32, 3), name="image")
    model = keras.Model(image, layers.Conv2D(2, 1)(smooth(image)))
    smooth.set_weights([kernel])
    graph = capture(model, 1)
    inputs = input_statistics(graph, RANGE)
    sampled = on_synthetic_inputs(graph, inputs)
    closed = propagation.all_moments(graph, inputs)["smooth/0"].variance
    drawn = np.concatenate([synthetic_input(graph.inputs[0], inputs["image"], random) for _ in range(200)])
    real = np.asarray(keras.ops.conv(drawn, kernel.astype(np.float32))).reshape(-1, 4).var(axis=0)
    assert np.all(closed < 0.3 * real)
    found = propagation.all_moments(graph, inputs, sampled)["smooth/0"].variance
    np.testing.assert_allclose(found, real, rtol=0.5)  # 8 samples, whose brightness varies


@pytest.mark.fast
def test_a_dense_layer_on_pixels_sums_correlated_terms(random):
    """Smooth weights over a whole image: closed forms take its pixels for independent. A second layer has a head."""
    image = keras.Input((16, 16, 3), name="image")
    dense = keras.layers.Dense(6, use_bias=False, name="first")
    hidden = keras.layers.ReLU()(dense(keras.layers.Flatten()(image)))
    model = keras.Model(image, keras.layers.Dense(3, name="second")(hidden))
    kernel = np.repeat(random.standard_normal((1, 6)), 16 * 16 * 3, axis=0) / 100
    dense.set_weights([kernel])
    graph = capture(model, 1)
    inputs = input_statistics(graph, RANGE)
    sampled = on_synthetic_inputs(graph, inputs)
    closed = propagation.all_moments(graph, inputs)["first"].deviation
    drawn = [synthetic_input(graph.inputs[0], inputs["image"], random).reshape(-1) @ kernel for _ in range(400)]
    real = np.std(drawn, axis=0)
    assert np.all(closed < 0.3 * real)
    found = propagation.all_moments(graph, inputs, sampled)["first"].deviation
    np.testing.assert_allclose(found, real, rtol=0.6)  # a deviation from 16 values, one of each sample
    assert {name for name, role in network_roles(graph).items() if role.head is not None} == {"second"}


def normalized_on(model, images):
    """Every BatchNorm states what it reads of the images."""
    for norm in [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]:
        read = keras.Model(model.input, norm.input).predict(images, verbose=0)
        norm.moving_mean.assign(read.mean(axis=(0, 1, 2)))
        norm.moving_variance.assign(read.var(axis=(0, 1, 2)))


def classifier(random, aligned):
    """Two convolutions with BatchNorms, averages over maps, two Dense layers; weights of one sign align features."""
    image = keras.Input((32, 32, 3), name="image")
    x = conv_bn(conv_bn(image, 12, activation=layers.ReLU()), 24, activation=layers.ReLU())
    averages = layers.GlobalAveragePooling2D(name="averages")(x)
    hidden = layers.Dense(32, "relu", name="hidden")(averages)
    model = keras.Model(image, [layers.Dense(10, name="scores")(hidden), averages])
    for name in ("hidden", "scores") if aligned else ():
        layer = model.get_layer(name)
        layer.kernel.assign(np.abs(layer.kernel))
    return model


@pytest.mark.parametrize("aligned", [True, False])
def test_averages_and_scores_vary_with_the_image(aligned, random):
    """Of 300 images with the spectrum of the samples, whose statistics the BatchNorms state, more than the deviation is
    predicted, as real images differ more; by no more than a factor of 2.3, of which 1.3 for 16 samples being few."""
    model = classifier(random, aligned)
    graph = capture(model, 1)
    images = drawn_images(graph, input_statistics(graph, RANGE), random, 300)
    normalized_on(model, images)
    scores, averages = model.predict(images, verbose=0)
    _, _, moments = predicted(model)
    for name, values in (("averages", averages), ("scores", scores)):
        ratio = np.sqrt(moments[name].variance.mean() / values.var(axis=0).mean())
        assert 1.3 < ratio < 2.3


def test_only_recorded_runs_keep_their_feature_maps(monkeypatch, random):
    """Feature maps of all samples at once would take a gigabyte of a large network."""
    monkeypatch.setattr(synthetic, "_MAX_DIFFERENTIATED", 2)
    graph = capture(classifier(random, False), 1)
    runs = run_samples(graph, synthetic_samples(graph, input_statistics(graph, RANGE)))
    maps = {t.name for t in graph.tensors if t.is_feature_map}
    assert [run.tape is not None for run in runs] == [True] * 2 + [False] * 14
    assert all(maps <= run.values.keys() for run in runs[:2])
    for run in runs[2:]:
        assert run.values.keys() == {t.name for t in graph.tensors} - maps


def test_output_feature_maps_vary_as_on_samples(random):
    """Differences of correlated channels: independent terms say three times as much. What other layers read is given no
    less than that of independent terms, scores and pixels at the end are."""
    image = keras.Input((16, 16, 3), name="image")
    first, last = (layers.Conv2D(3, 1, use_bias=False, name=name) for name in ("first", "last"))
    model = keras.Model(image, last(layers.ReLU()(first(image))))
    differences = np.array([[1, 0, 1], [-1, 1, 0], [0, -1, -1]], np.float32)[None, None]
    first.set_weights([differences])
    last.set_weights([np.eye(3, dtype=np.float32)[None, None]])
    graph, inputs, moments = predicted(model)
    alone = keras.Model(image, first(image))
    _, _, at_end = predicted(alone)
    real = alone.predict(drawn_images(graph, inputs, random, 200), verbose=0).std(axis=(0, 1, 2))
    independent = np.sqrt(2 * inputs["image"].moments.variance)
    np.testing.assert_allclose(at_end["first"].deviation, real, rtol=0.3)
    assert np.all(real < 0.5 * independent)
    np.testing.assert_allclose(moments["first"].deviation, independent, rtol=1e-6)


def test_output_feature_maps_reach_as_far_as_on_samples(random):
    """Pixels that a sigmoid before has bounded: what 200 other images hold is kept, with at most twice the room; the
    tail of a sum asks for more, and stays where another layer reads the map."""
    image = keras.Input((32, 32, 3), name="image")
    x = conv_bn(image, 12, activation=layers.Activation("sigmoid"))
    model = keras.Model(image, layers.Conv2D(3, 1, name="pixels")(x))
    images = drawn_images(capture(model, 1), input_statistics(capture(model, 1), RANGE), random, 200)
    normalized_on(model, images)
    graph = capture(model, 1)
    inputs = input_statistics(graph, RANGE)
    sampled = on_synthetic_inputs(graph, inputs)
    moments = propagation.all_moments(graph, inputs, sampled)
    values = model.predict(images, verbose=0)
    own = propagation.all_distributions(graph, moments, inputs, sampled=sampled)["pixels"]
    tail = propagation.all_distributions(graph, moments, inputs)["pixels"].range(8.0)
    low, high = values.min(axis=(0, 1, 2)), values.max(axis=(0, 1, 2))
    assert np.all(-own.below.bound <= low)
    assert np.all(high <= own.above.bound)
    span = own.above.bound + own.below.bound
    assert np.all(span < 2 * (high - low))
    assert np.all(span < 0.8 * (tail.high - tail.low))
    between = [
        propagation.all_distributions(graph, moments, inputs, sampled=s)["conv2d"] for s in (sampled, NO_SAMPLES)
    ]
    np.testing.assert_array_equal(between[0].above.bound, between[1].above.bound)


def test_a_decoder_reaches_as_far_as_on_samples(random):
    """What 200 other images hold is kept, but for one value in 10,000. Before a pool, and where the map that
    leaves is seldom positive, what matters is rare, and the tail that is predicted stays."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Conv2DTranspose(8, 2, strides=2, name="up")(conv_bn(image, 8, activation=layers.ReLU()))
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    last = layers.Conv2D(2, 3, bias_initializer="zeros", name="last")
    scores = last(x)
    model = keras.Model(image, scores)
    images = drawn_images(capture(model, 1), input_statistics(capture(model, 1), RANGE), random, 200)
    normalized_on(model, images)

    def bound(model):
        graph, inputs, moments = predicted(model)
        sampled = on_synthetic_inputs(graph, inputs)
        return propagation.all_distributions(graph, moments, inputs, sampled=sampled)["norm"].above.bound

    norm = keras.Model(image, model.get_layer("norm").output)
    highest = np.quantile(norm.predict(images, verbose=0), 1 - 1e-4, axis=(0, 1, 2))
    found = bound(model)
    assert np.all(highest <= found)
    assert np.all(found < 2 * highest)
    assert bound(keras.Model(image, layers.GlobalAveragePooling2D()(scores))).mean() > 1.2 * found.mean()
    last.bias.assign([-10.0, -10.0])
    assert bound(model).mean() > 1.2 * found.mean()


def test_a_sum_has_the_kurtosis_of_samples_where_that_is_more(random):
    """Of details alone, after ReLUs that seldom fire: the decoder of a U-Net. Less is not believed."""
    image = keras.Input((32, 32, 3), name="image")
    model = keras.Model(image, layers.Conv2D(2, 3)(layers.ReLU()(conv_bn(image, 8))))
    normalized_on(model, random.uniform(-1, 1, (64, 32, 32, 3)).astype(np.float32))
    graph, inputs, moments = predicted(model)
    sampled = on_synthetic_inputs(graph, inputs)
    name = "batch_normalization"
    assert name in sampled.ranges
    own = sampled.ranges[name]

    def distribution(excess_kurtosis):
        heavy = replace(sampled, ranges={name: replace(own, excess_kurtosis=excess_kurtosis)})
        return propagation.all_distributions(graph, moments, inputs, sampled=heavy)[name]

    closed = propagation.all_distributions(graph, moments, inputs)[name]
    np.testing.assert_array_equal(distribution(-1.0).above.excess_kurtosis, closed.above.excess_kurtosis)
    assert np.median(distribution(30.0).above.excess_kurtosis) == pytest.approx(30.0)
    assert np.all(distribution(30.0).above.bound >= own.high)
    assert np.all(
        distribution(30.0).above.bound < 4 * np.maximum(own.high, moments[name].mean + 4 * moments[name].deviation)
    )


@pytest.mark.fast
def test_a_kurtosis_on_samples_is_that_of_their_values(random):
    """Against the values of the same samples, by the definition; the median over channels within a tenth."""
    image = keras.Input((32, 32, 3), name="image")
    model = keras.Model(image, layers.Conv2D(2, 3)(layers.ReLU()(conv_bn(image, 8))))
    graph = capture(model, 1)
    inputs = input_statistics(graph, RANGE)
    runs = run_samples(graph, synthetic_samples(graph, inputs))
    found = sampled_statistics(graph, runs, synthetic_gap()).ranges["batch_normalization"]
    values = np.concatenate([b.values["batch_normalization"].numpy().reshape(-1, 8) for b in runs if b.tape])
    np.testing.assert_allclose(found.high, values.max(axis=0))
    np.testing.assert_allclose(found.low, values.min(axis=0))
    assert found.excess_kurtosis == pytest.approx(np.median(scipy.stats.kurtosis(values.astype(np.float64))), abs=0.1)


def test_samples_of_another_source_are_run_as_they_are(random):
    """Images with the statistics of the training need no BatchNorm restored, and no gap: the model's own values."""
    model = classifier(random, False)
    graph = capture(model, 1)
    inputs = input_statistics(graph, RANGE)
    images = drawn_images(graph, inputs, random, 16)
    normalized_on(model, images)
    graph = capture(model, 1)
    examples = [{"image": image[None]} for image in images]
    samples = Samples(inputs=examples, num_differentiated=1, gap=SampleGap(), restores_batch_norms=False)
    runs = run_samples(graph, samples)
    scores, averages = model.predict(images, verbose=0)
    np.testing.assert_allclose(np.concatenate([run.values["scores"] for run in runs]), scores, atol=1e-4)
    moments = propagation.all_moments(graph, inputs, sampled_statistics(graph, runs, samples.gap))
    distance = averages.var(axis=0, ddof=1) + (averages.mean(axis=0) - moments["averages"].mean) ** 2
    assert moments["averages"].variance.mean() == pytest.approx(distance.mean(), rel=1e-3)

"""Gains measured by differentiation against noise put on by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import spiq_tf
from spiq_tf.execution.executor import execute, run_layer
from spiq_tf.frontend.capture import capture
from spiq_tf.search import noise_gain
from spiq_tf.search.sensitivity import measured_gains
from spiq_tf.statistics import propagation, sample_run
from spiq_tf.statistics.input_range import input_statistics
from spiq_tf.statistics.sample_run import run_samples
from spiq_tf.statistics.synthetic import synthetic_input, synthetic_samples
from spiq_tf.tflite.interpreter import Interpreter
from tests.networks import NETWORKS, RANGE, conv_bn, settle

SHIFT = 1e-3  # of a tensor's deviation: so small that the slopes hardly change


def outputs(graph, examples, put_on=None, noise=None):
    def run_call(call, values):
        made = run_layer(call, values)
        return made if put_on not in made else {**made, put_on: made[put_on] + noise}

    return execute(graph.calls, {graph.inputs[0].name: examples}, run_call)


def measured(graph, inputs):
    return measured_gains(
        graph, run_samples(graph, synthetic_samples(graph, inputs)), propagation.all_moments(graph, inputs)
    )


def image_model(*layers_, size=12):
    image = keras.Input((size, size, 3), name="image")
    x = image
    for layer in layers_:
        x = layer(x)
    return settle(keras.Model(image, x))


@pytest.mark.parametrize("kind", ["conv", "silu", "upsampling", "unknown"])
def test_gains_equal_noise_put_on_by_hand(kind, random):
    """Independent noise on what a convolution returns; no BatchNorm follows, so that both see the same function.

    Tolerance: 8 draws of signs, and samples of its own on either side.
    """
    following = {
        "conv": lambda x: layers.ReLU()(layers.Conv2D(6, 3, strides=2, padding="same")(x)),
        "silu": lambda x: layers.Conv2D(4, 3)(layers.Activation("silu")(x)),
        "upsampling": lambda x: layers.UpSampling2D(2)(x),
        "unknown": lambda x: layers.GroupNormalization(2)(x),
    }[kind]
    graph = capture(image_model(layers.Conv2D(8, 3, name="first"), following), 1)
    inputs = input_statistics(graph, RANGE)
    found = measured(graph, inputs)["first"].white
    drawn = np.concatenate([synthetic_input(graph.inputs[0], inputs["image"], random) for _ in range(64)])
    clean = outputs(graph, drawn)
    first, last = np.asarray(clean["first"]), np.asarray(clean[graph.outputs[0].name])
    size = SHIFT * first.std(axis=(0, 1, 2)) * np.geomspace(0.3, 3, 8)
    moments = propagation.all_moments(graph, inputs)[graph.outputs[0].name]
    stated, power = np.mean(moments.variance + moments.mean**2), 0.0
    for _ in range(30):
        noise = (size * random.standard_normal(first.shape)).astype(np.float32)
        noisy = np.asarray(outputs(graph, drawn, "first", noise)[graph.outputs[0].name])
        power += np.mean((noisy - last) ** 2) / stated / 30
    np.testing.assert_allclose(found @ size**2, power, rtol=0.1)


def test_correlated_noise_passes_a_smoothing_kernel_and_is_stopped_by_an_edge():
    """A mean over 3 x 3 sums to 1, a difference of neighbors to 0; independent noise passes both equally."""
    smooth, edge = np.full((3, 3), 1 / 9), np.zeros((3, 3))
    edge[1, 0], edge[1, 2] = 1 / np.sqrt(18), -1 / np.sqrt(18)
    kernel = np.stack([smooth, edge], axis=-1)[..., None]
    taps = layers.DepthwiseConv2D(3, padding="same", name="taps")
    model = image_model(layers.Conv2D(2, 1, name="first"), taps, size=48)
    taps.set_weights([kernel, np.zeros(2)])
    graph = capture(model, 1)
    gains = measured(graph, input_statistics(graph, RANGE))["first"]
    np.testing.assert_allclose(gains.white[0], gains.white[1], rtol=0.1)
    assert gains.correlated[0] > 2 * gains.white[0]
    assert gains.correlated[1] < gains.white[1]


@pytest.mark.fast
def test_gains_do_not_depend_on_the_size_of_the_fields():
    """What leaves a BatchNorm is as it states, and passes gradients as on real images, whatever is fed."""
    model = NETWORKS["residual"]()
    graph = capture(model, 1)
    gains = [measured(graph, input_statistics(graph, (-a, a))) for a in (0.2, 5.0)]
    for name in {t.name for t in graph.tensors} & set(gains[0]) - {"image"}:
        np.testing.assert_allclose(gains[0][name].white, gains[1][name].white, rtol=1e-3, err_msg=name)


def test_what_no_gradient_reaches_is_left_to_closed_forms():
    class Sign(layers.Layer):
        def call(self, x):
            return keras.ops.sign(x)

    image = keras.Input((8, 8, 3), name="image")
    x = conv_bn(image, 4, activation=layers.ReLU())
    model = settle(keras.Model(image, layers.Conv2D(2, 1, name="last")(Sign(name="sign")(x))))
    graph = capture(model, 1)
    inputs = input_statistics(graph, RANGE)
    found = measured(graph, inputs)
    assert {"sign/sign", "last"} <= set(found)  # the layer is read as its operation
    assert not {t.name for t in graph.inputs} & set(found)


@pytest.mark.parametrize("batch", [1, 4])
def test_an_output_of_nothing_but_a_batch(batch):
    """y = mean of W x + b: the derivative is the mean over W's outputs, for any batch."""
    x = keras.Input((5,), name="x")
    model = settle(keras.Model(x, keras.ops.mean(layers.Dense(3, name="dense")(x), axis=-1)))
    graph = capture(model, batch)
    inputs = input_statistics(graph, RANGE)
    moments = propagation.all_moments(graph, inputs)
    total = moments[graph.outputs[0].name]
    slope = np.asarray(model.get_layer("dense").kernel).mean(axis=1)
    expected = slope**2 / (total.variance + total.mean**2)
    # three float32 weights may cancel: the tolerance counts in the largest gain
    found = measured(graph, inputs)["x"].white
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * expected.max())
    assert noise_gain.output_gains(graph, moments, measured(graph, inputs))["x"].white.shape == (5,)


@pytest.mark.fast
def test_an_operation_that_cannot_be_differentiated_is_named(caplog):
    class Hue(layers.Layer):
        def call(self, x):
            return tf.raw_ops.AdjustHue(images=x, delta=0.1)

    model = image_model(layers.Conv2D(3, 1), Hue(name="hue"), layers.Conv2D(2, 1))
    graph = capture(model, 1)
    with caplog.at_level("WARNING", logger="absl"):
        assert measured(graph, input_statistics(graph, RANGE)) == {}
    assert "AdjustHue" in caplog.text


def test_a_layer_that_holds_the_number_of_examples_is_named(caplog):
    """Samples are one example each; the file is made all the same."""
    image = keras.Input((16, 16, 3), batch_size=2, name="image")
    x = keras.layers.BatchNormalization()(keras.ops.reshape(keras.layers.Conv2D(8, 3)(image), (2, -1)))
    model = keras.Model(image, keras.layers.Dense(3)(x))
    with caplog.at_level("WARNING"):
        content = spiq_tf.convert(model, input_range=(-1, 1), batch_size=2)
    assert Interpreter(content).outputs[0]["shape"].tolist() == [2, 3]
    assert "'reshape' makes the shape (2, 784)" in caplog.text


def test_a_sample_of_one_location_has_the_given_deviation(random):
    """There is no wave in it, and no brightness to add. Tolerance: 400 draws, of equal channels."""
    graph = capture(keras.Sequential([keras.Input((1, 1, 6), name="x"), layers.Flatten()]), 1)
    inputs = input_statistics(graph, (-9.0, 9.0))
    drawn = np.concatenate([synthetic_input(graph.inputs[0], inputs["x"], random) for _ in range(400)])
    np.testing.assert_allclose(drawn.std(), inputs["x"].moments.deviation[0], rtol=0.15)


@pytest.mark.fast
@pytest.mark.parametrize("shape", [(1, 64, 4), (1, 32, 48, 3), (2, 7), (1, 6, 6, 6, 2)])
def test_fields_have_the_moments_and_the_spectrum_that_are_asked_for(shape):
    model = keras.Sequential([keras.Input(shape[1:], name="x", batch_size=shape[0]), layers.Flatten()])
    graph = capture(model, shape[0])
    inputs = input_statistics(graph, (-1.0, 3.0))
    random = np.random.default_rng(0)
    drawn = np.concatenate([synthetic_input(graph.inputs[0], inputs["x"], random) for _ in range(64)])
    assert drawn.shape == (64, *shape[1:])
    assert drawn.min() >= -1
    assert drawn.max() <= 3
    assert abs(drawn.mean() - 1.0) < 0.25
    np.testing.assert_allclose(drawn.std(), inputs["x"].moments.deviation[0], rtol=0.15)
    if len(shape) > 2:
        inner = tuple(range(1, len(shape) - 1))
        between, within = drawn.mean(axis=inner).var(axis=0).mean(), drawn.var(axis=inner).mean()
        np.testing.assert_allclose(between / within, 0.2, rtol=0.4)  # of 64 images, clipped
    if len(shape) == 4:
        power = np.mean(np.abs(np.fft.fft(drawn[..., 0], axis=2)) ** 2, axis=(0, 1))
        # summed over the other axis the power of a plane of 1 / f^2 falls about as 1 / f
        np.testing.assert_allclose(power[2] / power[8], 4.0, rtol=0.4)


def test_a_model_too_large_for_fields_is_left_to_closed_forms(monkeypatch, caplog):
    monkeypatch.setattr(sample_run, "_MAX_VALUES", 100)
    graph = capture(NETWORKS["residual"](), 1)
    with caplog.at_level("WARNING", logger="absl"):
        assert run_samples(graph, synthetic_samples(graph, input_statistics(graph, RANGE))) == ()
    assert "more than 1e+02" in caplog.text

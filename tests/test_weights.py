"""Rounding of weights and correction of biases, against brute force."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import layers

import spiq_tf
from spiq_tf.distributions.values import Moments
from spiq_tf.primitives import kernels
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.weights.bias_correction import correct_biases
from spiq_tf.tflite.weights.kernel_rounding import round_kernel
from spiq_tf.tflite.weights.rounding import round_weights
from tests.converted_files import lowered
from tests.networks import RANGE, settle

pytestmark = pytest.mark.fast

LIMIT = 127
KERNELS = arrays(np.float64, (9, 2, 3, 4), elements=st.floats(-4, 4, width=32))


@given(KERNELS, st.booleans())
def test_rounded_kernel_is_on_its_grid_and_keeps_the_sums(kernel, per_tensor):
    rounded = round_kernel(kernel, per_tensor)
    largest = np.abs(kernel).max() if per_tensor else np.abs(kernel).max(axis=(0, 2), keepdims=True)
    step = np.where(largest > 0, largest, 1.0) / LIMIT
    integers = rounded / step
    np.testing.assert_allclose(integers, np.rint(integers), atol=1e-6)
    assert np.abs(integers).max() <= LIMIT + 1e-6
    assert np.all(np.abs(rounded - kernel) < step * (1 + 1e-9))
    assert np.all(np.abs((rounded - kernel).sum(axis=0)) <= np.max(step, axis=0) * (0.5 + 1e-6))


@given(KERNELS, arrays(np.float64, 6, elements=st.floats(0.0, 9, width=32)))
def test_errors_of_an_output_cancel_where_its_inputs_rise_together(kernel, deviation):
    """What is left is less than the largest single move, or less than what kept kernel sums alone leave."""
    step = np.abs(kernel).max(axis=(0, 2), keepdims=True) / LIMIT
    size = deviation.reshape(1, 2, 3, 1)

    def left(rounded):
        return np.abs(((rounded - kernel) * size).sum(axis=(0, 2)))

    kept, alone = round_kernel(kernel, False, deviation), round_kernel(kernel, False)
    assert np.all(np.abs(kept - kernel) <= step * (1 + 1e-9))
    assert np.all(left(kept) <= np.maximum(step[0, :, 0] * deviation.max() / 2, left(alone)) * (1 + 1e-6) + 1e-12)


def test_output_sums_pay_where_inputs_rise_together(random):
    """Inputs that share half of their variance: the rounded kernel's error is clearly smaller."""
    kernel, deviation = random.normal(size=(1, 1, 64, 32)), np.exp(random.normal(0, 0.5, 64))
    common, own = random.standard_normal((4000, 1)), random.standard_normal((4000, 64))
    x = deviation * (np.sqrt(0.5) * common + np.sqrt(0.5) * own)

    def error(rounded):
        return np.mean((x @ (rounded - kernel)[0, 0]) ** 2)

    assert error(round_kernel(kernel, False, deviation)) < 0.75 * error(round_kernel(kernel, False))


def test_output_sums_are_kept_where_all_errors_are_of_one_sign():
    """Two weights of five must be turned, far more than errors of either sign would need."""
    kernel = np.full((1, 1, 4096, 2), 10.4)
    kernel[0, 0, 0] = LIMIT
    rounded = round_kernel(kernel, False, np.ones(4096))
    assert np.all(np.abs((rounded - kernel).sum(axis=(0, 2))) <= 0.5 + 1e-6)


def test_the_largest_weight_stays_on_the_end_of_the_grid():
    """So that whoever quantizes the rounded weights finds the same step again."""
    kernel = np.random.default_rng(0).normal(size=(9, 4, 5, 6))
    rounded = round_kernel(kernel, per_tensor=False)
    np.testing.assert_allclose(np.abs(rounded).max(axis=(0, 2)), np.abs(kernel).max(axis=(0, 2)))


@pytest.mark.parametrize(("size", "stride", "dilation"), [(9, 1, 1), (9, 2, 1), (10, 2, 1), (7, 1, 2), (3, 1, 1)])
def test_tap_validity_counts_the_taps_inside(size, stride, dilation):
    """The oracle is the float convolution of ones by a kernel of ones: its mean is the sum of the tap validities."""
    image = keras.Input((size, size, 1))
    conv = layers.Conv2D(9, 3, strides=stride, dilation_rate=dilation, padding="same", use_bias=False)
    model = keras.Model(image, conv(image))
    conv.set_weights([np.eye(9).reshape(3, 3, 1, 9)])  # output t sees tap t alone
    seen = model.predict(np.ones((1, size, size, 1)), verbose=0).mean(axis=(0, 1, 2))
    found = kernels.tap_validity((size, size), (3, 3), (stride, stride), (dilation, dilation), same=True)
    np.testing.assert_allclose(found, seen, atol=1e-6)


@pytest.mark.parametrize("groups", [1, 3])
def test_canonical_layout_is_undone(groups):
    kernel = np.random.default_rng(0).normal(size=(3, 2, 6 // groups, 9))
    canonical = kernels.canonical(kernel, groups, depthwise=False)
    assert canonical.shape == (6, groups, 6 // groups, 9 // groups)
    np.testing.assert_array_equal(kernels.restored(canonical, kernel.shape, depthwise=False), kernel)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.Conv2D(5, 3, padding="same"),
        lambda: layers.Conv2D(6, 3, padding="same", strides=2, groups=2),
        lambda: layers.DepthwiseConv2D(3, padding="same", dilation_rate=2),
    ],
    ids=["same", "groups", "depthwise"],
)
def test_correction_is_exact_for_a_constant_input(layer):
    """On a map that holds the mean everywhere the rounded file's average output is the float file's, rims included."""
    image = keras.Input((5, 5, 8), name="image")
    model = keras.Model(image, layer()(image))
    file = lowered(model)
    mean = np.linspace(0.5, 3.0, 8)
    constant = np.broadcast_to(mean, (1, 5, 5, 8))
    before = Interpreter(file.flat.content()).run([constant])[0].mean(axis=(0, 1, 2))
    scales = dict.fromkeys(file.flat.activations(), 0.1)
    moments = {int(file.flat.subgraph.inputs[0]): Moments(mean, np.ones(8))}
    rounded = round_weights(file.flat, moments, scales, (), per_channel_dense=False, sum_preserving=True)
    assert correct_biases(file.flat, rounded, moments, {}, (), rounding_shift=True) == []
    after = Interpreter(file.flat.content()).run([constant])[0].mean(axis=(0, 1, 2))
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert not np.array_equal(after, before), "nothing was rounded: the test shows nothing"


def test_bias_correction_keeps_the_mean_of_the_output():
    """Inputs far from zero and coarse weights: without the correction the mean moves by whole steps."""
    image = keras.Input((8, 8, 16), name="image")
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 1)(image)))
    out = layers.Conv2D(8, 1, name="out")(x)
    model = settle(keras.Model(image, out))
    norm = model.layers[2]
    norm.beta.assign(np.full(16, 4.0))
    kernel, bias = (np.array(w) for w in model.get_layer("out").get_weights())
    kernel[0, 0, 0] = 40.0  # one weight makes the step of every output coarse
    model.get_layer("out").set_weights([kernel, bias])
    content = spiq_tf.convert(model, input_range=RANGE)
    interpreter = Interpreter(content)
    random = np.random.default_rng(0)
    x = random.uniform(*RANGE, (64, 8, 8, 16)).astype(np.float32)
    found = np.concatenate([interpreter.run([v[None]])[0] for v in x])
    expected = model.predict(x, verbose=0)
    scale = interpreter.outputs[0]["quantization"][0]
    shift = np.abs((found - expected).mean(axis=(0, 1, 2)))
    assert shift.max() < 0.25 * scale

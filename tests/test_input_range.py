"""The input's range, told from a layer in front or from the first BatchNorm."""

import keras
import numpy as np
import pytest
from keras import layers

import spiq_tf
from spiq_tf.frontend.capture import capture
from spiq_tf.statistics.input_range import input_statistics
from spiq_tf.statistics.propagation import all_moments
from tests.networks import RANGE, conv_bn, settle

pytestmark = pytest.mark.fast

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CAFFE = np.array([103.939, 116.779, 123.68])


def pictures(random, count=64, size=32):
    """Smooth color pictures in [0, 1] with the moments of natural images: blurred noise, channels correlated."""
    gray = random.standard_normal((count, size, size, 1))
    for axis in (1, 2):
        for shift in (1, 2, 4, 8):
            gray = gray + np.roll(gray, shift, axis)
    gray = gray / gray.std()
    color = np.sqrt(0.9) * gray + np.sqrt(0.1) * np.roll(random.permutation(gray), 5, 1) * np.array([1, -1, 0.5])
    return np.clip(MEAN + DEVIATION * color, 0, 1)


def trained_on(pixels, padding="same"):
    """A network whose first BatchNorm has seen the pixels."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Conv2D(24, 3, strides=2, padding=padding, use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.0)(x))
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x))
    model(pixels.astype(np.float32), training=True)
    return model


def told(model, given=None):
    (found,) = input_statistics(capture(model, 1), given).values()
    return found.range


@pytest.mark.parametrize(
    ("feed", "low", "high"),
    [
        (lambda p: p, 0, 1),
        (lambda p: 2 * p - 1, -1, 1),
        (lambda p: 255 * p, 0, 255),
        (lambda p: (p - MEAN) / DEVIATION, -MEAN / DEVIATION, (1 - MEAN) / DEVIATION),
        (lambda p: 255 * p[..., ::-1] - CAFFE, -CAFFE, 255 - CAFFE),
    ],
    ids=["0..1", "-1..1", "0..255", "imagenet", "caffe"],
)
def test_convention_is_told_from_the_first_batch_norm(feed, low, high, random):
    found = told(trained_on(feed(pictures(random))))
    np.testing.assert_allclose(found.low, low * np.ones(3), rtol=1e-6)
    np.testing.assert_allclose(found.high, high * np.ones(3), rtol=1e-6)


@pytest.mark.parametrize("feed", [lambda p: 0.01 * p, lambda p: 30 * p + 7])
def test_an_unusual_convention_is_not_guessed(feed, random):
    with pytest.raises(spiq_tf.InputRangeError, match=r"pass input_range=\(low, high\)"):
        told(trained_on(feed(pictures(random))))


def test_a_network_without_batch_norm_needs_the_range():
    image = keras.Input((8, 8, 3), name="image")
    with pytest.raises(spiq_tf.InputRangeError, match=r"'image'.*pass input_range=\(low, high\)"):
        told(keras.Model(image, layers.Conv2D(4, 3)(image)))


@pytest.mark.parametrize(
    ("front", "low", "high"),
    [
        (layers.Rescaling(1 / 255), 0, 255),
        (layers.Rescaling(1 / 127.5, offset=-1), 0, 255),
        (layers.Rescaling(2.0, offset=-1), 0, 1),
        (layers.Normalization(mean=list(255 * MEAN), variance=list((255 * DEVIATION) ** 2)), 0, 255),
        (layers.Normalization(mean=list(MEAN), variance=list(DEVIATION**2)), 0, 1),
        (layers.Normalization(mean=[-40.0] * 3, variance=[4.0] * 3), -52, -28),
    ],
)
def test_layer_in_front_states_the_range(front, low, high):
    image = keras.Input((8, 8, 3), name="image")
    found = told(keras.Model(image, layers.Conv2D(4, 3)(front(image))))
    np.testing.assert_allclose(found.low, np.full(3, low), atol=1e-4)
    np.testing.assert_allclose(found.high, np.full(3, high), atol=1e-4)


def in_two_branches(first, second):
    image = keras.Input((8, 8, 3), name="image")
    branches = [layers.Conv2D(4, 3)(front(image)) for front in (first, second)]
    return keras.Model(image, layers.Add()(branches))


def test_layers_in_front_that_agree_state_the_range():
    once = layers.Rescaling(1 / 255)
    for other in (once, layers.Rescaling(1 / 127.5, offset=-1)):
        np.testing.assert_allclose(told(in_two_branches(once, other)).high, np.full(3, 255), atol=1e-4)


@pytest.mark.parametrize("other", [layers.Rescaling(1.0), layers.Rescaling(0.01), layers.ReLU()])
def test_layers_in_front_that_do_not_agree(other):
    for pair in ((layers.Rescaling(1 / 255), other), (other, layers.Rescaling(1 / 255))):
        with pytest.raises(spiq_tf.InputRangeError, match=r"before all that reads it.*pass input_range"):
            told(in_two_branches(*pair))


def test_arrays_and_mappings_are_accepted():
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, layers.Conv2D(4, 3)(image))
    found = told(model, ([0, -1, -2], (1, 2, 3)))
    np.testing.assert_array_equal(found.low, [0, -1, -2])
    np.testing.assert_array_equal(found.high, [1, 2, 3])
    np.testing.assert_array_equal(told(model, {"image": (-3, 4)}).high, [4, 4, 4])


def test_file_of_a_model_with_arrays_has_one_scale_that_covers_them():
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, layers.Conv2D(4, 3)(image))
    first = spiq_tf.quantize(model, input_range=([0, -1, -2], [1, 2, 3])).tensors[0]
    assert (first.low, first.high) == (-2, 3)
    assert first.scale == pytest.approx(5 / 255)


def test_only_what_the_model_is_fed_is_told_from_the_first_norm():
    """A constant factor further inside has the moments of what it multiplies: exactly, no equations are solved."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.ReLU(name="relu")(layers.Conv2D(4, 3)(image))
    x = layers.Conv2D(4, 3)(layers.Rescaling(0.5, name="half")(x))
    graph = capture(settle(keras.Model(image, layers.BatchNormalization()(x))), 1)
    moments = all_moments(graph, input_statistics(graph, RANGE))
    np.testing.assert_array_equal(moments["half"].mean, 0.5 * moments["relu"].mean)


def test_a_rescaling_behind_a_resizing_tells_the_range():
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Rescaling(1 / 255)(layers.CenterCrop(6, 6)(layers.Resizing(8, 8)(image)))
    found = told(keras.Model(image, layers.Conv2D(4, 3)(x)))
    np.testing.assert_array_equal((found.low, found.high), ([0, 0, 0], [255, 255, 255]))


def test_a_range_that_is_meant_behind_the_rescaling_is_warned_of():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    model = settle(keras.Model(image, conv_bn(x, 4)), values=(0.0, 255.0))
    message = (
        r"input_range of input 'image': \(-1, 1\) contradicts the layer that reads it, whose input range is \(0, 255\)"
    )
    with pytest.warns(spiq_tf.InputRangeWarning, match=message):
        spiq_tf.convert(model, input_range=(-1, 1))
    spiq_tf.convert(model, input_range=(16, 235))  # a warning fails the test


def test_a_small_constant_that_is_added_in_front_contradicts_nothing():
    spectrum = keras.Input((8, 8, 3), name="spectrum")
    model = settle(keras.Model(spectrum, conv_bn(keras.ops.log(spectrum + 1e-3), 4)), values=(0.0, 10.0))
    spiq_tf.convert(model, input_range=(0, 10))  # a warning fails the test

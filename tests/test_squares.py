"""Sums of squares as products of vectors."""

import keras
import numpy as np
import pytest
from keras import layers

import spiq_tf
from tests.converted_files import check_float_file, kinds_of, lowered
from tests.networks import RANGE, images, settle

_NORMS = {
    "layer": layers.LayerNormalization,
    "rows": lambda: layers.LayerNormalization(axis=1),
    "whole": lambda: layers.LayerNormalization(axis=(1, 2, 3)),
    "group": lambda: layers.GroupNormalization(4),
    "instance": lambda: layers.GroupNormalization(-1),
    "rms": layers.RMSNormalization,
    "unit": lambda: lambda x: x * keras.ops.rsqrt(keras.ops.sum(x * x, axis=(1, 2), keepdims=True)),
}


@pytest.mark.parametrize("name", _NORMS)
def test_the_file_computes_the_same(name):
    """The float file against the Keras model, in float32's accuracy; the squares themselves are nowhere held."""
    image = keras.Input((12, 12, 3), name="image")
    model = settle(keras.Model(image, layers.Conv2D(2, 1)(_NORMS[name]()(layers.Conv2D(8, 3)(image)))))
    content = lowered(model).flat.content()
    assert "BATCH_MATMUL" in kinds_of(content)
    assert "SQUARED_DIFFERENCE" not in kinds_of(content)
    check_float_file(model, content)


def test_patches_of_very_different_contrast():
    """Of the weak ones squares are rounded to 0 where they are held: 3 to 8 dB less at the output."""
    image = keras.Input((12, 12, 32), name="image")
    contrast = np.geomspace(0.25, 1.0, 12, dtype=np.float32).reshape(1, 12, 1, 1)
    x = layers.LayerNormalization()(layers.Conv2D(16, 1, use_bias=False)(image * contrast))
    model = settle(keras.Model(image, layers.Conv2D(4, 1)(x)))
    exact = spiq_tf.verify(model, spiq_tf.quantize(model, input_range=RANGE), images(model, 16)).sqnr_db
    target = spiq_tf.quantize(model, input_range=RANGE, target="edgetpu")
    rounded = spiq_tf.verify(model, target, images(model, 16)).sqnr_db
    assert exact > rounded + 2
    assert "BATCH_MATMUL" not in kinds_of(target.content)


@pytest.mark.parametrize("keepdims", [True, False])
def test_a_mean_of_squares_by_itself(keepdims):
    """Its sum has the range that the mean has, times their number: sampled it was cut, 44 -> 30 dB."""
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, use_bias=False)(image)
    model = settle(keras.Model(image, keras.ops.mean(keras.ops.square(x), axis=(1, 2), keepdims=keepdims) + 0.1))
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert "BATCH_MATMUL" in kinds_of(result.content)
    assert spiq_tf.verify(model, result).sqnr_db > 35


def test_squares_that_end_with_an_activation():
    """They are no sums of squares."""
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 1)(layers.Conv2D(8, 3)(image) * 5.0)
    model = settle(keras.Model(image, keras.ops.mean(keras.ops.relu6(x * x), axis=(1, 2))))
    content = lowered(model).flat.content()
    check_float_file(model, content)


def test_large_squares_that_the_delegate_takes_stay():
    """GroupNormalization on a large map, whose squares are a MUL: a product of vectors takes several times as long."""
    image = keras.Input((64, 64, 3), name="image")
    x = layers.GroupNormalization(4)(layers.Conv2D(16, 3, padding="same")(image))
    model = settle(keras.Model(image, layers.Conv2D(2, 1)(x)))
    assert "BATCH_MATMUL" not in kinds_of(spiq_tf.convert(model, input_range=RANGE))


def test_sums_that_32_bits_may_not_hold():
    """120,000 values of up to 255 steps each: their squares are summed as before."""
    image = keras.Input((200, 200, 3), name="image")
    x = layers.LayerNormalization(axis=(1, 2, 3))(image)
    model = settle(keras.Model(image, layers.Conv2D(2, 8, strides=8)(x)))
    kinds = kinds_of(spiq_tf.convert(model, input_range=(0, 1)))
    assert "SQUARED_DIFFERENCE" in kinds
    assert "BATCH_MATMUL" not in kinds

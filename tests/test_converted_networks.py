"""What the file-level rewrites make of a converter's file: operators that int8 files can hold, and the same values."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import spiq_tf
from spiq_tf.tflite.interpreter import Interpreter
from tests.converted_files import check_float_file, kinds_of, lowered
from tests.networks import RANGE, Mixing, conv_bn, images, settle


class _Patches(layers.Layer):
    """As keras.io's vision transformers cut an image; a kernel that the converter leaves to be computed."""

    def call(self, x):
        return keras.ops.image.extract_patches(x, size=4)


def _split(x):
    first, second = keras.ops.split(x, [3], axis=-1)
    return keras.ops.concatenate([second, first], axis=-1)


def _unused(x):
    return keras.ops.split(x, [3, 5], axis=-1)[1]


_FORMS = {
    "upsampling": (lambda x: layers.UpSampling2D((2, 3))(x), "RESIZE_NEAREST_NEIGHBOR", ("TILE", "RESHAPE")),
    "repeat": (lambda x: keras.ops.repeat(x, 2, axis=1), "TILE", ()),
    "patches": (lambda x: _Patches()(x), "CONV_2D", ("MATRIX_DIAG", "TRANSPOSE")),
    "split": (_split, "SLICE", ("SPLIT_V",)),
    "split_unused": (_unused, "SLICE", ("SPLIT_V",)),
}


@pytest.mark.parametrize("name", _FORMS)
def test_form_of_the_file(name):
    apply, present, absent = _FORMS[name]
    image = keras.Input((12, 12, 3), name="image")
    model = settle(keras.Model(image, layers.Conv2D(4, 1)(apply(conv_bn(image, 8)))))
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert present in kinds_of(result.content)
    assert not set(absent) & set(kinds_of(result.content))
    assert result.float_operators == ()
    assert {t.source for t in result.tensors} <= {"batch_norm", "given", "propagated"}
    assert spiq_tf.verify(model, result, images(model, 16)).sqnr_db > 28
    content = lowered(model).flat.content()
    check_float_file(model, content)


@pytest.mark.parametrize("function", [keras.ops.argmax, keras.ops.argmin])
def test_place_of_the_largest_value(function):
    """Keras writes it with operations on bits that TFLite does not have; the file holds the same places."""
    image = keras.Input((8, 8, 3), name="image")
    codes = keras.ops.one_hot(function(layers.Conv2D(6, 3)(image), axis=-1), 6)
    model = settle(keras.Model(image, codes))
    content = lowered(model).flat.content()
    for x in images(model, 4):
        np.testing.assert_array_equal(Interpreter(content).run([x[None]])[0], model.predict(x[None], verbose=0))


@pytest.mark.fast
def test_a_product_with_a_constant_is_as_good_as_one_with_a_dense_layer():
    """With a scale for each channel of the constant the kernels make zeros, without a word."""
    image = keras.Input((16, 12), name="image")
    model = settle(keras.Model(image, layers.Conv1D(4, 1)(Mixing()(layers.Conv1D(8, 3, padding="same")(image)))))
    content = spiq_tf.convert(model, input_range=RANGE)
    assert "BATCH_MATMUL" in kinds_of(content)
    assert spiq_tf.verify(model, content, images(model, 16)).sqnr_db > 28


@pytest.mark.parametrize("shape", [(16, 12), (16, 16, 12)])
def test_a_vector_added_along_the_rows(shape):
    """Which Keras takes for a bias of channels that stand there: no transposition is left."""
    x = keras.Input(shape, name="x")
    rows = np.linspace(-1, 1, 16, dtype=np.float32).reshape(16, *[1] * (len(shape) - 1))
    model = keras.Model(x, layers.Dense(4)(x + rows))
    content = lowered(model).flat.content()
    assert "TRANSPOSE" not in kinds_of(content)
    check_float_file(model, content)


def test_functions_that_share_an_operator_are_tables_each():
    """Of softplus and exp of one tensor the converter makes the exponential once."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 1)(image)
    made = (keras.ops.softplus(x), keras.ops.exp(x))
    model = settle(keras.Model(image, [layers.Conv2D(2, 1)(y) for y in made]))
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert result.float_operators == ()
    assert kinds_of(result.content).count("GATHER") == 2
    assert spiq_tf.verify(model, result).sqnr_db > 28


class _Sampling(layers.Layer):
    """Noise at inference, as a VAE has it."""

    def call(self, x):
        return x + 0.5 * tf.random.normal(tf.shape(x))


@pytest.mark.fast
def test_random_numbers_are_not_folded():
    image = keras.Input((8, 8, 3), name="image")
    model = settle(keras.Model(image, _Sampling()(layers.Conv2D(2, 1)(image))))
    content = lowered(model).flat.content()
    assert any(kind.startswith("RANDOM") for kind in kinds_of(content))

"""Rewrites of the traced TensorFlow graph: the same values, by operations that the converter maps one to one."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.lowering.graph_rewrites import converter_friendly
from tests.converted_files import kinds_of, lowered
from tests.networks import images, settle

X = np.float32(3 * np.random.default_rng(0).standard_normal((2, 3, 4, 5)))


def traced(function, x=X):
    signature = [tf.TensorSpec(x.shape, tf.float32)]
    return tf.function(function, input_signature=signature, autograph=False).get_concrete_function()


def operations(function):
    return [operation.type for operation in function.graph.get_operations()]


def check_values(before, after, x=X):
    np.testing.assert_allclose(*tf.nest.flatten([after(tf.constant(x)), before(tf.constant(x))]), atol=1e-6)


@pytest.mark.parametrize("axis", [(1, 2), (-1, -2), (3, 1), (1, 2, 3), (2,), -1])
@pytest.mark.parametrize("masked", [False, True])
def test_a_softmax_over_several_axes_as_one(axis, masked):
    """Tolerance: a few roundings of float32."""
    mask = np.random.default_rng(1).random((2, 1, 4, 5)) > 0.4 if masked else None
    before = traced(lambda x: layers.Softmax(axis)(x, mask=mask))
    after = converter_friendly(before, [])
    check_values(before, after)
    assert operations(after).count("Softmax") == 1
    assert "Exp" not in operations(after)


def test_a_softmax_by_hand():
    before = traced(lambda x: tf.exp(x - tf.reduce_logsumexp(x, axis=[1, 2], keepdims=True)))
    after = converter_friendly(before, [])
    check_values(before, after)
    assert "Softmax" in operations(after)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.exp(x + 1.0 - tf.reduce_logsumexp(x, axis=[1, 2], keepdims=True)),
        lambda x: tf.exp(x - tf.reduce_logsumexp(2.0 * x, axis=[1, 2], keepdims=True)),
        lambda x: tf.exp(x - tf.math.log(tf.reduce_sum(tf.exp(x), axis=[1, 2], keepdims=True))),
        lambda x: tf.exp(x - tf.reduce_logsumexp(x, axis=[1], keepdims=True)),
    ],
    ids=["shifted", "of-another", "without-a-shift", "one-axis"],
)
def test_what_is_no_softmax_over_several_axes(function):
    before = traced(function)
    assert converter_friendly(before, []) is before


@pytest.mark.parametrize("size", [(2, 3), (1, 2), (3, 3)])
def test_nearest_upsampling_is_a_resize(size):
    before = traced(lambda x: layers.UpSampling2D((2, 2))(layers.UpSampling2D(size)(x)))
    after = converter_friendly(before, [])
    check_values(before, after)
    assert operations(after).count("ResizeNearestNeighbor") == 2
    assert "Tile" not in operations(after)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.repeat(tf.repeat(x, 2, axis=2), 2, axis=1),
        lambda x: tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=3),
        lambda x: tf.repeat(x, 2, axis=1),
        lambda x: tf.tile(tf.tile(x, [1, 2, 1, 1]), [1, 1, 2, 1]),
        lambda x: tf.repeat(tf.reshape(tf.repeat(x, 2, axis=1), (2, 4, 6, 5)), 2, axis=2),
    ],
    ids=["columns-first", "channels", "rows", "tiles", "reshaped-between"],
)
def test_what_is_no_nearest_upsampling(function):
    after = converter_friendly(traced(function), [])
    assert "ResizeNearestNeighbor" not in operations(after)
    check_values(traced(function), after)


@pytest.mark.parametrize("function", [keras.ops.argmax, keras.ops.argmin])
@pytest.mark.parametrize("arguments", [{}, {"axis": -1}, {"axis": 1, "keepdims": True}, {"keepdims": True}])
def test_the_index_of_an_extreme_without_operations_on_bits(function, arguments):
    before = traced(lambda x: function(x, **arguments))
    after = converter_friendly(before, [])
    check_values(before, after)
    assert not {"Bitcast", "BitwiseAnd"} & set(operations(after))


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_a_replacement_of_zeros_stays(value):
    before = traced(lambda x: tf.where(tf.logical_and(tf.equal(x, 0.0), tf.less(x, 1.0)), value, x))
    assert converter_friendly(before, []) is before


def test_a_vector_along_the_rows_is_an_addition():
    rows = np.linspace(-1, 1, 3, dtype=np.float32).reshape(3, 1, 1)
    before = traced(lambda x: keras.ops.add(x, rows))
    after = converter_friendly(before, [])
    check_values(before, after)
    assert "BiasAdd" in operations(before)
    assert "BiasAdd" not in operations(after)
    channels = traced(lambda x: keras.ops.add(x, np.ones(5, np.float32)))
    assert converter_friendly(channels, []) is channels


def test_variables_are_read_when_the_function_runs():
    weight = tf.Variable(2.0)
    after = converter_friendly(traced(lambda x: weight * layers.Softmax((1, 2))(x)), [weight])
    first = after(tf.constant(X))[0]
    weight.assign(4.0)
    np.testing.assert_allclose(after(tf.constant(X))[0], 2 * first)
    assert after.graph.variables == (weight,)


class _OfTensorFlow(layers.Layer):
    """Layers of Keras inside a call that symbolic tensors cannot run."""

    def __init__(self):
        super().__init__()
        self.softmax, self.upsampling = [layers.Softmax((1, 2))], {"up": layers.UpSampling2D(2)}

    def call(self, x):
        y = self.upsampling["up"](self.softmax[0](tf.identity(x)))
        return y + tf.one_hot(keras.ops.argmax(y, axis=-1), 3)


def test_what_a_users_layer_does_inside_its_own_call():
    image = keras.Input((8, 8, 3), name="image")
    model = settle(keras.Model(image, _OfTensorFlow()(image)))
    content = lowered(model).flat.content()
    assert {"SOFTMAX", "RESIZE_NEAREST_NEIGHBOR", "ARG_MAX"} <= set(kinds_of(content))
    for x in images(model, 2):
        np.testing.assert_allclose(Interpreter(content).run([x[None]])[0], model.predict(x[None], verbose=0), atol=1e-5)

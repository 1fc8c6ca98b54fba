"""Layers that sort or accumulate stay float as a whole."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import spiq_tf
from spiq_tf.tflite.flatbuffer import FlatModel
from tests.flat import kinds
from tests.networks import settle
from tests.oracles import decibels, run_file

pytestmark = [pytest.mark.fast, pytest.mark.filterwarnings("ignore::spiq_tf.FloatOperatorWarning")]


class Accumulated(layers.Layer):
    """A sum over the channels up to each, less their mean; of TensorFlow, so that no rule describes it."""

    def call(self, x):
        return tf.cumsum(x, axis=-1) - tf.reduce_mean(x, axis=-1, keepdims=True)


class Multiplied(layers.Layer):
    """Such sums, and products of vectors."""

    def call(self, x):
        rows = tf.reshape(tf.cumsum(x, axis=-1), (-1, 64, 8))
        return tf.matmul(rows, rows, transpose_b=True)


def converted(layer, **options):
    """A model with the layer behind a convolution, its file, and the types of what the layer's operators compute."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(image))
    model = settle(keras.Model(image, layer(x)))
    content = spiq_tf.convert(model, input_range=(-1, 1), **options)
    flat = FlatModel(content)
    after = flat.operators[kinds(flat).index("CONV_2D") + 1 :]
    return model, content, {flat.kind(o): np.dtype(flat.dtype(int(o.outputs[0]))).name for o in after}


@pytest.mark.parametrize(
    "layer",
    [layers.Activation(keras.activations.sparsemax), Accumulated()],
    ids=["sparsemax", "cumulative sum"],
)
def test_a_layer_that_sorts_or_accumulates(layer):
    """Nothing is rounded between the layer's input and its output; in parts the sparsemax has 7 dB."""
    model, content, types = converted(layer)
    assert types.pop("QUANTIZE") == "int8"
    assert "int8" not in types.values()
    examples = np.random.default_rng(0).uniform(-1, 1, (16, 8, 8, 3)).astype(np.float32)
    assert decibels(model.predict(examples, verbose=0), run_file(content, examples)[0]) > 16


def test_the_user_is_told():
    with pytest.warns(spiq_tf.FloatOperatorWarning, match="CUMSUM"):
        converted(Accumulated())


def test_a_layer_that_multiplies_matrices():
    assert converted(Multiplied())[2]["BATCH_MATMUL"] == "int8"


def test_other_layers():
    assert "float32" not in converted(layers.LayerNormalization())[2].values()


@pytest.mark.filterwarnings("ignore::spiq_tf.SpiqWarning")
def test_a_target_without_floats():
    assert "int8" in converted(Accumulated(), target="tflite-micro")[2].values()

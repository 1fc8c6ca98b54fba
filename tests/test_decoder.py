"""Which maps are a decoder's."""

import keras
import pytest
from keras import layers

from spiq_tf.frontend.capture import capture
from spiq_tf.graph.decoder import decoder_feature_maps

pytestmark = pytest.mark.fast

_HEADS = (layers.GlobalAveragePooling2D, layers.Flatten)


def named(name, **options):
    return layers.Conv2D(4, 3, padding="same", name=name, **options)


def found(inputs, outputs):
    graph = capture(keras.Model(inputs, outputs), 1)
    return decoder_feature_maps(graph.nodes, graph.inputs)


def test_the_decoder_of_a_unet_and_not_what_is_pooled_besides():
    image = keras.Input((16, 16, 3), name="image")
    level = named("level")(image)
    bottom = named("bottom")(layers.MaxPooling2D()(level))
    up = layers.Conv2DTranspose(4, 2, strides=2, name="up")(bottom)
    last = named("last")(layers.Concatenate(name="join")([up, level]))
    assert found(image, last) == {"up", "join", "last"}


def test_nothing_of_signals():
    signal = keras.Input((32, 3), name="signal")
    x = layers.UpSampling1D(name="up")(layers.Conv1D(4, 3, strides=2, padding="same")(signal))
    assert found(signal, layers.Conv1D(2, 3, name="last")(x)) == set()


@pytest.mark.parametrize("head", _HEADS)
def test_nothing_in_front_of_class_scores(head):
    image = keras.Input((16, 16, 3), name="image")
    x = layers.UpSampling2D()(named("first")(image))
    assert found(image, layers.Dense(5)(head()(named("second")(x)))) == set()


@pytest.mark.parametrize("larger", [layers.UpSampling2D, lambda: layers.Resizing(32, 32)])
def test_nothing_behind_an_image_that_is_made_larger(larger):
    image = keras.Input((16, 16, 3), name="image")
    assert found(image, named("last")(named("first")(larger()(image)))) == set()


def test_positions_that_a_reshape_moves_among_the_channels_are_not_lost():
    image = keras.Input((4, 4, 3), name="image")
    x = layers.UpSampling2D(name="up")(named("first")(image))
    x = layers.Reshape((16, 4, 4), name="split")(x)
    x = layers.Reshape((8, 4, 8), name="joined")(layers.Permute((2, 1, 3), name="moved")(x))
    assert found(image, layers.Conv2D(2, 1, name="last")(x)) == {"up", "split", "moved", "joined", "last"}


def test_a_gate_of_a_whole_map_reduces_what_it_is_made_of():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.UpSampling2D(name="up")(named("first")(image))
    gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    last = named("last")(layers.Multiply(name="gated")([x, gate]))
    assert found(image, last) == {"gated", "last"}

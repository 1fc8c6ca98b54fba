"""Which maps nothing reduces any more."""

import keras
import pytest
from keras import layers

from spiq_tf.graph.capture import capture
from spiq_tf.graph.unreduced import unreduced_maps

_HEADS = (layers.GlobalAveragePooling2D, layers.Flatten)


def named(name, **options):
    return layers.Conv2D(4, 3, padding="same", name=name, **options)


def found(inputs, outputs):
    return unreduced_maps(capture(keras.Model(inputs, outputs), 1).nodes)


def test_the_decoder_of_a_unet_and_not_what_is_pooled_besides():
    image = keras.Input((16, 16, 3), name="image")
    level = named("level")(image)
    bottom = named("bottom")(layers.MaxPooling2D()(level))
    up = layers.Conv2DTranspose(4, 2, strides=2, name="up")(bottom)
    last = named("last")(layers.Concatenate(name="join")([up, level]))
    assert found(image, last) == {"max_pooling2d", "bottom", "up", "join", "last"}


@pytest.mark.parametrize("head", _HEADS)
def test_nothing_in_front_of_class_scores(head):
    image = keras.Input((16, 16, 3), name="image")
    x = layers.UpSampling2D()(named("first")(image))
    assert found(image, layers.Dense(5)(head()(named("second")(x)))) == set()


def test_all_of_a_network_from_image_to_image():
    """Positions that a reshape moves among the channels are not lost."""
    image = keras.Input((8, 8, 3), name="image")
    x = named("first")(image)
    x = layers.Reshape((16, 4, 4), name="split")(x)
    x = layers.Reshape((8, 4, 8), name="joined")(layers.Permute((2, 1, 3), name="moved")(x))
    assert found(image, layers.Conv2D(2, 1, name="last")(x)) == {"first", "split", "moved", "joined", "last"}


def test_a_gate_of_a_whole_map_reduces_what_it_is_made_of():
    image = keras.Input((8, 8, 3), name="image")
    x = named("first")(image)
    gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    last = named("last")(layers.Multiply(name="gated")([x, gate]))
    assert found(image, last) == {"gated", "last"}

"""What one scale for unlike values loses: said where it happens, and kept where outputs are separate."""

import keras
import numpy as np
import pytest
from keras import layers

import spiq_tf
from tests.networks import RANGE, conv_bn, images, settle
from tests.oracles import run_file

LEVELS = 3
"""Values that are left of scores in [0, 1] beside boxes in [0, 640]: a step is 2.5."""


def _detector(joined):
    image = keras.Input((16, 16, 3), name="image")
    x = conv_bn(image, 8, activation=layers.ReLU())
    boxes = layers.Rescaling(640.0, name="boxes")(layers.Conv2D(4, 3, activation="sigmoid")(x))
    scores = layers.Conv2D(6, 3, activation="sigmoid", name="scores")(x)
    outputs = layers.Concatenate(name="detections")([boxes, scores]) if joined else [boxes, scores]
    return settle(keras.Model(image, outputs))


def test_scores_beside_boxes_are_warned_of_by_name():
    model = _detector(joined=True)
    with pytest.warns(spiq_tf.CoarseScaleWarning, match=r"'scores' with values in \[0, 1\].*'detections'") as caught:
        content = spiq_tf.convert(model, input_range=RANGE)
    assert len([w for w in caught if issubclass(w.category, spiq_tf.CoarseScaleWarning)]) == 1
    (found,) = run_file(content, images(model, 16))
    assert len(np.unique(found[..., 4:])) < LEVELS  # what the warning says is so


@pytest.mark.fast
def test_scores_survive_as_an_output_of_their_own():
    """Within four of their 256 steps; no warning, which would be an error here."""
    model = _detector(joined=False)
    x = images(model, 16)
    _, scores = run_file(spiq_tf.convert(model, input_range=RANGE), x)
    assert np.abs(scores - model(x)[1]).max() < 4 / 256


def test_channels_that_can_be_scaled_alike_are_not_warned_of():
    """Per-channel scales bring a small branch to the size of the other: nothing is lost, and nothing is said."""
    image = keras.Input((16, 16, 3), name="image")
    small, large = conv_bn(image, 8, activation=layers.ReLU()), conv_bn(image, 8, activation=layers.ReLU())
    small = layers.Conv2D(6, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=1e-4))(small)
    large = layers.Conv2D(6, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=10.0))(large)
    model = settle(keras.Model(image, layers.Conv2D(4, 3)(layers.Concatenate()([small, large]))))
    spiq_tf.convert(model, input_range=RANGE)

"""Every warning of a conversion names the line of the user's code that asked for it."""

import inspect
import warnings

import keras
import numpy as np
import pytest
from keras import layers

import spiq_tf
from tests.networks import RANGE


def image():
    return keras.Input((8, 8, 3), name="image")


def rescaling_at_the_input():
    source = image()
    return keras.Model(source, layers.Conv2D(4, 3)(layers.Rescaling(1 / 127.5, offset=-1)(source)))


def convolution():
    source = image()
    return keras.Model(source, layers.Conv2D(4, 3)(source))


def scores_beside_boxes():
    source = image()
    boxes, scores = (layers.Conv2D(4, 3, activation="sigmoid", name=name)(source) for name in ("boxes", "scores"))
    return keras.Model(source, layers.Concatenate()([layers.Rescaling(640.0)(boxes), scores]))


def volume():
    source = keras.Input((4, 8, 8, 3), name="volume")
    return keras.Model(source, layers.Conv3D(2, 3)(source))


def constant_output():
    source = image()
    dead = layers.Conv2D(4, 3, activation="relu", name="dead")
    model = keras.Model(source, layers.Dense(3)(layers.Flatten()(dead(source))))
    dead.set_weights([np.zeros((3, 3, 3, 4)), np.full(4, -1.0)])
    return model


CASES = {
    spiq_tf.InputRangeWarning: (rescaling_at_the_input, {}),
    spiq_tf.PixelBytesWarning: (convolution, {"input_range": (0.2, 1.0), "inference_input_type": "uint8"}),
    spiq_tf.CoarseScaleWarning: (scores_beside_boxes, {}),
    spiq_tf.FloatOperatorWarning: (volume, {}),
    spiq_tf.TargetWarning: (volume, {"target": "ethos-u"}),
    spiq_tf.DegenerateOutputWarning: (constant_output, {}),
}


def test_there_is_a_case_for_every_warning():
    assert set(CASES) == set(spiq_tf.SpiqWarning.__subclasses__())


@pytest.mark.parametrize("category", CASES, ids=lambda category: category.__name__)
def test_the_line_of_the_call(category):
    build, options = CASES[category]
    model, arguments = build(), {"input_range": RANGE} | options
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        line = inspect.currentframe().f_lineno + 1
        spiq_tf.convert(model, **arguments)
    assert [(w.filename, w.lineno) for w in caught if w.category is category] == [(__file__, line)]

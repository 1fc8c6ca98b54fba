"""Layers whose derivative by their weights ends TensorFlow's process."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from spiq_tf.capture import capture
from spiq_tf.striding import replay_differentiable

LAYERS = {
    "conv2d": ((16, 16, 4), lambda: layers.Conv2D(1, 1, strides=2, activation="relu")),
    "conv1d": ((16, 4), lambda: layers.Conv1D(1, 1, strides=3, padding="same")),
    "depthwise": ((16, 15, 1), lambda: layers.DepthwiseConv2D(1, strides=2, padding="same")),
    "separable": ((16, 16, 1), lambda: layers.SeparableConv2D(8, 1, strides=2)),
    "grouped": ((16, 16, 4), lambda: layers.Conv2D(4, 1, strides=(2, 2), groups=4, use_bias=False)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_same_values(name, random):
    shape, make = LAYERS[name]
    image = keras.Input(shape)
    layer = make()
    graph = capture(keras.Model(image, layer(image)), 2)
    x = random.normal(size=(2, *shape)).astype(np.float32)
    (found,) = replay_differentiable(graph.calls[0], {graph.inputs[0].name: x})
    np.testing.assert_allclose(found, layer(x), atol=1e-5)


PROGRAM = """
import keras, spiq_tf
from keras import layers
for shape, layer in (
    ((16, 16, 4), layers.Conv2D(1, 1, strides=2)),
    ((32, 32, 1), layers.DepthwiseConv2D(1, strides=2)),
    ((32, 32, 1), layers.SeparableConv2D(8, 1, strides=2)),
):
    image = keras.Input(shape)
    x = layers.Conv2D(shape[-1], 3, padding="same")(image)
    model = keras.Model(image, layers.Conv2D(3, 3)(layer(x)))
    for _ in range(3):
        spiq_tf.verify(model, spiq_tf.quantize(model, input_range=(-1, 1)))
print("done")
"""


def test_the_process_lives():
    """What is written where it must not be ends it in most runs."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "done"), done.stderr[-2000:]

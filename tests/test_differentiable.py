"""Layers as recorded runs on samples compute them: tensors before the activation, and derivatives that are safe."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from spiq_tf.execution.differentiable import linear_parts, run_differentiable
from spiq_tf.frontend.capture import capture
from spiq_tf.statistics.input_range import input_statistics
from spiq_tf.statistics.sample_run import run_samples
from spiq_tf.statistics.synthetic import synthetic_samples

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
    found = run_differentiable(graph.calls[0], {graph.inputs[0].name: x})[graph.outputs[0].name]
    np.testing.assert_allclose(found, layer(x), atol=1e-5)


BEFORE_ACTIVATIONS = {
    "dense": ((4, 4), lambda: layers.Dense(3, "relu")),
    "conv1d": ((16, 4), lambda: layers.Conv1D(3, 3, padding="causal", dilation_rate=2, activation="relu")),
    "conv2d": ((9, 8, 4), lambda: layers.Conv2D(6, 3, 2, "same", groups=2, activation="relu6")),
    "depthwise1d": ((16, 4), lambda: layers.DepthwiseConv1D(3, 2, "same", activation="relu")),
    "depthwise2d": ((9, 8, 4), lambda: layers.DepthwiseConv2D(3, dilation_rate=2, activation="tanh", use_bias=False)),
    "separable1d": ((16, 4), lambda: layers.SeparableConv1D(5, 3, padding="same", activation="relu")),
    "separable2d": ((9, 8, 4), lambda: layers.SeparableConv2D(5, 3, 2, depth_multiplier=2, activation="relu")),
    "transposed1d": ((16, 4), lambda: layers.Conv1DTranspose(3, 3, 2, "same", activation="relu")),
    "transposed2d": ((9, 8, 4), lambda: layers.Conv2DTranspose(3, 3, 2, output_padding=1, activation="relu")),
}


@pytest.mark.parametrize("name", BEFORE_ACTIVATIONS)
def test_what_lies_before_an_activation(name, random):
    """The same layer without its activation says so; and a run on samples holds each of these tensors."""
    shape, make = BEFORE_ACTIVATIONS[name]
    image = keras.Input(shape, batch_size=1)
    layer = make()
    graph = capture(keras.Model(image, layer(image)), 1)
    if layer.bias is not None:
        layer.bias.assign(random.normal(size=layer.bias.shape))
    x = random.normal(size=(1, *shape)).astype(np.float32)
    found = linear_parts(layer, keras.ops.convert_to_tensor(x))
    known = {node.output.name for node in graph.nodes if node.primitive.is_linear}
    assert len(found) == len(known)
    (batch, *_) = run_samples(graph, synthetic_samples(graph, input_statistics(graph, (-2.0, 2.0))))
    assert known <= batch.values.keys()
    layer.activation = keras.activations.linear
    np.testing.assert_allclose(found[-1], layer(x), atol=1e-5)


@pytest.mark.fast
@pytest.mark.parametrize("name", [n for n in BEFORE_ACTIVATIONS if n != "dense"])
def test_the_derivative_is_that_of_the_layer(name, random):
    """Which TensorFlow takes together with that for the kernel."""
    shape, make = BEFORE_ACTIVATIONS[name]
    layer = make()
    sizes = (1, *shape), layer.compute_output_shape((1, *shape))
    x, slope = (tf.constant(random.normal(size=size), tf.float32) for size in sizes)
    layer(x)
    layer.activation = keras.activations.linear
    found = []
    for run in (lambda: linear_parts(layer, x)[-1], lambda: layer(x)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = run()
        found.append(tape.gradient(y, x, slope))
    np.testing.assert_allclose(*found, atol=1e-5)


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


@pytest.mark.fast
@pytest.mark.parametrize(
    "layer",
    [layers.Conv2D(1, 1, strides=2), layers.DepthwiseConv2D(1, strides=2), layers.SeparableConv2D(8, 1, strides=2)],
    ids=["convolution", "depthwise", "separable"],
)
def test_no_convolution_of_one_tap_has_a_stride(layer):
    """Whose derivative by the weights TensorFlow writes where it must not."""
    layer(np.ones((1, 16, 16, 4), np.float32))
    spec = tf.TensorSpec((1, 16, 16, 4), tf.float32)
    graph = tf.function(lambda x: linear_parts(layer, x)).get_concrete_function(spec).graph
    found = [o for o in graph.get_operations() if o.type in ("Conv2D", "DepthwiseConv2dNative")]
    assert len(found) == (2 if isinstance(layer, layers.SeparableConv2D) else 1)
    assert all(list(o.get_attr("strides")) == [1, 1, 1, 1] for o in found)


def test_the_process_lives():
    """What is written where it must not be ends it in most runs, not in all: the test above is sure."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "done"), done.stderr[-2000:]

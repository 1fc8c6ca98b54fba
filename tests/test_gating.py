"""Layers that expand into a graph of primitives: a gated linear unit is a split, a sigmoid and a product."""

import keras
import numpy as np
import pytest
from keras import layers

import spiq_tf
from spiq_tf.frontend.capture import capture
from spiq_tf.frontend.expansion import layer_table
from spiq_tf.primitives.activation import Elementwise
from spiq_tf.primitives.merge import Multiply
from spiq_tf.primitives.opaque import Opaque
from spiq_tf.primitives.shape import Rearrange
from spiq_tf.search.constraints import scale_classes
from tests.networks import RANGE, conv_bn, images, settle


def network(count=1):
    """Convolutions whose outputs are gated by each other."""
    image = keras.Input((16, 16, 3), name="image")
    x = conv_bn(image, 16, activation=layers.ReLU())
    for index in range(count):
        x = layers.BatchNormalization(name=f"norm_{index}")(layers.Conv2D(32, 3, padding="same")(x))
        x = keras.ops.glu(x)
    return settle(keras.Model(image, layers.Conv2D(4, 3)(x)))


def test_a_gated_linear_unit_branches():
    """Value and gate are read from one tensor, and the product reads the value and the sigmoid of the gate."""
    graph = capture(network(), 1)
    (call,) = (call for call in graph.calls if type(call.layer).__name__ == "Glu")
    value, gate, sigmoid, product = nodes = graph.nodes_of_call[call.index]
    assert [type(node.primitive) for node in nodes] == [Rearrange, Rearrange, Elementwise, Multiply]
    assert value.inputs == gate.inputs
    assert sigmoid.inputs == (gate.output,)
    assert product.inputs == (value.output, sigmoid.output)
    assert product.output == call.outputs[0]
    assert len({node.output.name for node in nodes}) == 4


def test_values_may_be_scaled_and_gates_not():
    graph = capture(network(), 1)
    classes = scale_classes(graph)
    pinned = classes.pinned[classes.of["norm_0"]]
    np.testing.assert_array_equal(pinned, np.arange(32) >= 16)


@pytest.mark.parametrize("axis", [-1, 1])
def test_the_primitives_compute_the_layer(axis, random):
    x = keras.Input((6, 8, 4), batch_size=2, name="x")
    graph = capture(keras.Model(x, keras.ops.glu(x, axis=axis)), 2)
    values = random.normal(size=(2, 6, 8, 4))
    halves = np.split(values, 2, axis)
    expected = keras.ops.convert_to_numpy(keras.ops.glu(values, axis=axis))
    *_, sigmoid, product = graph.nodes
    gate = sigmoid.primitive.forward([halves[1]])
    np.testing.assert_allclose(product.primitive.forward([halves[0], gate]), expected, atol=1e-6)


def test_examples_that_gate_each_other_stay_opaque():
    x = keras.Input((8, 4), batch_size=2, name="x")
    graph = capture(keras.Model(x, keras.ops.glu(x, axis=0)), 2)
    assert [type(node.primitive) for node in graph.nodes] == [Opaque]


def test_three_in_a_row_gain_by_scales_of_their_own(monkeypatch):
    """Over a decibel against the layer as a whole, whose scales are all 1 and whose ranges are sampled."""
    model = network(3)

    def measured():
        return spiq_tf.verify(model, spiq_tf.quantize(model, input_range=RANGE), images(model, 64)).sqnr_db

    expanded = measured()
    (kind,) = (kind for kind in layer_table.LAYERS if kind.__name__ == "Glu")
    monkeypatch.delitem(layer_table.LAYERS, kind)
    assert expanded > measured() + 1.0

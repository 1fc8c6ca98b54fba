"""The one loop over the layer calls of a graph."""

import keras
import numpy as np
import pytest
from keras import layers

from spiq_tf.execution.executor import execute, input_tensors, run_layer
from spiq_tf.frontend.capture import capture


class Counting(layers.Layer):
    """Counts its calls, and adds the number."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")

    def call(self, x):
        self.count.assign(self.count + 1.0)
        return x + self.count


@pytest.fixture
def model():
    x = keras.Input((4, 3), name="x")
    y = Counting(name="counting")(layers.Dense(3, name="first")(x))
    return keras.Model(x, layers.Add(name="sum")([layers.Dense(3, name="second")(y), y]))


def values_of(model, random, **arguments):
    graph = capture(model, 2)
    x = random.normal(size=(2, 4, 3)).astype(np.float32)
    return graph, x, execute(graph.calls, {"x": x}, **arguments)


def test_the_models_own_outputs_and_no_change_of_its_state(model, random):
    graph, x, values = values_of(model, random)
    assert set(values) == {"x", "first", "counting", "second", "sum"}
    assert float(model.get_layer("counting").count) == 0
    np.testing.assert_allclose(values["sum"], model(x), atol=1e-6)
    assert [t.name for t in input_tensors(graph.calls[-1])] == ["second", "counting"]


def test_a_part_of_the_calls_on_given_values(model, random):
    graph, _, values = values_of(model, random)
    names = [call.name for call in graph.calls]
    last = graph.calls[names.index("second") :]
    given = {"counting": np.zeros((2, 4, 3), np.float32)}
    part = execute(last, given)
    assert set(part) == {"counting", "second", "sum"}
    np.testing.assert_allclose(part["sum"], np.broadcast_to(model.get_layer("second").bias, (2, 4, 3)), atol=1e-6)
    assert not np.allclose(values["sum"], part["sum"])


def test_other_weights(model, random):
    kernel = model.get_layer("first").kernel
    before = kernel.numpy()
    _, x, values = values_of(model, random, weights=[(kernel, 2.0 * before)])
    np.testing.assert_allclose(values["first"], 2.0 * x @ before, atol=1e-5)
    np.testing.assert_array_equal(kernel.numpy(), before)


def test_what_runs_a_call_may_change_its_outputs(model, random):
    def zero_first(call, values):
        made = run_layer(call, values)
        return {**made, "first": 0.0 * made["first"], "seen": True} if "first" in made else made

    _, _, values = values_of(model, random, run_call=zero_first)
    np.testing.assert_allclose(values["counting"], np.ones((2, 4, 3)))
    assert values["seen"]

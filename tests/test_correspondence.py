"""The map from the file's tensors to layers, checked by value: the float file against Keras, tensor by tensor."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import spiq_tf
from spiq_tf import pipeline
from spiq_tf.execution.executor import execute
from spiq_tf.options import checked_options
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.passes.norm_into_prelu import fold_norm_into_prelu
from spiq_tf.tflite.ranges.interval_arithmetic import file_ranges
from tests import tiers
from tests.converted_files import structural_passes_of
from tests.layer_table import prelu
from tests.networks import NETWORKS, RANGE, images, settle
from tests.oracles import decibels, run_file
from tests.tiers import with_fast


def check_every_tensor(model, input_range, inputs):
    """Runs the rewritten model call by call in Keras, and its float file, and compares what has one name."""
    plan = pipeline.plan(model, input_range, checked_options())
    graph = plan.rescaled.graph
    lowered, state = structural_passes_of(plan)
    interpreter = Interpreter(lowered.content, keep_all=True)
    interpreter.run(inputs)
    given = {t.name: x for t, x in zip(graph.inputs, inputs, strict=True)}
    weights = [(v, keras.ops.convert_to_tensor(plan.rescaled.weights[key])) for key, v in graph.variables.items()]
    values = {name: np.asarray(value) for name, value in execute(graph.calls, given, weights=weights).items()}
    compared = 0
    for index, held in state.provenance.items():
        name = held.name
        if name in values:  # not the tensors within a call
            atol = 1e-3 * np.abs(values[name]).max() + 1e-6
            np.testing.assert_allclose(
                interpreter.value(index).ravel(), held.factor * values[name].ravel(), atol=atol, err_msg=name
            )
            compared += 1
    return compared, state


WITHIN = {"depthwise": 1, "two_outputs": 1, "nested": 1}
"""How many tensors lie within a call: half of a separable convolution, what a layer's own activation reads."""


@pytest.mark.parametrize("name", with_fast(NETWORKS, tiers.NETWORKS))
def test_tensors_of_small_networks(name):
    model = NETWORKS[name]()
    given = images(model, 1)
    compared, state = check_every_tensor(model, RANGE, given if isinstance(given, list) else [given])
    assert len(state.provenance) == len(state.flat.activations())
    assert compared == len(state.provenance) - WITHIN.get(name, 0)


def test_tensor_between_the_halves_of_a_separable_convolution():
    """With a BatchNorm after it, the depthwise half is all that is left of the layer's own call."""
    model = NETWORKS["depthwise"]()
    _, state = check_every_tensor(model, RANGE, [images(model, 1)])
    assert len(state.provenance) == len(state.flat.activations())
    halves = [
        h.name for h in state.provenance.values() if h.name.startswith("separable_conv2d") and h.name.endswith("/0")
    ]
    assert len(halves) == 1
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert result.uncorrected == ()
    assert {t.source for t in result.tensors} <= {"given", "batch_norm", "propagated"}


def norm_after(join, *following):
    """Two convolutions joined, a BatchNorm that neither can take, and what follows."""
    image = keras.Input((10, 10, 3), name="image")
    x = join([keras.layers.Conv2D(4, 3)(image), keras.layers.Conv2D(4, 3)(image)])
    x = keras.layers.BatchNormalization(name="alone")(x)
    for layer in following:
        x = layer(x)
    return settle(keras.Model(image, keras.layers.Conv2D(3, 1)(x)))


@pytest.mark.parametrize(
    ("join", "following", "kinds"),
    [
        (keras.layers.Add(), [keras.layers.ReLU()], {"ADD", "CONV_2D", "DEPTHWISE_CONV_2D"}),
        (keras.layers.Concatenate(), [], {"CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D"}),
        (keras.layers.Add(), [prelu([-0.7, 0.0, 0.3, 1.0])], {"ADD", "CONV_2D", "DEPTHWISE_CONV_2D"}),
        (keras.layers.Add(), [prelu([-0.7, 1.7, 0.3, 1.0])], {"ADD", "CONV_2D", "DEPTHWISE_CONV_2D"}),
        (keras.layers.Add(), [prelu([1.0, 1.7, 1.2, 3.0])], {"ADD", "SUB", "CONV_2D", "DEPTHWISE_CONV_2D"}),
    ],
    ids=["relu", "plain", "prelu", "prelu of both signs", "steep prelu"],
)
def test_operators_of_channels_compute_the_same_as_those_they_replace(join, following, kinds):
    """The float file before and after; tolerance: float32 sums in another order."""
    model = norm_after(join, *following)
    plan = pipeline.plan(model, RANGE, checked_options())
    lowered, state = structural_passes_of(plan)
    assert {state.flat.kind(o) for o in state.flat.operators} == kinds
    assert "MUL" in {FlatModel(lowered.content).kind(o) for o in FlatModel(lowered.content).operators}
    x = images(model, 8)
    (expected,), (found,) = (
        zip(*(Interpreter(content).run([v[None]]) for v in x), strict=True)
        for content in (lowered.content, state.flat.content())
    )
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_every_tensor_of_an_untrained_model_is_matched():
    """A fused BatchNorm that adds nothing leaves no name in the file."""
    image = keras.Input((10, 10, 3), name="image")
    x = keras.layers.ReLU(name="relu")(keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image)))
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(4, 3)(x))
    result = spiq_tf.quantize(keras.Model(image, keras.layers.Activation("silu", name="end")(x)), input_range=RANGE)
    assert {"image", "relu", "norm", "end"} <= {t.layer for t in result.tensors}
    assert result.uncorrected == ()


@pytest.mark.fast
@pytest.mark.parametrize(
    ("slopes", "separate"),
    [([-0.7, 0.0, 0.3, 1.0], True), ([-0.7, 1.7, 0.3, 1.0], False), ([1.0, 1.7, 1.2, 3.0], False)],
    ids=["at most 1", "of both kinds", "at least 1"],
)
def test_prelu_behind_a_norm_reads_what_the_norm_reads(slopes, separate):
    """The same function as that of the converter's own operators, and no wider ranges than those of the norm's halves:
    tolerance of float32 sums. As many operators as before."""
    model = norm_after(keras.layers.Add(), prelu(slopes))
    plan = pipeline.plan(model, RANGE, checked_options())
    lowered, state = structural_passes_of(plan)
    known = {index: plan.rescaled.ranges[held.name] for index, held in state.provenance.items()}
    ranges, before = file_ranges(state.flat, known), len(state.flat.operators)
    state.ranges, state.float_outputs = dict(ranges), frozenset(state.flat.activations())
    fold_norm_into_prelu(state)
    assert state.ranges == ranges
    state.float_outputs = frozenset()
    fold_norm_into_prelu(state)
    found = state.ranges
    assert len(state.flat.operators) == before
    assert (found != ranges) == separate
    interpreter = Interpreter(state.flat.content(), keep_all=True)
    original = Interpreter(lowered.content)
    for x in images(model, 8):
        (y,), (expected,) = interpreter.run([x[None]]), original.run([x[None]])
        np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())
        for index in found.keys() - ranges.keys():
            values, within = interpreter.value(index), found[index]
            slack = 1e-5 * within.amplitude.max()
            assert np.all((values >= within.low - slack) & (values <= within.high + slack))


def test_a_norm_in_front_of_a_prelu_that_the_user_names():
    """It stays float, or has the very range that was given."""
    model = norm_after(keras.layers.Add(), prelu([-0.7, 0.0, 0.3, 1.0]))
    kept = spiq_tf.quantize(model, input_range=RANGE, float_layers=["alone"])
    assert [name for name in kept.float_operators if "alone" in name]
    given = spiq_tf.quantize(model, input_range=RANGE, ranges={"alone": (-3.0, 3.0)})
    assert [(t.low, t.high) for t in given.tensors if t.layer == "alone"] == [(-3.0, 3.0)]


def test_tensors_of_mobilenet(real_networks):
    model = keras.models.load_model(real_networks / "mobilenet_v2_imagenet.keras", compile=False)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32)
    compared, state = check_every_tensor(model, RANGE, [x])
    assert compared >= len(state.flat.activations()) - 1  # all but the logits, which lie within the last call


@pytest.mark.parametrize(
    ("layer", "factor"),
    [
        (lambda x, y: keras.layers.Average(name="end")([x, y]), 2.0),
        (lambda x, y: keras.layers.Activation("hard_sigmoid", name="end")(x), 6.0),
        (lambda x, y: Scaled(name="end")(x), -0.25),
    ],
    ids=["average", "hard sigmoid", "unknown"],
)
def test_factor_that_the_converter_moves_into_the_next_layer(layer, factor):
    """The file holds a multiple of what the layer returns; its range and the bias correction after it must know."""
    image = keras.Input((10, 10, 3), name="image")
    x, y = (keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image)) for _ in range(2))
    model = settle(keras.Model(image, keras.layers.Conv2D(3, 3)(layer(x, y))))
    _, state = check_every_tensor(model, RANGE, [images(model, 1)])
    (found,) = (held.factor for held in state.provenance.values() if held.name == "end")
    assert found == pytest.approx(factor, rel=1e-3)
    inputs = images(model, 32)
    (got,) = run_file(spiq_tf.convert(model, input_range=RANGE), inputs)
    assert decibels(model.predict(inputs, verbose=0), got) > 28


@pytest.mark.parametrize("kind", ["convolution", "depthwise", "dense"])
@pytest.mark.parametrize("activation", ["hard_sigmoid", lambda x: keras.ops.relu6(x + 3.0) / 6.0, lambda x: x + 3.0])
def test_what_the_converter_adds_in_front_of_a_layers_own_activation(kind, activation):
    """Of relu6(x + 3) / 6 the 3 and the ReLU6 go into the convolution, whose own output then no tensor holds."""
    image = keras.Input((10, 10, 3), name="image")
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image))
    gate = {
        "convolution": keras.layers.Conv2D(4, 1, activation=activation, name="gate"),
        "depthwise": keras.layers.DepthwiseConv2D(3, padding="same", activation=activation, name="gate"),
        "dense": keras.layers.Dense(4, activation=activation, name="gate"),
    }[kind]
    model = settle(keras.Model(image, keras.layers.Multiply()([x, gate(x)])))
    result = spiq_tf.quantize(model, input_range=RANGE)
    found = spiq_tf.verify(model, result, inputs=images(model, 32))
    (own,) = [layer.own_db for layer in found.layers if layer.layer == "gate"]
    assert own > 30
    assert found.sqnr_db > 31


class Scaled(keras.layers.Layer):
    """A layer that no rule describes, with a factor at its end."""

    def call(self, x):
        return -4.0 * tf.tanh(x)

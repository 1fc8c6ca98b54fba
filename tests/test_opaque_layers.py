"""Layers that no rule describes: what is known of them comes from samples, and is compared with images."""

from dataclasses import replace
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import spiq_tf
from spiq_tf import pipeline
from spiq_tf.frontend.capture import capture
from spiq_tf.frontend.expansion.activation import pointwise
from spiq_tf.frontend.expansion.call_site import CallSite, apply_function
from spiq_tf.graph import self_gated
from spiq_tf.options import checked_options
from spiq_tf.primitives.opaque import RuntimeNormalization
from spiq_tf.statistics.input_range import input_statistics
from spiq_tf.statistics.propagation import all_distributions, all_moments
from spiq_tf.statistics.sample_run import run_samples
from spiq_tf.statistics.sampled import sampled_statistics
from spiq_tf.statistics.synthetic import synthetic_samples
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from tests.networks import RANGE, conv_bn, images, settle

OPTIONS = checked_options()


def on_synthetic_inputs(graph, inputs):
    """Statistics of the model's runs on synthetic inputs."""
    samples = synthetic_samples(graph, inputs)
    return sampled_statistics(graph, run_samples(graph, samples), samples.gap)


def _model(layer, channels=32):
    image = keras.Input((16, 16, 3), name="image")
    x = conv_bn(image, channels, activation=layers.ReLU())
    return settle(keras.Model(image, layers.Conv2D(4, 3)(layer(x))))


@pytest.mark.parametrize(
    "layer",
    [lambda x: x / (1.0 + x), layers.LayerNormalization(name="norm"), layers.UnitNormalization(name="norm")],
    ids=["division", "LayerNormalization", "UnitNormalization"],
)
def test_moments_are_those_of_images(layer):
    """Gaussians of the inputs' moments leave the domain of a division, which then has a deviation of thousands."""
    model = _model(layer)
    graph = capture(model, 1)
    inputs = input_statistics(graph, RANGE)
    last = graph.nodes[-2].output.name  # before the convolution
    found = all_moments(graph, inputs, on_synthetic_inputs(graph, inputs))[last]
    upstream = keras.Model(model.inputs, model.layers[-1].input)
    real = np.asarray(upstream.predict(images(model, 64), verbose=0), np.float64).reshape(-1, 32)
    np.testing.assert_allclose(found.mean, real.mean(axis=0), atol=0.3 * real.std(axis=0).max())
    np.testing.assert_allclose(found.deviation, real.std(axis=0), rtol=0.35)


@pytest.mark.parametrize(
    "layer", [layers.LayerNormalization(), layers.RMSNormalization()], ids=["LayerNormalization", "RMSNormalization"]
)
def test_ranges_inside_are_little_wider_than_on_images(layer):
    """At most 4 times, two bits; by interval arithmetic the variance was 30 times too wide. Nor are they cut by more
    than a squared outlier: 99.9 % of all values lie within."""
    model = _model(layer)
    plan = pipeline.plan(model, RANGE, OPTIONS)
    converted = pipeline.convert_plan(plan)
    (call,) = (c.index for c in plan.rescaled.graph.calls if c.layer is layer)
    inside = converted.state.outputs_of([call]) - set(converted.state.provenance)
    interpreter = Interpreter(converted.state.flat.content(), keep_all=True)
    values = {index: [] for index in inside}
    for x in images(model, 32):
        interpreter.run([x[None]])
        for index, seen in values.items():
            seen.append(np.array(interpreter.value(index)).ravel())
    assert len(values) >= 4
    for index, seen in values.items():
        real, interval = np.concatenate(seen), converted.tensor_ranges[index]
        assert interval.high - interval.low < 4 * (max(real.max(), 0.0) - min(real.min(), 0.0))
        assert np.mean((real >= interval.low) & (real <= interval.high)) > 0.999


def test_means_inside_that_have_another_sign_than_on_samples():
    """On the samples, here moved up by a tenth of a deviation, groups have means of one sign; on images of both."""
    image = keras.Input((16, 16, 3), name="image")
    layer = layers.GroupNormalization(4)
    x = layer(layers.Conv2D(16, 3, use_bias=False)(image))
    model = settle(keras.Model(image, layers.Conv2D(4, 3)(x)))
    plan = pipeline.plan(model, (-3.0, 3.0), OPTIONS)
    examples = [
        {name: v - v.mean(axis=(1, 2), keepdims=True) + 0.1 * v.std() for name, v in each.items()}
        for each in plan.opaque_inputs.examples
    ]
    moved = replace(plan, opaque_inputs=replace(plan.opaque_inputs, examples=examples))
    converted = pipeline.convert_plan(moved)
    interpreter = Interpreter(converted.lowered.content, keep_all=True)
    (mean,) = (
        int(o.outputs[0])
        for o in converted.state.flat.operators
        if converted.state.flat.name(int(o.outputs[0])).endswith("moments/mean")
    )
    values = []
    for v in images(model, 16):
        interpreter.run([v[None]])
        values.append(interpreter.value(mean))
    found = converted.tensor_ranges[mean]
    assert found.low <= np.min(values) < 0 < np.max(values) <= found.high
    assert found.high - found.low < 8 * np.ptp(values)


@pytest.mark.parametrize("layer", [layers.LayerNormalization(), layers.GroupNormalization(4)], ids=["layer", "group"])
def test_channels_that_a_norm_makes_of_very_different_size(layer, monkeypatch):
    """Gammas from 0.03 to 30: 10 dB and more by scales of their own, to where channels of one size are."""
    model = _model(layer)
    layer.gamma.assign(np.geomspace(0.03, 30.0, 32))
    model.layers[-1].kernel.assign(model.layers[-1].kernel / np.geomspace(0.03, 30.0, 32)[:, None])
    scaled = _sqnr(model)
    monkeypatch.setattr(RuntimeNormalization, "pinned_ports", lambda self: None)
    assert scaled > max(_sqnr(model) + 10, 25)


def test_a_batch_of_several():
    """Samples have a batch of one; the file computes for each image of two what it does for one."""
    model = _model(layers.LayerNormalization())
    one, two = (Interpreter(spiq_tf.convert(model, input_range=RANGE, batch_size=size)) for size in (1, 2))
    x = images(model, 2)
    (together,), alone = two.run([x]), [one.run([v[None]])[0] for v in x]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=2 * one.outputs[0]["quantization"][0])


class _Backwards(layers.Layer):
    """Negates integers, for which no product of floats may stand."""

    def call(self, x):
        return x + tf.cast(-tf.cast(x, tf.int32), tf.float32)


@pytest.mark.filterwarnings("ignore::spiq_tf.FloatOperatorWarning")
@pytest.mark.parametrize(("offset", "operators"), [(2.0, ()), (0.9, ("DIV (true_divide)",))])
def test_a_division_by_what_may_be_zero_stays_float(offset, operators):
    """The other input is in [-1, 1]: moved by 2 it keeps away from 0, and its reciprocals have a range."""
    inputs = [keras.Input((8, 8, 6), name=name) for name in ("x", "y")]
    output = layers.Conv2D(4, 1)(inputs[0] / (offset + inputs[1]))
    assert spiq_tf.quantize(keras.Model(inputs, output), input_range=RANGE).float_operators == operators


def test_a_division_by_what_a_small_epsilon_keeps_from_zero(random):
    """Reciprocals of the epsilon are a thousand times those of typical divisors, which got one step of 255."""
    inputs = [keras.Input((8, 8, 6), name=name) for name in ("x", "y")]
    part, rest = keras.ops.relu(inputs[0]), keras.ops.relu(inputs[1])
    model = keras.Model(inputs, part / (1e-3 + part + rest))
    result = spiq_tf.quantize(model, input_range=RANGE)
    given = [random.uniform(-1, 1, (64, 8, 8, 6)).astype(np.float32) for _ in inputs]
    part, rest = (np.maximum(x, 0) for x in given)
    typical = part + rest > 0.25
    expected = part / (1e-3 + part + rest)
    interpreter = Interpreter(result.content)
    found = np.concatenate([interpreter.run([x[k : k + 1] for x in given])[0] for k in range(64)])
    assert result.float_operators == ()
    for chosen in (typical, ~typical):
        error = np.sqrt(np.mean((found - expected)[chosen] ** 2))
        assert error < 0.2 * np.sqrt(np.mean(expected[chosen] ** 2))


@pytest.mark.fast
def test_a_division_by_zero_is_refused():
    """LiteRT's process ended with a segmentation fault."""
    inputs = [keras.Input((8, 8, 6), name=name) for name in ("x", "y")]
    model = keras.Model(inputs, layers.Conv2D(4, 1)(inputs[0] / keras.ops.relu(inputs[1])))
    with pytest.raises(spiq_tf.InvalidModelError, match=r"layer 'true_divide.* has values of up to .* an epsilon"):
        spiq_tf.convert(model, input_range=RANGE)


def test_a_mask_of_the_least_float_may_stay_float():
    image = keras.Input((16, 8), name="image")
    attention = layers.MultiHeadAttention(2, 4, name="attention")(image, image, use_causal_mask=True)
    model = keras.Model(image, layers.Conv1D(4, 1)(attention))
    with pytest.raises(spiq_tf.InvalidModelError, match=r"layer 'attention' has values of up to .* -1e9 in a mask"):
        spiq_tf.convert(model, input_range=RANGE)
    assert spiq_tf.convert(model, input_range=RANGE, float_layers=["attention"])


@pytest.mark.fast
def test_two_divisions_by_the_same(random):
    """One reciprocal for both: two of one name ended the conversion."""
    inputs = [keras.Input((8, 8, 6), name=name) for name in ("x", "y")]
    divisor = 1.5 + keras.ops.relu(inputs[1])
    model = keras.Model(inputs, [inputs[0] / divisor, keras.ops.tanh(inputs[0]) / divisor])
    result = spiq_tf.quantize(model, input_range=RANGE)
    given = [random.uniform(-1, 1, (16, 8, 8, 6)).astype(np.float32) for _ in inputs]
    assert result.float_operators == ()
    assert spiq_tf.verify(model, result, given).sqnr_db > 25


def test_residual_trunks_of_activations_by_hand_are_read_at_once():
    """Each block of one shape doubled the ways back that were tried: 24 of them took two minutes."""
    x = image = keras.Input((8, 8, 4), name="image")
    for _ in range(24):
        y = x + layers.Conv2D(4, 1)(x)
        x = keras.ops.sigmoid(y) * y
    with mock.patch.object(self_gated, "_function_of", wraps=self_gated._function_of) as tried:
        capture(keras.Model(image, x), 1)
    assert 24 < tried.call_count < 24 * 100


def test_negated_integers_stay_integers():
    model = _model(_Backwards(), channels=8)
    content = spiq_tf.convert(model, input_range=RANGE)
    (found,) = Interpreter(content).run([images(model, 1)])
    assert np.all(np.isfinite(found))


def _sqnr(model):
    (found,) = spiq_tf.verify(model, spiq_tf.quantize(model, input_range=RANGE), inputs=images(model, 64)).outputs
    return found.noise.sqnr_db


def test_an_embedding_is_normalized_after_averages_over_whole_feature_maps():
    """The sum of squares inside was taken from samples, on which such averages hardly vary: 8 dB."""
    image = keras.Input((16, 16, 3), name="image")
    x = layers.GlobalAveragePooling2D()(conv_bn(image, 16, activation=layers.ReLU()))
    x = layers.BatchNormalization()(layers.Dense(32)(x))
    assert _sqnr(settle(keras.Model(image, layers.UnitNormalization()(x)))) > 25


def test_an_embedding_that_varies_less_than_predicted(random):
    """The head of a network varies less than predicted, up to five times. Reciprocals of norms were cut at those of
    predicted embeddings, 20 dB worse; they reach as far as those of embeddings a quarter as large."""
    vector = keras.Input((1, 1, 64), name="vector")
    model = keras.Model(vector, layers.UnitNormalization()(layers.Dense(32)(layers.Flatten()(vector))))
    converted = pipeline.convert_plan(pipeline.plan(model, RANGE, OPTIONS))
    interpreter, flat = Interpreter(converted.lowered.content, keep_all=True), converted.state.flat
    (reciprocal,) = (int(o.outputs[0]) for o in flat.operators if flat.kind(o) == "RSQRT")
    values = []
    for x in random.normal(scale=0.25 * RANGE[1] / 3, size=(32, 1, 1, 1, 64)).astype(np.float32):
        interpreter.run([x])
        values.append(interpreter.value(reciprocal))
    found = converted.tensor_ranges[reciprocal]
    assert np.max(values) < found.high < 8 * np.max(values)


def test_attention_over_both_axes_of_an_image():
    """As in Keras's MobileViT: its softmax over two axes became EXP and LOG in float and a sum in int8 of what was
    rounded to nothing: 0 dB."""
    image = keras.Input((16, 16, 3), name="image")
    x = layers.LayerNormalization()(layers.Conv2D(16, 4, 4)(image))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(x, x)])
    model = settle(keras.Model(image, layers.Dense(8)(layers.GlobalAveragePooling2D()(x))))
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert result.float_operators == ()
    assert _sqnr(model) > 30


def test_a_gate_on_a_value_that_is_often_at_its_bound():
    """tanh(x) times sigmoid(y) of steep x and y, as in a WaveNet: products near 1 are common, a tenth was cut."""
    image = keras.Input((16, 16, 3), name="image")
    x = conv_bn(image, 8, activation=layers.ReLU())
    steep, gate = (layers.BatchNormalization(name=name)(layers.Conv2D(8, 1)(x)) for name in ("steep", "gate"))
    product = layers.Multiply()([layers.Activation("tanh")(steep), layers.Activation("sigmoid")(gate)])
    model = settle(keras.Model(image, layers.Conv2D(4, 1)(product)))
    for name in ("steep", "gate"):
        model.get_layer(name).beta.assign(np.zeros(8))
    assert _sqnr(model) > 25


def _windows(x, rows, columns):
    """(-1, 8, 8) positions, cut up so that windows of 4 x 4 follow one another, or put together again."""
    return keras.ops.transpose(keras.ops.reshape(x, (-1, *rows, *columns, 32)), (0, 1, 3, 2, 4, 5))


def test_attention_within_windows():
    """As in a Swin transformer. The converter moves the reshape after a Dense to before it, where it bears
    the name of the Dense: what follows had ranges by interval arithmetic, and the Dense one sampled on noise: 20 dB."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.LayerNormalization()(layers.Reshape((64, 32))(layers.Conv2D(32, 4, 4)(image)))
    y = keras.ops.reshape(_windows(x, (2, 4), (2, 4)), (-1, 16, 32))
    parts = keras.ops.transpose(keras.ops.reshape(layers.Dense(96)(y), (-1, 16, 3, 2, 16)), (2, 0, 3, 1, 4))
    weights = keras.ops.softmax(keras.ops.matmul(parts[0], keras.ops.transpose(parts[1], (0, 1, 3, 2))) * 0.25)
    read = keras.ops.transpose(keras.ops.matmul(weights, parts[2]), (0, 2, 1, 3))
    y = layers.Dense(32)(keras.ops.reshape(read, (-1, 16, 32)))
    y = keras.ops.reshape(_windows(y, (2, 2), (4, 4)), (-1, 64, 32))
    pooled = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x + y))
    assert _sqnr(settle(keras.Model(image, layers.Dense(8)(pooled)))) > 30


def _told(function, shape=(1, 8, 8, 6)):
    """What is told of a function of TensorFlow by running it."""
    layer = layers.Lambda(function)
    return pointwise(CallSite(inputs=(shape,), output=shape, run=lambda x: apply_function(layer, x[0])))


@pytest.mark.fast
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x - tf.reduce_mean(x),
        lambda x: x - tf.reduce_mean(x, axis=-1, keepdims=True),
        lambda x: x - tf.reduce_min(x),
        lambda x: x / tf.reduce_max(x),
        lambda x: x / tf.maximum(tf.reduce_max(tf.abs(x)), 20.0),
        lambda x: x - tf.sort(tf.reshape(x, [-1]))[192],
        lambda x: tf.clip_by_norm(x, 15.0, axes=[-1]),
        lambda x: x * np.arange(6, dtype=np.float32),
        lambda x: tf.reverse(x, [1]),
        tf.math.reciprocal,
    ],
    ids=["mean", "mean-of-position", "least", "largest", "largest-above", "median", "norm", "place", "order", "pole"],
)
def test_what_is_no_function_of_single_values(function):
    assert _told(function) is None


@pytest.mark.fast
def test_what_is_a_function_of_single_values():
    """Of all, or of positive ones alone; the function is the layer's, for as many values as one likes."""
    x = np.linspace(0.5, 3.0, 1000).reshape(10, 100)
    for function in (tf.math.atan, tf.math.log, lambda v: tf.pow(v, 1.5), lambda v: tf.where(v > 0.5, v, -v)):
        ((step,), expected) = _told(function), function(x)
        np.testing.assert_allclose(step.primitive.elementwise_function(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["mish", "hard_silu"])
def test_a_function_by_hand_has_the_range_of_the_layer_by_name(name):
    """Of which the lower end is close to 0: told by the function, as 2.7 dB of a Gaussian's range were not."""
    functions = {
        "mish": lambda v: v * tf.tanh(tf.math.softplus(v)),
        "hard_silu": lambda v: v * tf.nn.relu6(v + 3.0) / 6.0,
    }
    lowest = []
    for activation in (name, functions[name]):
        image = keras.Input((16, 16, 3), name="image")
        x = layers.BatchNormalization()(layers.Conv2D(16, 3)(image))
        model = settle(keras.Model(image, layers.Conv2D(4, 3)(layers.Activation(activation, name="act")(x))))
        (told,) = (t for t in spiq_tf.quantize(model, input_range=RANGE).tensors if t.layer == "act")
        lowest.append(told.low)
    assert lowest[1] == pytest.approx(lowest[0], abs=0.02)


def test_a_condition_as_a_number():
    """What makes floats of truths or integers is no table: it ended the conversion."""
    model = _model(lambda x: x * keras.ops.cast(x > 0.5, "float32"))
    with pytest.warns(spiq_tf.FloatOperatorWarning, match=r"GREATER \(greater\)"):
        result = spiq_tf.quantize(model, input_range=RANGE)
    assert spiq_tf.verify(model, result, images(model)).sqnr_db > 22


@keras.saving.register_keras_serializable("test_opaque_layers")
class _Head(layers.Layer):
    """A Dense layer by hand, of TensorFlow."""

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 4), name="w")

    def call(self, x):
        return tf.matmul(x, self.w) + 3.0


def test_scores_that_are_positive_on_samples_may_be_negative():
    image = keras.Input((16, 16, 3), name="image")
    model = keras.Model(image, _Head()(layers.GlobalAveragePooling2D()(conv_bn(image, 8))))
    settle(model)
    model.layers[-1].w.assign(0.1 * model.layers[-1].w)
    (scores,) = (t for t in spiq_tf.quantize(model, input_range=RANGE).tensors if t.layer and "head" in t.layer)
    assert scores.low < 0


def test_a_quotient_keeps_to_what_its_divisor_allows():
    """1 / (relu(x) + 0.1) is at most 10, whatever an integer at the end of the divisor's scale stands for."""
    image = keras.Input((16, 16, 3), name="image")
    divisor = keras.ops.relu(conv_bn(image, 8)) + 0.1
    model = settle(keras.Model(image, 1.0 / divisor))
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert result.float_operators == ()
    interpreter = Interpreter(result.content)
    found = np.concatenate([interpreter.run([x[None]])[0] for x in images(model, 16)])
    assert found.max() <= 10.0 + interpreter.outputs[0]["quantization"][0]
    assert found.max() > 5.0


def test_an_exponential_after_a_bound():
    """As detectors have it, of wide values: a Gaussian's tail overflows, the function's own values do not."""
    wide = layers.Conv2D(8, 1)
    model = _model(lambda x: layers.Lambda(tf.exp)(keras.ops.minimum(3.0 * wide(x), 2.0)))
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert spiq_tf.verify(model, result, images(model)).sqnr_db > 20


@pytest.mark.parametrize("function", [keras.ops.log1p, keras.ops.sqrt, lambda x: keras.ops.power(x, 1.5)])
def test_functions_of_positive_values_are_tables(function):
    """What an integer below their domain stands for does not occur, and does not spoil the table."""
    model = _model(lambda x: function(keras.ops.abs(layers.Conv2D(8, 1)(x))))
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert result.float_operators == ()
    assert spiq_tf.verify(model, result, images(model)).sqnr_db > 22


def test_a_function_written_by_hand_is_one_table():
    """A leaky ReLU by a condition: a float comparison where it was not known for what it is."""
    model = _model(layers.Lambda(lambda x: tf.where(x > 0.5, x, 0.3 * tf.math.sin(x))))
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert result.float_operators == ()
    flat = FlatModel(result.content)
    assert "GATHER" in {flat.kind(o) for o in flat.operators}
    assert spiq_tf.verify(model, result, images(model)).sqnr_db > 30


@keras.saving.register_keras_serializable("test_opaque_layers")
class _InstanceNorm(layers.Layer):
    """As style transfer writes it, by a variance, or by both moments at once."""

    def __init__(self, at_once, **options):
        super().__init__(**options)
        self.at_once = at_once

    def call(self, x):
        ops = keras.ops
        if self.at_once:
            mean, variance = ops.moments(x, axes=[1, 2], keepdims=True)
        else:
            mean, variance = ops.mean(x, axis=[1, 2], keepdims=True), ops.var(x, axis=[1, 2], keepdims=True)
        return (x - mean) / ops.sqrt(variance + 1e-3)


def test_an_instance_norm_written_by_hand():
    """Both ways to write it are level within 3 dB; the variance had half the range of what occurs: 5 dB of 20."""
    found = []
    for at_once in (True, False):
        image = keras.Input((32, 32, 3), name="image")
        x = image
        for _ in range(3):
            x = layers.ReLU()(_InstanceNorm(at_once)(layers.Conv2D(16, 3, padding="same")(x)))
        model = settle(keras.Model(image, layers.Conv2D(3, 3)(x)))
        found.append(spiq_tf.verify(model, spiq_tf.quantize(model, input_range=RANGE)).sqnr_db)
    assert found[1] > found[0] - 3


def test_a_variance_over_positions():
    """Never negative, and not cut: of images at most a hundredth of the values lie above its range."""
    image = keras.Input((32, 32, 3), name="image")
    variance = layers.Lambda(lambda x: keras.ops.var(x, axis=[1, 2], keepdims=True), name="spread")
    model = settle(keras.Model(image, layers.Conv2D(4, 1)(variance(conv_bn(image, 16)))))
    graph = capture(model, 1)
    inputs = input_statistics(graph, RANGE)
    sampled = on_synthetic_inputs(graph, inputs)
    moments = all_moments(graph, inputs, sampled)
    name = next(n.output.name for n in graph.nodes if "var" in n.output.name or "spread" in n.output.name)
    own = all_distributions(graph, moments, inputs, sampled=sampled)[name].range(6.0)
    assert np.all(own.low >= 0)
    real = keras.Model(image, variance.output).predict(images(model, 200), verbose=0).reshape(-1, 16)
    assert np.mean(real > own.high) < 0.01


@pytest.mark.parametrize(
    ("function", "least"),
    [
        (lambda x: 1.0 / (0.1 + 9.9 * keras.ops.sigmoid(x)), 20.0),  # depth of a disparity
        (lambda x: keras.ops.reciprocal(0.1 + 9.9 * keras.ops.sigmoid(x)), 20.0),
        (keras.ops.exp, 15.0),  # boxes of anchors; 4 dB with the range of a Gaussian's tail
    ],
    ids=["depth", "reciprocal", "boxes"],
)
def test_functions_that_grow_without_bound(function, least):
    """Their ranges are not those of tails that no value has: the table has steps of the values that occur."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3), name="image")
    x = conv_bn(image, 16, activation=layers.ReLU())
    x = conv_bn(x, 16, activation=layers.ReLU())
    model = settle(keras.Model(image, function(conv_bn(x, 1))))
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert result.float_operators == ()
    assert spiq_tf.verify(model, result, images(model, 50)).sqnr_db > least

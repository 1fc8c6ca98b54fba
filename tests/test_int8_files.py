"""The int8 file against the float model: each layer kind, and whole networks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import spiq_tf
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.verification import degenerate_output
from tests import tiers
from tests.conversions import converted, examples, network
from tests.layer_table import TABLE
from tests.networks import NETWORKS, RANGE, conv_bn, images, settle
from tests.oracles import decibels, least_scale, rms, run_file
from tests.tiers import ROWS, with_fast

DECIBELS = {
    "named": [29],
    "one_dimension": [33],
    "sequential": [34],
    "preactivation": [30],
    "shared_in_series": [30],
    "saturating_addition": [23],
    "residual": [38],
    "depthwise": [34],
    "concatenation": [37],
    "shared_layer": [28],
    "two_outputs": [38, 37, 40],
    "nested": [31],
}
"""What the outputs of each network have at least: 3 dB below what they had when this was written."""

WIDEST = 2.5
"""How many times as wide as the values of 32 images the range of a layer's output may be."""

WIDER = {
    "average_pool": 4.0,
    "average_pool_padded": 4.0,
    "dense": 3.5,
    "global_max": 3.5,
    "unit_norm": 3.5,
    "divide_by_norm": 3.5,
}
"""The same of what comes of a whole map or of all channels, which varies less on random images than on real ones."""


def run(content, model, inputs):
    """Outputs of the file for each input, and those of the float model."""
    return run_file(content, inputs), [np.asarray(y) for y in keras.tree.flatten(model.predict(inputs, verbose=0))]


@pytest.mark.parametrize("row", with_fast(TABLE, ROWS), ids=lambda r: r.name)
def test_layer_errs_by_few_steps_of_its_scale(row):
    image = keras.Input((10, 10, 3), name="image")
    x, y = (layers.BatchNormalization()(layers.Conv2D(6, 3)(image)) for _ in range(2))
    model = settle(keras.Model(image, row.apply(x, y)))
    result = spiq_tf.quantize(model, input_range=RANGE)
    (found,), (expected,) = run(result.content, model, images(model, 32))
    (detail,) = Interpreter(result.content).outputs
    assert detail["dtype"] == np.int8
    scale = detail["quantization"][0]
    assert rms(found - expected) <= row.steps * least_scale(expected)
    assert scale <= WIDER.get(row.name, WIDEST) * least_scale(expected), "the range is far wider than the values"
    assert {name.split()[0] for name in result.float_operators} == set(row.float_operators)
    assert row.known == (result.fallback_layers == ())


@pytest.mark.parametrize("name", with_fast(NETWORKS, tiers.NETWORKS))
@pytest.mark.parametrize("delegate", [True, False], ids=["xnnpack", "plain kernels"])
def test_network_keeps_the_float_models_outputs(name, delegate):
    x, expected = examples(name)
    found = run_file(converted(name), x, delegate)
    for y, reference, least in zip(found, expected, DECIBELS[name], strict=True):
        assert y.shape == reference.shape
        assert decibels(reference, y) > least


def test_spread_channels_gain_from_absorbed_scales(monkeypatch):
    """Channels of very different size in a signed tensor: absorbing their scales wins at least 6 dB."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.BatchNormalization(name="spread")(layers.Conv2D(16, 3, use_bias=False)(image))
    x = layers.BatchNormalization(name="equal")(layers.Conv2D(16, 3, use_bias=False)(x))
    model = settle(keras.Model(image, x))
    norm, (kernel,) = model.get_layer("spread"), model.layers[3].get_weights()
    size = np.geomspace(0.02, 4.0, 16)
    norm.gamma.assign(size)
    norm.beta.assign(np.zeros(16))
    model.layers[3].set_weights([kernel / size[None, None, :, None]])
    settle_equal = model.get_layer("equal")
    settle_equal.momentum = 0.0
    model(images(model, 128), training=True)

    def measured():
        found, expected = run(spiq_tf.convert(model, input_range=RANGE), model, images(model, 32))
        return decibels(expected[0], found[0])

    absorbed = measured()
    monkeypatch.setattr("spiq_tf.search.constraints._pinned_tensors", lambda graph: {t.name: "" for t in graph.tensors})
    assert absorbed > measured() + 6


def test_an_image_beside_features_keeps_its_whole_range():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(image)))
    joined = layers.Concatenate(name="joined")([image, x])
    model = settle(keras.Model(image, layers.Conv2D(4, 3)(joined)))
    result = spiq_tf.quantize(model, input_range=RANGE)
    (found,) = (t for t in result.tensors if t.layer == "joined")
    assert found.low <= -1
    assert np.isfinite(found.high)
    assert found.high >= 1
    (values,), (expected,) = run(result.content, model, images(model, 32))
    assert decibels(expected, values) > 32


def test_published_method_reaches_six_deviations_with_each_channel(random):
    """SPIQ: after a BatchNorm a channel's scale is in proportion to |beta| + 6 |gamma|, and none is lost to ties."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(12, 3)(image))
    model = settle(keras.Model(image, layers.Conv2D(4, 3)(x)))
    result = spiq_tf.quantize(model, input_range=RANGE, method="spiq")
    (scales,) = (t.channel_scales for t in result.tensors if t.layer == "norm")
    norm = model.get_layer("norm")
    gamma, beta, variance = (np.asarray(v) for v in (norm.gamma, norm.beta, norm.moving_variance))
    reach = np.abs(beta) + 6 * np.abs(gamma) * np.sqrt(variance / (variance + norm.epsilon))
    np.testing.assert_allclose(np.array(scales) / max(scales), reach / reach.max(), rtol=1e-4)


def test_outputs_keep_the_models_order_and_names():
    model, content = network("two_outputs"), converted("two_outputs")
    from ai_edge_litert.interpreter import Interpreter as LiteRT

    interpreter = LiteRT(model_content=content)
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["image"], "outputs": sorted(model.output_names)}
    }
    runner = interpreter.get_signature_runner()
    x = images(model, 1)
    (detail,) = runner.get_input_details().values()
    scale, zero_point = detail["quantization"]
    got = runner(image=np.clip(np.round(x / scale) + zero_point, -128, 127).astype(np.int8))
    expected = dict(zip(model.output_names, model.predict(x, verbose=0), strict=True))
    for name, y in expected.items():
        scale, zero_point = runner.get_output_details()[name]["quantization"]
        assert decibels(y, (got[name].astype(np.float32) - zero_point) * scale) > 35


@pytest.mark.parametrize("kind", ["int8", "uint8", "float32"])
def test_types_of_inputs_and_outputs(kind):
    content = converted("residual", inference_input_type=kind, inference_output_type=kind)
    flat = FlatModel(content)
    for index in (*flat.subgraph.inputs, *flat.subgraph.outputs):
        assert flat.dtype(int(index)) == np.dtype(kind)
    x, (expected,) = examples("residual")
    (found,) = run_file(content, x)
    assert decibels(expected, found) > 36


def test_types_are_accepted_as_tf_dtypes():
    assert converted("residual", inference_output_type=tf.uint8) == converted("residual", inference_output_type="uint8")


def test_batch_of_the_file():
    flat = FlatModel(converted("residual", batch_size=4))
    assert [flat.shape(int(i))[0] for i in (*flat.subgraph.inputs, *flat.subgraph.outputs)] == [4, 4]


def test_pixels_of_a_model_with_a_rescaling_in_front():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3)(x)))
    model = settle(keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x))), values=(0, 255))
    result = spiq_tf.quantize(model)
    assert (result.tensors[0].low, result.tensors[0].high) == (0.0, 255.0)
    (found,), (expected,) = run(result.content, model, images(model, 32, values=(0, 255)))
    assert decibels(expected, found) > 38


def test_dead_channels_convert():
    """Zero gamma, zero variance and all-zero weights with a large bias: none may spoil its neighbors."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(8, 3, name="conv")(image))
    x = layers.Conv2D(8, 3, name="second", activation="relu")(layers.ReLU()(x))
    model = settle(keras.Model(image, layers.Dense(4)(layers.Flatten()(x))))
    norm, second = model.get_layer("norm"), model.get_layer("second")
    gamma, variance = np.array(norm.gamma), np.array(norm.moving_variance)
    gamma[0], variance[1] = 0.0, 0.0
    norm.gamma.assign(gamma)
    norm.moving_variance.assign(variance)
    kernel, bias = (np.array(w) for w in second.get_weights())
    kernel[..., 2], bias[2] = 0.0, 30.0
    kernel[..., 3], bias[3] = kernel[..., 3] * 1e-9, -20.0
    second.set_weights([kernel, bias])
    (kernel,) = (np.array(w) for w in model.get_layer("conv").get_weights()[:1])
    kernel[..., 1] = 0.0
    model.get_layer("conv").set_weights([kernel, model.get_layer("conv").get_weights()[1]])
    content = spiq_tf.convert(model, input_range=RANGE)
    (found,), (expected,) = run(content, model, images(model, 32))
    assert decibels(expected, found) > 35
    flat = FlatModel(content)
    for tensor in range(len(flat.subgraph.tensors)):
        if flat.dtype(tensor) == np.int32 and flat.is_constant(tensor):
            assert np.abs(flat.value(tensor).astype(np.int64)).max() <= 1.01 * 2**30


def test_channel_whose_variance_is_zero_keeps_the_multipliers_in_bounds():
    """Running variance 0 after a kernel that is not: weights grow by 1 / sqrt(epsilon), the output's range is 0."""
    image = keras.Input((8, 8, 3), name="image")
    norm = layers.BatchNormalization(beta_initializer=keras.initializers.Constant(1e-5), epsilon=1e-9)
    model = keras.Model(image, norm(layers.Conv2D(4, 3, use_bias=False)(image)))
    norm.moving_variance.assign(np.zeros(4))
    content = spiq_tf.convert(model, input_range=RANGE)
    for delegate in (True, False):
        Interpreter(content, delegate=delegate).run([images(model, 1)])


def test_a_map_that_is_dead_everywhere_converts():
    image = keras.Input((8, 8, 3), name="image")
    dead = layers.Conv2D(4, 3, activation="relu", bias_initializer=keras.initializers.Constant(-9.0))(image)
    alive = layers.Conv2D(4, 3, activation="relu")(image)
    joined = layers.Concatenate()([layers.GlobalAveragePooling2D()(v) for v in (dead, alive)])
    model = keras.Model(image, layers.Dense(3)(joined))
    (found,), (expected,) = run(spiq_tf.convert(model, input_range=RANGE), model, images(model, 16))
    assert decibels(expected, found) > 33


def test_output_that_a_float_operator_reads_too():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.BatchNormalization()(layers.Conv2D(6, 3)(image))
    model = settle(keras.Model(image, [x, layers.Conv2D(4, 1)(layers.LeakyReLU(0.2)(x))]))
    for kind in ("int8", "uint8", "float32"):
        content = spiq_tf.convert(model, input_range=RANGE, inference_output_type=kind)
        flat = FlatModel(content)
        assert [flat.dtype(int(i)) for i in flat.subgraph.outputs] == [np.dtype(kind)] * 2
        for y, reference in zip(*run(content, model, images(model, 16)), strict=True):
            assert decibels(reference, y) > 29


def test_average_by_an_operation_is_not_cut():
    """keras.ops.mean has no rule: sampled with a level that an image's positions share."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, use_bias=False)(image)))
    model = settle(keras.Model(image, layers.Dense(4)(keras.ops.mean(x, axis=(1, 2)))))
    (found,), (expected,) = run(spiq_tf.convert(model, input_range=RANGE), model, images(model, 32))
    assert decibels(expected, found) > 37


@pytest.mark.filterwarnings("ignore::spiq_tf.FloatOperatorWarning")
def test_a_function_of_a_narrow_domain_and_a_fixed_batch():
    image = keras.Input((8, 8, 3), batch_size=1, name="image")
    x = keras.ops.log(layers.Conv2D(4, 3, activation="relu")(image) + 1.0)
    model = keras.Model(image, layers.Dense(3)(keras.ops.reshape(x, (1, 144))))
    interpreter = Interpreter(spiq_tf.convert(model, input_range=RANGE))
    x = images(model, 16)
    found = np.concatenate([interpreter.run([v[None]])[0] for v in x])
    expected = np.concatenate([model.predict(v[None], verbose=0) for v in x])
    assert decibels(expected, found) > 29


def test_names_of_a_signature_are_distinct():
    image = keras.Input((8, 8, 3), name="image")
    a = layers.ReLU(name="x")(layers.Conv2D(4, 3)(image))
    model = keras.Model(image, [a, a, layers.Conv2D(2, 1, name="x_1")(a)])
    (signature,) = FlatModel(spiq_tf.convert(model, input_range=RANGE)).model.signatureDefs
    assert [m.name for m in signature.outputs] == [b"x", b"x_2", b"x_1"]


def test_keys_of_a_dict_name_the_outputs():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3)(image)
    model = keras.Model(image, {"mask": layers.Conv2D(2, 1)(x), "edges": layers.Conv2D(3, 1)(x)})
    flat = FlatModel(spiq_tf.convert(model, input_range=RANGE))
    (signature,) = flat.model.signatureDefs
    assert {m.name: flat.shape(m.tensorIndex)[-1] for m in signature.outputs} == {b"edges": 3, b"mask": 2}


def test_output_that_always_names_one_class_is_warned_of():
    """Three close scores beside one far below them: one scale for all makes the three equal."""
    image = keras.Input((8, 8, 3), name="image")
    scores = layers.Dense(4, name="scores")
    model = keras.Model(image, scores(layers.Flatten()(layers.Conv2D(6, 3)(image))))
    kernel, bias = (np.array(w) for w in scores.get_weights())
    kernel[:, 3] *= 3000
    bias[3] = -30000.0
    scores.set_weights([kernel, bias])
    with pytest.warns(spiq_tf.DegenerateOutputWarning, match=r"scores.*always names one class"):
        spiq_tf.convert(model, input_range=RANGE)


def test_a_picture_whose_brightest_value_stays_in_its_place_names_classes_all_the_same(random):
    """The classes of a map are those of its positions."""
    expected = random.uniform(size=(8, 1, 4, 4, 3)).astype(np.float32)
    found = np.round(expected, 1)
    found[:, 0, 2, 2, 1] = 2.0
    assert degenerate_output.degenerate_output("picture", expected, found) is None
    found[..., 0] = 3.0
    assert "always names one class" in degenerate_output.degenerate_output("picture", expected, found)


def test_output_that_cannot_vary_is_warned_of():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.ReLU()(layers.Conv2D(4, 3, name="conv")(image))
    model = keras.Model(image, layers.Dense(3, name="scores")(layers.Flatten()(x)))
    model.get_layer("conv").set_weights([np.zeros((3, 3, 3, 4)), np.full(4, -1.0)])
    with pytest.warns(spiq_tf.DegenerateOutputWarning, match="scores.*same for every input"):
        spiq_tf.convert(model, input_range=RANGE)


@pytest.mark.parametrize(("low", "high", "most"), [(-1.0, 1.0, 0.3), (0.0, 1.0, 0.001), (0.0, 255.0, 0.001)])
def test_pixels_are_not_rounded_by_half_a_step_each(low, high, most):
    """Root mean square error of 256 pixels, in steps: 0 where the grid meets them, 0.29 where errors are spread."""
    detail = Interpreter(converted("residual", input_range=(low, high)))._inputs[0]
    scale, zero_point = detail["quantization"]
    pixels = np.linspace(low, high, 256)
    integers = np.clip(np.rint((pixels / scale).astype(np.float32)) + zero_point, -128, 127)
    error = (integers - zero_point) - pixels / scale
    assert np.sqrt(np.mean(error**2)) < most
    assert scale < 1.01 * (high - low) / 255


def test_pixels_behind_a_rescaling_are_not_rounded_by_half_a_step_each():
    """The same of the tensor that a Rescaling to [-1, 1] makes: 0.5 without, 0.29 where errors are spread."""
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Rescaling(1 / 127.5, -1, name="rescaled")(image)
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x))
    model = settle(keras.Model(image, layers.Conv2D(3, 1)(layers.ReLU()(x))), values=(0, 255))
    result = spiq_tf.quantize(model, input_range=(0, 255))
    pixels = np.arange(256, dtype=np.float32).repeat(3).reshape(1, 16, 16, 3)
    (found,) = (n for n in spiq_tf.verify(model, result, inputs=pixels).layers if n.layer == "rescaled")
    error = np.sqrt(np.mean((pixels / 127.5 - 1) ** 2) / 10 ** (found.own_db / 10))
    assert error / (2 / 255) < 0.35


def test_a_leaky_relu_beside_others_in_a_concatenation(random):
    """XNNPACK refuses a concatenation whose inputs' scales differ in the last bit."""
    image = keras.Input((10, 10, 3), name="image")
    parts = [layers.LeakyReLU(0.1)(layers.Conv2D(4, 3)(image)), layers.ReLU(0.7)(layers.Conv2D(4, 3)(image))]
    x = layers.Concatenate()([*parts, layers.Conv2D(4, 3)(image)])
    model = settle(keras.Model(image, layers.Conv2D(3, 1)(x)))
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert result.float_operators == ()
    (found,), (expected,) = run(result.content, model, images(model, 32))
    assert decibels(expected, found) > 29


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("hard_silu", -3.0, None), ("tanh", -3.9, 3.9), ("gelu", -2.5, None)]
)
def test_what_an_activation_is_flat_for_is_not_held(kind, low, high):
    """hard_silu is 0 below -3; tanh and GELU move by 1 / 2048 of their extent from there on. A user's range and
    that of a tensor that others read stay."""
    image = keras.Input((8, 8, 3), name="image")
    norm = layers.BatchNormalization(name="norm", gamma_initializer=keras.initializers.Constant(5.0))
    x = norm(layers.Conv2D(4, 3)(image))
    y = layers.Activation(kind)(x)
    alone, shared = (keras.Model(image, layers.Conv2D(2, 1)(v)) for v in (y, layers.Concatenate()([x, y])))

    def held(model, **options):
        tensors = spiq_tf.quantize(model, input_range=RANGE, **options).tensors
        return next((t.low, t.high) for t in tensors if t.layer == "norm")

    found = held(alone)
    assert found[0] == pytest.approx(low, abs=0.3)
    assert found[1] == pytest.approx(high, abs=0.3) if high else found[1] > 10
    assert held(shared)[0] < -10
    assert held(alone, ranges={"norm": (-8.0, 8.0)}) == (-8.0, 8.0)


@pytest.mark.parametrize("delegate", [True, False], ids=["xnnpack", "plain kernels"])
@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("DEPTH_TO_SPACE", lambda x: tf.nn.depth_to_space(x, 2)),
        ("REVERSE_V2", lambda x: tf.reverse(x, [1, 2])),
        ("L2_NORMALIZATION", lambda x: tf.nn.l2_normalize(x, axis=-1)),
        ("LOG_SOFTMAX", tf.nn.log_softmax),
        ("SPACE_TO_BATCH_ND", lambda x: tf.nn.space_to_batch(x, [2, 2], [[0, 0], [0, 0]])[:1]),
    ],
)
def test_operators_that_the_quantizer_does_not_know(kind, function, delegate):
    """They have int8 kernels: the file is all integer, and errs by what one layer may."""
    image = keras.Input((8, 8, 3), name="image")
    shapes = {"DEPTH_TO_SPACE": (16, 16, 2), "SPACE_TO_BATCH_ND": (4, 4, 8)}
    last = layers.Lambda(function, output_shape=shapes.get(kind, (8, 8, 8)), name="last")
    model = settle(keras.Model(image, last(conv_bn(image, 8))))
    result = spiq_tf.quantize(model, input_range=RANGE)
    flat = FlatModel(result.content)
    assert result.float_operators == ()
    assert kind in {flat.kind(o) for o in flat.operators}
    x, interpreter = images(model, 16), Interpreter(result.content, delegate=delegate)
    expected = np.stack([np.asarray(model(v[None]))[0] for v in x])
    found = np.stack([interpreter.run([v[None]])[0][0] for v in x])
    scale = flat.quantization(int(flat.subgraph.outputs[0])).scale
    assert np.sqrt(np.mean((found - expected) ** 2)) < 2 * scale


@pytest.mark.parametrize("padding", ["causal", "same", "valid"])
def test_two_dilated_convolutions_of_one_tensor(padding):
    """A gated block of WaveNet: what the converter moves to batches for both stays integer."""
    sound = keras.Input((32, 8), name="sound")
    x = conv_bn_1d(sound)
    gates = [layers.Conv1D(8, 2, padding=padding, dilation_rate=2, activation=a)(x) for a in ("tanh", "sigmoid")]
    model = settle(keras.Model(sound, layers.Conv1D(4, 1)(layers.Multiply()(gates))))
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert result.float_operators == ()
    assert spiq_tf.verify(model, result).sqnr_db > 25


def conv_bn_1d(x):
    return layers.ReLU()(layers.BatchNormalization()(layers.Conv1D(8, 2, padding="causal")(x)))


@pytest.mark.parametrize("value", [-np.inf, float(np.finfo(np.float32).min), -1e9])
def test_padding_below_all_values_in_front_of_a_maximum(value):
    """As keras_hub's ResNetV2 has it: level with what a maximum over the map alone has, by 2 dB."""
    found = []
    for padded in (True, False):
        image = keras.Input((16, 16, 3), name="image")
        x = conv_bn(image, 8)
        x = keras.ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=value) if padded else x
        model = settle(keras.Model(image, layers.Conv2D(4, 3)(layers.MaxPooling2D(3, 2)(x))))
        found.append(spiq_tf.verify(model, spiq_tf.quantize(model, input_range=RANGE)).sqnr_db)
    assert found[0] > found[1] - 2


def test_padding_with_another_number():
    """Which the file has to hold beside the values."""
    image = keras.Input((16, 16, 3), name="image")
    x = keras.ops.pad(conv_bn(image, 8), [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=20.0)
    model = settle(keras.Model(image, layers.Conv2D(4, 3)(x)))
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert max(t.high for t in result.tensors) >= 19.9
    assert spiq_tf.verify(model, result).sqnr_db > 25


def test_a_scale_that_an_operator_fixes_is_told_as_it_is():
    """Beside an addend of a thousand XNNPACK would have a sigmoid's wider, which it cannot be."""
    image, other = keras.Input((8, 8, 3), name="image"), keras.Input((8, 8, 3), name="other")
    gate = layers.Activation("sigmoid")(layers.Conv2D(3, 1)(image))
    model = settle(keras.Model([image, other], layers.Conv2D(2, 1)(layers.Add()([gate, other]))))
    result = spiq_tf.quantize(model, input_range={"image": RANGE, "other": (-1000, 1000)})
    for tensor in result.tensors:
        assert tensor.high - tensor.low == pytest.approx(255 * tensor.scale, rel=1e-4)

"""What users say of single layers, and what the report says of a conversion."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import spiq_tf
from spiq_tf.tflite.flatbuffer import FlatModel
from tests.conversions import examples, network, quantized
from tests.networks import NETWORKS, RANGE, images, settle
from tests.oracles import decibels, run_file


def quantize(model, **options):
    return spiq_tf.quantize(model, input_range=RANGE, **options)


def tensor(result, layer):
    (found,) = (t for t in result.tensors if t.layer == layer)
    return found


@pytest.mark.fast
def test_given_range_is_the_files():
    """Outputs are cut where the user says, and stand as far apart."""
    (x,), (y,) = examples("named")
    low, high = np.quantile(y, 0.2), np.quantile(y, 0.8)
    result = quantize(network("named"), ranges={"scores": (low, high)})
    found = tensor(result, "scores")
    assert found.scale == pytest.approx((high - low) / 255, rel=1e-6)
    assert found.source == "given"
    (values,) = run_file(result.content, x)
    assert values.min() == pytest.approx(low, abs=found.scale)
    assert values.max() == pytest.approx(high, abs=found.scale)
    assert np.sqrt(np.mean((values - np.clip(y, low, high)) ** 2)) < 0.05 * (high - low)


def test_given_range_inside_the_model_has_no_scales_and_bounds_what_follows():
    model = network("preactivation")
    names = [t.layer for t in quantized("preactivation").tensors if t.layer and "re_lu" in t.layer]
    result = quantize(model, ranges={names[-1]: (0.0, 2.0)})
    found = tensor(result, names[-1])
    assert (found.low, found.high) == pytest.approx((0.0, 2.0))
    assert set(found.channel_scales) == {1.0}
    averages = [t for t in result.tensors if t.layer and "global_average" in t.layer]
    assert all(t.high <= 2.0 * 1.001 for t in averages)


class Bent(layers.Layer):
    """A layer that no rule describes and that the converter can join with no other."""

    def call(self, x):
        return x * tf.tanh(tf.reverse(x, [1]))


def with_layer(layer, activation="silu"):
    image = keras.Input((8, 8, 3), name="image")
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, padding="same", name="conv")(image))
    x = layer(layers.Activation(activation, name="swish")(x))
    return settle(keras.Model(image, layers.Conv2D(4, 3, name="last")(x)))


def test_given_range_of_an_unknown_layer_replaces_the_sampled_one():
    model = with_layer(Bent(name="unknown"))
    assert tensor(quantize(model), "unknown").source == "fallback"
    found = tensor(quantize(model, ranges={"unknown": (0.0, 1.0)}), "unknown")
    assert (found.low, found.high, found.source) == (0.0, pytest.approx(1.0), "given")


class Blend(layers.Layer):
    """Read as several operations, of which the last is the layer's output."""

    def call(self, x):
        return keras.ops.tanh(x) + 0.5 * keras.ops.sigmoid(x)


def test_given_range_of_a_layer_that_is_read_as_several():
    result = quantize(with_layer(Blend(name="blend")), ranges={"blend": (-1.0, 1.25)})
    found = tensor(result, "blend/add")
    assert (found.low, found.high, found.source) == (-1.0, pytest.approx(1.25), "given")


class Twice(layers.Layer):
    def call(self, x):
        return 2.0 * tf.nn.relu(x)


def test_range_of_a_layer_that_the_converter_joins_with_the_next():
    with pytest.raises(spiq_tf.InvalidArgumentError, match="has fused layer 'twice' with others"):
        quantize(with_layer(Twice(name="twice"), activation="relu"), ranges={"twice": (0.0, 1.0)})


def test_ranges_reach_the_rewritten_model():
    model = network("named")
    x = images(model, 4)
    rewritten = spiq_tf.rewrite(model, input_range=RANGE, ranges={"relu": (0.0, 2.0)})
    np.testing.assert_allclose(rewritten.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(rewritten.get_layer("norm").gamma, model.get_layer("norm").gamma)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"conv": (-1, 1)}, "give the range of 'relu'"),
        ({"cov": (-1, 1)}, "no layer 'cov'; names like it are conv"),
        ({"image": (-1, 1)}, "give its range as input_range"),
        ({"relu": (1, 2)}, "low <= 0 <= high"),
        ({"relu": (0, np.inf)}, "finite"),
        ({"relu": 3}, "two numbers for layer 'relu'"),
        ([("relu", (0, 1))], "expected a mapping"),
    ],
)
def test_wrong_ranges(ranges, message):
    with pytest.raises(spiq_tf.InvalidArgumentError, match=message):
        quantize(network("named"), ranges=ranges)


def test_range_that_an_operator_fixes():
    with pytest.raises(spiq_tf.InvalidArgumentError, match="int8 operators fix"):
        quantize(network("two_outputs"), ranges={"mask": (0.0, 0.5)})


def test_a_model_whose_layers_all_stay_float_computes_what_keras_computes():
    """But for the int8 input: to within the rounding of float32."""
    (x,), _ = examples("depthwise")
    result = quantized("depthwise", float_layers=("*",), inference_output_type="float32")
    scale, zero_point = result.tensors[0].scale, result.tensors[0].zero_point
    rounded = (np.clip(np.rint(x / scale) + zero_point, -128, 127) - zero_point) * scale
    expected = quantized("depthwise").rewritten_model.predict(rounded, verbose=0)
    (found,) = run_file(result.content, x)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("name", "patterns", "kept"),
    [
        ("named", ("conv",), ["CONV_2D (relu)"]),  # in one operator with its BatchNorm and ReLU
        ("named", ("norm", "sc?res"), ["CONV_2D (relu)", "FULLY_CONNECTED (scores)"]),
        ("named", ("join",), ["CONCATENATION (join)"]),
        ("nested", ("tail/*",), ["REDUCE_MAX", "FULLY_CONNECTED", "SOFTMAX"]),
        ("nested", ("tail",), ["REDUCE_MAX", "FULLY_CONNECTED", "SOFTMAX"]),
        ("shared_layer", ("both",), ["CONV_2D", "CONV_2D"]),
        ("shared_in_series", ("again:call2",), ["CONV_2D (again:call2)"]),
    ],
)
def test_float_layers(name, patterns, kept):
    """Exactly the operators asked for are float, and the file works with the delegate and without it."""
    result = quantized(name, float_layers=patterns)
    assert len(result.float_operators) == len(kept)
    assert all(found.startswith(start) for found, start in zip(result.float_operators, kept, strict=True))
    x, (expected,) = examples(name)
    for delegate in (True, False):
        assert decibels(expected, run_file(result.content, x, delegate)[0]) > 29


def test_weights_of_a_float_layer_are_those_of_the_rewritten_model():
    result = quantized("named", float_layers=("scores",))
    flat = FlatModel(result.content)
    (dense,) = (o for o in flat.operators if flat.kind(o) == "FULLY_CONNECTED")
    kernel = np.asarray(result.rewritten_model.get_layer("scores").kernel)
    np.testing.assert_array_equal(flat.value(int(dense.inputs[1])), kernel.T)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["x*"], r"no layer matches 'x\*'"),
        (["scoers"], "names like it are scores"),
        ("conv", "expected a list"),
        ([3], "expected names"),
    ],
)
def test_wrong_float_layers(given, message):
    with pytest.raises(spiq_tf.InvalidArgumentError, match=message):
        quantize(network("named"), float_layers=given)


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"depthwise", "saturating_addition"}))
def test_report_says_of_every_tensor_without_scales_why(name):
    """Where scales are free none comes out at exactly 1, but for those that stop there below a ReLU6."""
    result = quantized(name)
    explained = {t.name for t in result.report().unscaled}
    assert explained == {t.name for t in result.tensors if t.channel_scales and 1.0 in t.channel_scales}


def test_report_in_words():
    model = with_layer(Bent(name="unknown"))
    lines = str(quantize(model, float_layers=["last"]).report()).splitlines()
    assert lines[:2] == ["Operators that stay float: 1", "  CONV_2D (last)"]
    assert any(line.startswith("  unknown: [") for line in lines)
    assert "Ranges of the model's inputs, inferred from the model: none" in lines
    assert "  norm (layer swish does not commute with a channel scale)" in lines
    assert "  last (is a model output)" in lines


def test_floats_beside_those_that_were_asked_for_are_warned_of():
    volume = keras.Input((4, 8, 8, 3), name="volume")
    model = keras.Model(volume, layers.Conv3D(2, 3, name="second")(layers.Conv3D(2, 1, name="first")(volume)))
    with pytest.warns(spiq_tf.FloatOperatorWarning, match=r"CONV_3D \(second\) has no int8 form") as caught:
        quantize(model, float_layers=["first"])
    assert "first" not in str(caught[0].message)

"""The check of finished files: silent on ours, on every target that takes them; each broken rule is found by name."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from keras import layers

import spiq_tf
from spiq_tf.commands.main import main
from spiq_tf.targets import TARGETS
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.silence import silence
from tests import tiers
from tests.conversions import converted
from tests.networks import NETWORKS, RANGE, Mixing, conv_bn, settle
from tests.tiers import with_fast


def network():
    """A convolution, a gate, halves that change places, a sum, a pool, a concatenation and a Dense."""
    image = keras.Input((8, 8, 3), name="image")
    x = conv_bn(image, 4, activation=layers.ReLU())
    x = layers.Multiply()([x, layers.Conv2D(4, 1, activation="sigmoid", name="gate")(x)])
    x = layers.Add()([x, layers.Concatenate()(keras.ops.split(conv_bn(x, 4), 2, axis=-1)[::-1])])
    x = layers.Concatenate(name="joined")([layers.MaxPooling2D(2)(x), conv_bn(layers.MaxPooling2D(2)(x), 4)])
    return settle(keras.Model(image, layers.Dense(3, name="scores")(layers.Flatten()(x))))


def broken(content, target="portable"):
    """Violations but those that only slow the file."""
    return tuple(violation for violation in spiq_tf.check(content, target) if not violation.slows)


@pytest.fixture(scope="module")
def content():
    return spiq_tf.convert(network(), input_range=RANGE)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", with_fast(NETWORKS, tiers.NETWORKS))
def test_files_keep_to_the_rules(name, target):
    assert broken(converted(name), target) == ()


@pytest.mark.parametrize("types", [("uint8", "uint8"), ("float32", "float32"), ("uint8", "float32")])
@pytest.mark.parametrize("target", ["portable", "xnnpack"])
def test_types_at_the_ends_are_no_violation(types, target):
    content = converted("residual", inference_input_type=types[0], inference_output_type=types[1])
    assert broken(content, target) == ()


def first(flat, kind):
    return next(operator for operator in flat.operators if flat.kind(operator) == kind)


def scale_of(flat, index):
    """The scales, to be changed in place."""
    quantization = flat.tensor(index).quantization
    quantization.scale = np.array(quantization.scale)
    return quantization.scale


def zero_point_of(flat, index):
    quantization = flat.tensor(index).quantization
    quantization.zeroPoint = np.array(quantization.zeroPoint)
    return quantization.zeroPoint


def wrong_bias_scale(flat):
    scale_of(flat, int(first(flat, "CONV_2D").inputs[2]))[1] *= 1.01


def mismatched_concatenation(flat):
    scale_of(flat, int(first(flat, "CONCATENATION").inputs[0]))[0] *= 1.5


def zero_point_out_of_range(flat):
    zero_point_of(flat, int(first(flat, "MUL").outputs[0]))[0] = 128


def multiplier_out_of_range(flat):
    scale_of(flat, int(first(flat, "CONV_2D").outputs[0]))[0] = 1e-9


def too_new_a_version(flat):
    flat.model.operatorCodes[first(flat, "CONV_2D").opcodeIndex].version = 8


def asymmetric_weights(flat):
    zero_point_of(flat, int(first(flat, "CONV_2D").inputs[1]))[0] = 3


def wide_weights(flat):
    index = int(first(flat, "CONV_2D").inputs[1])
    value = flat.value(index).copy()
    value.flat[0] = -128
    flat.set_value(index, value)


def scales_along_the_wrong_axis(flat):
    flat.tensor(int(first(flat, "CONV_2D").inputs[1])).quantization.quantizedDimension = 3


def gate_with_another_scale(flat):
    scale_of(flat, int(first(flat, "LOGISTIC").outputs[0]))[0] = 1 / 255


def addend_out_of_range(flat):
    scale_of(flat, int(first(flat, "ADD").outputs[0]))[0] = 1e-9


def weights_without_scales(flat):
    flat.tensor(int(first(flat, "CONV_2D").inputs[1])).quantization.scale = None


def input_without_scale(flat):
    flat.tensor(int(flat.subgraph.inputs[0])).quantization = None


def weights_of_nan(flat):
    scale_of(flat, int(first(flat, "CONV_2D").inputs[1]))[0] = np.nan


def bias_with_a_zero_point(flat):
    zero_point_of(flat, int(first(flat, "CONV_2D").inputs[2]))[0] = 1


def second_half_with_another_scale(flat):
    scale_of(flat, int(first(flat, "SPLIT").outputs[1]))[0] *= 3


def custom_operator(flat):
    code = flat.model.operatorCodes[first(flat, "MUL").opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"MyOwn"


def activation_behind_a_concatenation(flat):
    first(flat, "CONCATENATION").builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU


def no_scale(flat):
    scale_of(flat, int(first(flat, "MUL").outputs[0]))[0] = 0.0


def unknown_batch(flat):
    index = int(flat.subgraph.inputs[0])
    flat.tensor(index).shapeSignature = np.array([-1, *flat.shape(index)[1:]], np.int32)


def unknown_height(flat):
    index = int(flat.subgraph.inputs[0])
    flat.tensor(index).shapeSignature = np.array([1, -1, *flat.shape(index)[2:]], np.int32)


def float_tensor(flat):
    index = int(first(flat, "MUL").outputs[0])
    flat.tensor(index).type, flat.tensor(index).quantization = schema.TensorType.FLOAT32, None


def activation_behind_a_pool(flat):
    first(flat, "MAX_POOL_2D").builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU


MUTATIONS = [
    (wrong_bias_scale, "portable", "bias scale", "CONV_2D"),
    (bias_with_a_zero_point, "portable", "bias", "CONV_2D"),
    (mismatched_concatenation, "portable", "shared scale", "CONCATENATION"),
    (second_half_with_another_scale, "portable", "shared scale", "SPLIT"),
    (zero_point_out_of_range, "portable", "zero point", "Mul"),
    (multiplier_out_of_range, "portable", "multiplier", "CONV_2D"),
    (multiplier_out_of_range, "xnnpack", "multiplier", "CONV_2D"),
    (addend_out_of_range, "tflite-micro", "multiplier", "ADD"),
    (too_new_a_version, "edgetpu", "operator version", "CONV_2D"),
    (custom_operator, "portable", "operator", "CUSTOM"),
    (asymmetric_weights, "portable", "symmetric weights", "CONV_2D"),
    (wide_weights, "portable", "symmetric weights", "CONV_2D"),
    (weights_without_scales, "portable", "weight scales", "CONV_2D"),
    (weights_of_nan, "portable", "weight scales", "CONV_2D"),
    (scales_along_the_wrong_axis, "portable", "weight scales", "CONV_2D"),
    (gate_with_another_scale, "portable", "fixed scale", "LOGISTIC"),
    (no_scale, "portable", "activation scale", "Mul"),
    (input_without_scale, "portable", "activation scale", "input0"),
    (unknown_batch, "edgetpu", "static shapes", "input0"),
    (unknown_height, "portable", "static shapes", "input0"),
    (float_tensor, "ethos-u", "float operator", "MUL"),
    (activation_behind_a_pool, "edgetpu", "fused activation", "MAX_POOL_2D"),
    (activation_behind_a_concatenation, "edgetpu", "fused activation", "CONCATENATION"),
]
"""A change to the file, the target whose rule it breaks, and the operator or tensor that must be named."""


@pytest.mark.fast
@pytest.mark.parametrize(("mutate", "target", "rule", "named"), MUTATIONS, ids=lambda v: getattr(v, "__name__", v))
def test_each_broken_rule_is_found(content, mutate, target, rule, named):
    assert spiq_tf.check(content, target) == ()
    flat = FlatModel(content)
    mutate(flat)
    found = [v for v in spiq_tf.check(flat.content(), target) if v.rule == rule]
    assert any(named in str(v).split(f": {rule}: ")[0] for v in found)
    assert all(v.found and v.advice for v in found)


def test_an_open_batch_is_no_violation_where_it_runs(content):
    flat = FlatModel(content)
    unknown_batch(flat)
    assert spiq_tf.check(flat.content(), "xnnpack") == ()


class Winner(layers.Layer):
    """The largest entry's index, int64."""

    def call(self, x):
        return tf.argmax(x, axis=-1)


@pytest.mark.fast
def test_a_file_of_tensorflow_s_own_converter():
    """Open batch, an operator with int64 output, Dense weights with a scale for each output, constants unaligned."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Dense(3)(layers.Flatten()(layers.ReLU()(layers.Conv2D(4, 3)(image))))
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, Winner()(x)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([np.full((1, 8, 8, 3), v, np.float32)] for v in (-1.0, 1.0))
    with silence():
        content = converter.convert()
    assert broken(content, "xnnpack") == ()
    assert {v.rule for v in spiq_tf.check(content)} <= {"per-channel Dense", "alignment"}


def test_constants_elsewhere_than_at_multiples_of_16(content):
    packed = bytes(flatbuffer_utils.convert_object_to_bytearray(FlatModel(content).model))
    assert [v.rule for v in spiq_tf.check(packed, "tflite-micro")] == ["alignment"]
    assert spiq_tf.check(packed, "xnnpack") == ()


def test_a_product_s_constant_with_a_scale_for_each_channel():
    """As the quantizer makes them when it is left alone."""
    x = keras.Input((6, 8), name="x")
    flat = FlatModel(spiq_tf.convert(keras.Model(x, Mixing()(x)), input_range=RANGE))
    assert spiq_tf.check(flat.content()) == ()
    constant = next(int(i) for i in first(flat, "BATCH_MATMUL").inputs if flat.is_constant(int(i)))
    quantization = flat.tensor(constant).quantization
    quantization.scale, quantization.zeroPoint = np.tile(scale_of(flat, constant), 6), np.zeros(6, np.int64)
    (found,) = spiq_tf.check(flat.content())
    assert (found.rule, found.operator) == ("constant scale", "0 BATCH_MATMUL")


def test_dense_with_a_scale_for_each_output():
    content = spiq_tf.convert(network(), input_range=RANGE, per_channel_dense=True)
    assert [v.rule for v in spiq_tf.check(content)] == ["per-channel Dense"]
    assert spiq_tf.check(content, "xnnpack") == ()


@pytest.mark.parametrize(
    ("layer", "options", "target", "rule"),
    [
        (layers.Activation("hard_silu"), {"target": "ethos-u"}, "edgetpu", "operator"),
        (layers.Activation("softplus"), {}, "ethos-u", "operator"),
        (layers.ReLU(), {"batch_size": 2}, "edgetpu", "batch"),
        (layers.Activation("gelu"), {}, "tflite-micro", "operator"),
        (layers.ReLU(name="kept"), {"float_layers": ["kept"]}, "portable", "float operator"),
        (layers.PReLU("random_normal"), {}, "edgetpu", "slopes"),
        (lambda x: layers.Permute((2, 1, 3, 4))(layers.Reshape((2, 4, 4, 8))(x)), {}, "edgetpu", "rank"),
    ],
    ids=["hard swish", "table", "batch", "gelu", "float layer", "slopes", "rank"],
)
def test_what_a_target_does_not_take(layer, options, target, rule):
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Flatten()(layer(layers.Conv2D(4, 3, padding="same")(image)))
    model = settle(keras.Model(image, layers.Dense(2)(x)))
    found = spiq_tf.check(spiq_tf.convert(model, input_range=RANGE, **options), target)
    assert rule in {v.rule for v in found}


@pytest.mark.fast
def test_what_the_delegate_leaves_is_listed_for_xnnpack_alone():
    """A file whose pool and softmax XNNPACK leaves: pieces first, then the operators in order."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.AveragePooling2D(3, strides=1)(layers.Conv2D(4, 3)(image))
    model = settle(keras.Model(image, layers.Dense(3, activation="softmax")(layers.Flatten()(x))))
    content = spiq_tf.convert(model, input_range=RANGE, target="tflite-micro")
    pieces, pool, softmax = spiq_tf.check(content, "xnnpack")
    assert (pieces.rule, pieces.operator, pieces.tensor) == ("delegated pieces", None, "")
    assert pieces.found == "expected one piece of 5 operators, found 2 of 3"
    assert [v.rule for v in (pool, softmax)] == ["outside the delegate"] * 2
    assert [v.operator for v in (pool, softmax)] == ["1 AVERAGE_POOL_2D", "4 SOFTMAX"]
    assert pool.found == "expected float32, found int8"
    assert pool.tensor == FlatModel(content).name(int(first(FlatModel(content), "AVERAGE_POOL_2D").outputs[0]))
    assert all(v.slows and v.advice for v in (pieces, pool, softmax))
    for target in set(TARGETS) - {"xnnpack"}:
        assert not any(v.slows for v in spiq_tf.check(content, target))


def test_an_unknown_target_and_a_file_that_is_none(tmp_path, content):
    with pytest.raises(spiq_tf.InvalidArgumentError, match=r"'portable', 'edgetpu'.*found 'tpu'"):
        spiq_tf.check(b"", "tpu")
    with pytest.raises(spiq_tf.ModelFileError, match="without the mark TFL3"):
        spiq_tf.check(b"no file at all")
    with pytest.raises(spiq_tf.ModelFileError, match=r"^expected a TFLite file with a model in it, found no subgraphs"):
        spiq_tf.check(b"\0\0\0\0TFL3")
    with pytest.raises(spiq_tf.ModelFileError, match="damaged"):
        spiq_tf.check(content[:500])
    with pytest.raises(spiq_tf.ModelFileError, match=r"gone\.tflite: cannot be read: No such file"):
        spiq_tf.check(tmp_path / "gone.tflite")


def test_exit_codes_of_the_command(tmp_path, content, capsys):
    good, bad = tmp_path / "good.tflite", tmp_path / "bad.tflite"
    good.write_bytes(content)
    flat = FlatModel(content)
    wrong_bias_scale(flat)
    bad.write_bytes(flat.content())

    assert main(["check", str(good)]) == 0
    capsys.readouterr()
    assert main(["check", "--target=xnnpack", str(good), str(bad)]) == 1
    printed = capsys.readouterr().out
    assert f"{good}: no violations of the rules of xnnpack" in printed
    assert "bias scale" in printed
    assert main(["check", str(good), str(tmp_path / "gone.tflite"), str(bad)]) == 2
    assert capsys.readouterr().err.count("gone.tflite") == 1
    slow = tmp_path / "slow.tflite"
    slow.write_bytes(converted("nested"))
    assert main(["check", "--target=xnnpack", str(slow)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "delegated pieces: expected one piece of 7 operators, found 1 of 6" in printed[0]
    assert "operator 6 SOFTMAX" in printed[1]
    assert printed[2:] == [f"{slow}: no violations of the rules of xnnpack; 1 operator outside the delegate"]
    assert main(["check", "--no_such_flag", str(good)]) == 2
    assert main(["check"]) == 2


@pytest.mark.parametrize("name", with_fast(NETWORKS, ("residual",)))
def test_vela_leaves_no_operator_on_the_cpu(name, tmp_path):
    """The compiler for Ethos-U itself."""
    file = tmp_path / "model.tflite"
    file.write_bytes(converted(name, target="ethos-u"))
    vela = Path(sys.executable).parent / "vela"
    command = [vela, file, "--accelerator-config", "ethos-u55-128", "--output-dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "CPU operators = 0 (0.0%)" in done.stdout


@pytest.mark.parametrize("name", with_fast(NETWORKS, tiers.NETWORKS))
def test_tflite_micro_computes_what_the_reference_kernels_do(name):
    """Within a step of the output's scale: MEAN rounds otherwise there."""
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason="Linux only")
    content = converted(name)
    micro = runtime.Interpreter.from_bytes(content)
    reference = litert.Interpreter(
        model_content=content, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF
    )
    reference.allocate_tensors()
    random = np.random.default_rng(0)
    for place, detail in enumerate(reference.get_input_details()):
        x = random.integers(-128, 128, detail["shape"]).astype(np.int8)
        micro.set_input(x, place)
        reference.set_tensor(detail["index"], x)
    micro.invoke()
    reference.invoke()
    for place, detail in enumerate(reference.get_output_details()):
        apart = micro.get_output(place).astype(int) - reference.get_tensor(detail["index"]).astype(int)
        assert np.abs(apart).max() <= 1

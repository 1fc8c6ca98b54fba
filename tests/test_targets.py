"""`target=` of the conversion: what a target does not map is replaced, and what it still does not take is said."""

import pkgutil

import keras
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

import spiq_tf
from spiq_tf import targets
from spiq_tf.targets import TARGETS
from spiq_tf.tflite.flatbuffer import FlatModel
from tests.conversions import converted, network, quantized
from tests.converted_files import kinds_of
from tests.networks import RANGE, conv_bn, images, settle
from tests.oracles import decibels, run_file


@pytest.fixture(scope="module")
def swished():
    """Hard swishes on maps and vectors, leaky ReLUs of slopes below and above 1."""
    image = keras.Input((16, 16, 3))
    x = conv_bn(image, 16, activation=layers.Activation("hard_swish"), strides=2)
    y = conv_bn(x, 16, activation=layers.LeakyReLU(0.1))
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    x = layers.Dense(24, activation="hard_swish")(x)
    x = layers.LeakyReLU(1.5)(layers.Dense(24)(x))
    return settle(keras.Model(image, layers.Dense(10)(x)))


def noise(content, model):
    """In dB below the output."""
    x = images(model, 64)
    return -decibels(model(x).numpy(), run_file(content, x)[0])


def kinds(content):
    return set(kinds_of(content))


@pytest.mark.fast
def test_operators_that_the_edge_tpu_does_not_map(swished):
    usual = spiq_tf.convert(swished, input_range=RANGE, target="ethos-u")
    mapped = spiq_tf.quantize(swished, input_range=RANGE, target="edgetpu")
    assert {"HARD_SWISH", "LEAKY_RELU"} <= kinds(usual)
    assert not {"HARD_SWISH", "LEAKY_RELU"} & kinds(mapped.content)
    assert mapped.violations == spiq_tf.check(mapped.content, "edgetpu") == ()
    # three values are rounded in place of two
    assert noise(mapped.content, swished) < noise(usual, swished) + 1.5


def test_a_steep_slope_leaves_the_steps_to_what_is_chosen():
    image = keras.Input((16, 16, 3))
    model = settle(keras.Model(image, layers.Dense(4)(layers.LeakyReLU(3.0)(conv_bn(image, 16)))))
    usual = spiq_tf.convert(model, input_range=RANGE)
    assert noise(spiq_tf.convert(model, input_range=RANGE, target="edgetpu"), model) < noise(usual, model) + 3


@pytest.mark.parametrize("target", TARGETS)
def test_no_target_finds_fault_with_its_own_file(swished, target):
    found = spiq_tf.quantize(swished, input_range=RANGE, target=target)
    assert found.violations == spiq_tf.check(found.content, target)
    assert all(violation.slows for violation in found.violations)


def test_what_a_target_does_not_take_is_warned_of():
    image = keras.Input((8, 8, 3))
    model = settle(keras.Model(image, conv_bn(image, 4, activation=layers.Activation("gelu"))))
    with pytest.warns(spiq_tf.TargetWarning, match="target 'edgetpu' does not support all .* operator .* GELU"):
        found = spiq_tf.quantize(model, input_range=RANGE, target="edgetpu")
    assert [v.rule for v in found.violations] == ["operator"]


def test_floats_are_warned_of_only_where_they_do_not_run():
    found = quantized("named", float_layers=("scores",))  # no warning, or the test fails
    assert "float operator" in {v.rule for v in found.violations}
    with pytest.warns(spiq_tf.TargetWarning, match="float operator"):
        converted("named", float_layers=("scores",), target="ethos-u")


@pytest.mark.fast
def test_what_slows_a_file_is_listed_and_not_warned_of():
    found = quantized("nested", target="xnnpack")  # no warning, or the test fails
    pieces, softmax = found.violations
    assert (pieces.rule, softmax.rule, softmax.operator) == ("delegated pieces", "outside the delegate", "6 SOFTMAX")
    assert pieces.slows
    assert softmax.slows
    assert [operator.kind for operator in found.delegation.outside] == ["SOFTMAX"]
    assert found.delegation.pieces == 1
    portable = quantized("nested")
    assert portable.violations == ()
    assert portable.delegation == found.delegation
    assert quantized("nested", target="edgetpu").delegation is None


def dense_scales(content):
    flat = FlatModel(content)
    (dense,) = (o for o in flat.operators if flat.kind(o) == "FULLY_CONNECTED")
    return len(flat.tensor(int(dense.inputs[1])).quantization.scale)


def test_granularity_of_dense_weights():
    outputs = network("residual").output_shape[-1]
    for target, scales in {"portable": 1, "xnnpack": outputs, "edgetpu": 1, "ethos-u": outputs}.items():
        assert dense_scales(converted("residual", target=target)) == scales
    told = quantized("residual", per_channel_dense=True)
    assert dense_scales(told.content) == outputs
    assert told.violations == ()  # the user knows his runtimes
    assert dense_scales(converted("residual", target="xnnpack", per_channel_dense=False)) == 1


@pytest.mark.fast
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "phone"}, "target: expected one of 'portable', .* found 'phone'"),
        ({"target": "edgetpu", "batch_size": 2}, "batch_size: target 'edgetpu' takes 1 at most, found 2"),
        ({"target": "edgetpu", "per_channel_dense": True}, "per_channel_dense: target 'edgetpu' supports one scale"),
    ],
)
def test_options_that_contradict_the_target(options, message):
    with pytest.raises(spiq_tf.InvalidArgumentError, match=message):
        converted("residual", **options)


def test_every_module_of_the_package_is_a_target_of_its_own():
    modules = {module.name for module in pkgutil.iter_modules(targets.__path__)} - {"target"}
    assert len(TARGETS) == len(modules)
    assert {name.replace("-", "_") for name in TARGETS} == modules
    assert next(iter(TARGETS)) == targets.DEFAULT_TARGET


def test_a_new_target_is_one_new_file(tmp_path, monkeypatch):
    content = 'from spiq_tf.targets.target import Target\n\nTARGET = Target(name="phone", operators={"ADD": None})\n'
    (tmp_path / "phone.py").write_text(content)
    monkeypatch.setattr(targets, "__path__", [*targets.__path__, str(tmp_path)])
    (found,) = [target for target in targets.find_targets() if target.name not in TARGETS]
    assert found.name == "phone"
    assert found.runs("ADD")
    assert not found.runs("MUL")
    assert found.highest_version("ADD") is None


@pytest.mark.parametrize("name", TARGETS)
def test_operators_are_those_of_the_schema(name):
    assert set(TARGETS[name].operators or ()) <= vars(schema.BuiltinOperator).keys()


@pytest.mark.parametrize("name", TARGETS)
def test_no_file_is_made_that_the_target_refuses(name):
    """The limit that the conversion keeps to is no wider than the one that the check knows."""
    target = TARGETS[name]
    assert target.largest_multiplier is None or target.requantization.largest <= target.largest_multiplier

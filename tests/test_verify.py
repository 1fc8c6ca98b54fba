"""`spiq_tf.verify` against files that were damaged on purpose, and against numbers worked out by hand."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import interpreter as litert
from keras import layers

import spiq_tf
from spiq_tf.commands.main import main
from spiq_tf.tflite.flatbuffer import FlatModel
from tests.networks import NETWORKS, RANGE, conv_bn, images, settle


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(4)
    image = keras.Input((12, 12, 3), name="image")
    x = image
    for index in range(4):
        x = conv_bn(x, 8, activation=layers.ReLU(name=f"relu_{index}"), name=f"conv_{index}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return settle(keras.Model(image, layers.Dense(5, name="scores")(x)))


@pytest.fixture(scope="module")
def result(model):
    return spiq_tf.quantize(model, input_range=RANGE)


def with_changed(content, place, change):
    """The file with the weights of its n-th operator that has some changed."""
    flat = FlatModel(content)
    operator = [o for o in flat.operators if flat.kind(o) in ("CONV_2D", "FULLY_CONNECTED")][place]
    index = int(operator.inputs[1])
    flat.set_value(index, change(flat.value(index).copy()))
    return flat.content()


@pytest.mark.fast
def test_outputs_against_plain_arithmetic(model, result):
    x = images(model, 24)
    found = spiq_tf.verify(model, result, x)
    interpreter = litert.Interpreter(model_content=result.content)
    interpreter.allocate_tensors()
    (entry,), (exit_,) = interpreter.get_input_details(), interpreter.get_output_details()
    values = []
    for one in x:
        scale, zero_point = entry["quantization"]
        interpreter.set_tensor(
            entry["index"], np.clip(np.round(one[None] / scale) + zero_point, -128, 127).astype("i1")
        )
        interpreter.invoke()
        scale, zero_point = exit_["quantization"]
        values.append((interpreter.get_tensor(exit_["index"]).astype(float) - zero_point) * scale)
    expected, values = model(x).numpy(), np.concatenate(values)
    (output,) = found.outputs
    error = values - expected
    assert output.sqnr_db == pytest.approx(10 * np.log10(np.sum(expected**2) / np.sum(error**2)), abs=0.01)
    assert output.agreement == np.mean(expected.argmax(1) == values.argmax(1))
    bias = np.sqrt(np.sum(error.mean(axis=0) ** 2) / np.sum(expected.var(axis=0)))
    assert output.noise.bias == pytest.approx(bias, rel=1e-3)
    each = np.sum(expected**2, axis=0) / np.sum(error**2, axis=0)
    assert output.noise.worst_channel == each.argmin()
    assert found.problems == ()
    assert (found.examples, found.generated) == (24, False)


def test_layers_in_the_models_units(model, result):
    """What a layer's values are, at most a few steps of the file's scale apart from the float model's."""
    found = {x.layer: x for x in spiq_tf.verify(model, result, images(model, 24)).layers}
    assert {"image", "relu_0", "relu_1", "relu_2", "relu_3", "pool", "scores"} == set(found)
    inner = keras.Model(model.inputs, model.get_layer("relu_0").output)
    power = np.mean(inner(images(model, 24)).numpy() ** 2)
    (told,) = (t for t in result.tensors if t.layer == "relu_0")
    steps = told.scale * np.array(told.channel_scales)
    expected = 10 * np.log10(power / np.mean(steps**2 / 12))  # of rounding alone
    # a share of the values is exactly 0 and not rounded, the input and the weights are rounded too
    assert expected - 8 < found["relu_0"].own_db < expected + 4
    assert found["relu_3"].noise.sqnr_db < found["relu_3"].own_db
    assert sum(x.share for x in found.values()) == pytest.approx(1.0)


@pytest.mark.fast
def test_the_layer_that_is_damaged(model, result):
    def halved(weights):
        weights[:3] //= 2
        return weights

    sound = {x.layer: x for x in spiq_tf.verify(model, result).layers}
    damaged = dataclasses.replace(result, content=with_changed(result.content, 2, halved))
    damaged = spiq_tf.verify(model, damaged)
    assert damaged.costliest(1)[0].layer == "relu_2"
    for finding in damaged.layers:
        if finding.layer == "relu_2":
            assert finding.share > 0.8
            assert finding.own_db < sound["relu_2"].own_db - 10
        else:  # on what they are fed they compute what they should
            assert finding.own_db > sound[finding.layer].own_db - 3
    assert damaged.sqnr_db < spiq_tf.verify(model, result).sqnr_db - 5


@pytest.mark.fast
def test_a_file_alone_shows_nearly_what_the_result_does(model, result, tmp_path):
    x = images(model, 24)
    result.save(tmp_path / "model.tflite")
    alone, whole = spiq_tf.verify(model, tmp_path / "model.tflite", x), spiq_tf.verify(model, result, x)
    assert alone.outputs == whole.outputs
    for one, other in zip(alone.layers, whole.layers, strict=True):
        assert (one.layer, one.tensor) == (other.layer, other.tensor)
        assert other.noise.sqnr_db - 0.1 < one.noise.sqnr_db < other.noise.sqnr_db + 3


def test_files_that_are_useless(model, result):
    def zero(weights):
        return 0 * weights

    (problem,) = spiq_tf.verify(model, with_changed(result.content, 4, zero)).problems
    assert (
        problem == "output 'scores' of the converted file is the same for every input tried; the float model's is not"
    )


def test_what_a_hard_swish_is_flat_for_is_no_problem():
    """Half of what it reads lies below -3, which the file does not hold on purpose; the outputs are as they should."""
    image = keras.Input((16, 16, 3), name="image")
    before = keras.layers.Conv2D(8, 3)
    x = keras.layers.Conv2D(4, 3)(keras.layers.Activation("hard_silu")(before(image)))
    model = settle(keras.Model(image, x))
    before.kernel.assign(4 * before.kernel)
    before.bias.assign([-6.0, 0.0] * 4)
    found = spiq_tf.verify(model, spiq_tf.quantize(model, input_range=RANGE))
    assert max(layer.cut for layer in found.layers) > 0.3
    assert found.problems == ()


def test_a_tensor_that_is_cut_off(model):
    narrow = spiq_tf.quantize(model, input_range=RANGE, ranges={"relu_2": (0, 0.3)})
    (problem,) = (p for p in spiq_tf.verify(model, narrow, images(model, 24)).problems if "relu_2" in p)
    assert "of its values are clipped, since the range of its scale is too narrow" in problem


def test_examples_that_are_not_what_the_model_is_fed(model, result):
    (problem,) = (p for p in spiq_tf.verify(model, result, 255 * images(model, 8)).problems if "lie" in p)
    assert problem.startswith("input 'image': ")
    assert "lie outside the range for which the file was made" in problem


def test_a_file_of_another_converter(model):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    found = spiq_tf.verify(model, converter.convert(), images(model, 8))
    assert found.sqnr_db > 80
    assert {x.layer for x in found.layers} <= {"image", "scores"}


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_other_types_at_the_ends(model, result, kind):
    other = spiq_tf.quantize(model, input_range=RANGE, inference_input_type=kind, inference_output_type=kind)
    x = images(model, 24)
    found = spiq_tf.verify(model, other, x)
    expected = spiq_tf.verify(model, result, x).sqnr_db
    # a uint8 input has the steps of pixels, half a step off those of other values
    assert found.sqnr_db == pytest.approx(expected, abs=2.0 if kind == "uint8" else 0.01)
    assert spiq_tf.verify(model, other).generated


def test_batches_and_several_inputs():
    ends = [keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 2), name="right")]
    joined = layers.Concatenate()([conv_bn(end, 6, activation=layers.ReLU()) for end in ends])
    model = settle(keras.Model(ends, layers.Dense(4)(layers.GlobalAveragePooling2D()(joined))))
    content = spiq_tf.convert(model, input_range=RANGE, batch_size=2)
    x = images(model, 5)
    found = spiq_tf.verify(model, content, {t.name: value for t, value in zip(model.inputs, x, strict=True)})
    assert found.examples == 4
    assert found == spiq_tf.verify(model, content, x)
    with pytest.raises(spiq_tf.InvalidArgumentError, match="expected at least one batch, 2 examples, found 1"):
        spiq_tf.verify(model, content, [value[:1] for value in x])
    with pytest.raises(spiq_tf.InvalidArgumentError, match=r"expected arrays for \['left', 'right'\], found them for"):
        spiq_tf.verify(model, content, {})
    with pytest.raises(spiq_tf.InvalidArgumentError, match="inputs: expected 2 arrays, found 1"):
        spiq_tf.verify(model, content, x[0])


def test_what_does_not_belong_together(model, result):
    other = NETWORKS["residual"]()
    with pytest.raises(
        spiq_tf.InvalidArgumentError, match=r"inputs of the model's shapes .* it was made from another model"
    ):
        spiq_tf.verify(other, result)
    with pytest.raises(
        spiq_tf.InvalidArgumentError,
        match=r"expected an array of shape \(examples, 12, 12, 3\) for input 'image', found",
    ):
        spiq_tf.verify(model, result, np.zeros((2, 8, 8, 3)))
    with pytest.raises(spiq_tf.ModelFileError, match="cannot be read"):
        spiq_tf.verify(model, "absent.tflite")


@pytest.mark.fast
def test_inputs_that_are_none(model, result):
    for wrong, message in (
        (np.float32(1), r"expected an array of shape \(examples, 12, 12, 3\) for input 'image', found \(\)"),
        (np.zeros((12, 12, 3)), r"found \(12, 12, 3\); a single example needs a first axis"),
        (["a"], "expected arrays of numbers"),
        (np.full((2, 12, 12, 3), np.nan), "expected finite numbers for input 'image', found NaN or infinity"),
    ):
        with pytest.raises(spiq_tf.InvalidArgumentError, match=message):
            spiq_tf.verify(model, result, wrong)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0\0\0\0TFL3" + bytes(40)])
def test_files_that_are_damaged(model, content):
    with pytest.raises(spiq_tf.ModelFileError):
        spiq_tf.verify(model, content)


def test_an_output_that_is_constant_by_design_is_no_problem(model):
    anchors = layers.Lambda(lambda x: 0 * x + 1, name="anchors")(model.output)
    both = keras.Model(model.inputs, [model.output, anchors])
    with pytest.warns(spiq_tf.DegenerateOutputWarning, match="the float model's hardly varies either"):
        result = spiq_tf.quantize(both, input_range=RANGE)
    found = spiq_tf.verify(both, result)
    assert found.problems == ()
    assert found.outputs[1].noise.bias is None  # nothing varies that it could be compared with


def test_two_inputs_that_are_compared_are_probed_with_values_of_their_own():
    ends = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    shared = layers.Conv2D(4, 3)
    difference = layers.Subtract()([shared(end) for end in ends])
    model = settle(keras.Model(ends, layers.Dense(2)(layers.GlobalMaxPooling2D()(layers.ReLU()(difference)))))
    spiq_tf.convert(model, input_range=RANGE)  # a warning fails the test


class Largest(layers.Layer):
    def call(self, x):
        return tf.argmax(x, -1, output_type=tf.int32)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape[:-1], dtype="int32")


class OneHot(layers.Layer):
    def call(self, x):
        return tf.one_hot(x, 5)  # which refuses floats

    def compute_output_spec(self, x):
        return keras.KerasTensor((*x.shape, 5))


@pytest.mark.filterwarnings("ignore::spiq_tf.FloatOperatorWarning")
def test_integers_between_layers():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(5, 3, name="conv")(image)
    model = settle(keras.Model(image, [layers.GlobalAveragePooling2D(name="pool")(x), OneHot()(Largest()(x))]))
    found = spiq_tf.verify(model, spiq_tf.quantize(model, input_range=RANGE))
    assert found.outputs[1].agreement > 0.9
    assert {"image", "conv", "pool"} <= {x.layer for x in found.layers}
    assert "largest" not in {x.layer for x in found.layers}


def test_outputs_that_another_converter_has_in_another_order(model):
    x = model.get_layer("pool").output
    both = keras.Model(model.inputs, [layers.Dense(3, name="zz")(x), layers.Dense(3, name="aa")(x)])
    content = tf.lite.TFLiteConverter.from_keras_model(both).convert()
    assert spiq_tf.verify(both, content, images(model, 8)).sqnr_db > 80


def test_what_is_written_as_json_is_json(model):
    exact = spiq_tf.quantize(model, input_range=RANGE, inference_input_type="float32")
    json.dumps(spiq_tf.verify(model, exact.content).as_dict(), allow_nan=False)


def test_exit_codes_of_the_command(model, result, tmp_path, capsys):
    model.save(tmp_path / "model.keras")
    result.save(tmp_path / "model.tflite")
    np.save(tmp_path / "images.npy", images(model, 8))
    files = [str(tmp_path / "model.keras"), str(tmp_path / "model.tflite")]
    options = [f"--inputs={tmp_path / 'images.npy'}", f"--json={tmp_path / 'found.json'}", "--lowest_db=10"]
    assert main(["verify", *options, *files]) == 0
    assert "8 given inputs" in capsys.readouterr().out
    assert json.loads((tmp_path / "found.json").read_text())["examples"] == 8
    assert main(["verify", "--lowest_db=90", *files]) == 1
    assert "expected 90 dB at least" in capsys.readouterr().err
    assert main(["verify", files[0], str(tmp_path / "absent.tflite")]) == 2
    assert main(["verify", f"--inputs={files[1]}", *files]) == 2
    assert "model.tflite is no .npy or .npz file of numbers" in capsys.readouterr().err
    assert main(["verify", files[0]]) == 2

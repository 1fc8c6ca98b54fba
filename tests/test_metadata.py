"""What files say of themselves, read back by a reader of the schema that shares nothing with the writer."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import flatbuffers
import keras
import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from flatbuffers.table import Table
from keras import layers

import spiq_tf
from spiq_tf.metadata.tflite_metadata import InputDescription, ModelDescription, with_metadata
from spiq_tf.statistics.preprocessing import CONVENTIONS
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from tests.conversions import converted
from tests.networks import NETWORKS, RANGE, conv_bn, settle

LABELS = ["zero", "one", "two", "three", "vier", "fünf", "six"]


class Reader:
    """A table of metadata_schema.fbs: fields by the number that flatc counts, of the kind that the caller names."""

    def __init__(self, table):
        self._table = table

    @classmethod
    def of(cls, buffer):
        assert bytes(buffer[4:8]) == b"M001"
        root = flatbuffers.encode.Get(flatbuffers.packer.uoffset, buffer, 0)
        return cls(Table(buffer, root))

    def _place(self, number):
        offset = self._table.Offset(4 + 2 * number)
        return None if offset == 0 else offset + self._table.Pos

    def string(self, number):
        place = self._place(number)
        return None if place is None else self._table.String(place).decode()

    def byte(self, number):
        place = self._place(number)
        return 0 if place is None else self._table.Get(flatbuffers.number_types.Uint8Flags, place)

    def table(self, number):
        place = self._place(number)
        return None if place is None else Reader(Table(self._table.Bytes, self._table.Indirect(place)))

    def _elements(self, number):
        if self._place(number) is None:
            return []
        offset = self._table.Offset(4 + 2 * number)
        return [self._table.Vector(offset) + 4 * k for k in range(self._table.VectorLen(offset))]

    def tables(self, number):
        return [Reader(Table(self._table.Bytes, self._table.Indirect(place))) for place in self._elements(number)]

    def floats(self, number):
        return [self._table.Get(flatbuffers.number_types.Float32Flags, place) for place in self._elements(number)]


def stored(content):
    """The metadata buffers of a file."""
    model = FlatModel(content).model
    return [bytes(model.buffers[e.buffer].data) for e in model.metadata if e.name == b"TFLITE_METADATA"]


def read(content):
    (buffer,) = stored(content)
    return Reader.of(bytearray(buffer))


def inputs(content):
    return read(content).tables(3)[0].tables(2)


def outputs(content):
    return read(content).tables(3)[0].tables(3)


def normalization(tensor):
    (unit,) = tensor.tables(4)
    assert unit.byte(0) == 1
    return unit.table(1).floats(0), unit.table(1).floats(1)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)  # a module's fixture may come before the test's own seed
    return NETWORKS["residual"]()


@pytest.fixture(scope="module")
def labelled():
    return converted("residual", inference_input_type="uint8", labels=tuple(LABELS))


@pytest.mark.fast
def test_the_model(labelled):
    root = read(labelled)
    assert root.string(0) == "functional"
    text, options = root.string(1).splitlines()
    assert text.startswith("Converted by spiq_tf")
    assert json.loads(options)["inference_input_type"] == "uint8"
    assert root.string(7) == "1.0.0"
    assert len(root.tables(3)) == 1


@pytest.mark.fast
def test_an_image(labelled):
    (image,) = inputs(labelled)
    assert image.string(0) == "image"
    assert "red, green, blue" in image.string(1)
    assert (image.table(3).byte(0), image.table(3).table(1).byte(0)) == (2, 1)  # ImageProperties, RGB
    assert normalization(image) == ([127.5], [127.5])
    assert (image.table(5).floats(0), image.table(5).floats(1)) == ([1.0], [-1.0])


@pytest.mark.fast
def test_the_scores(labelled):
    (scores,) = outputs(labelled)
    (signature,) = FlatModel(labelled).model.signatureDefs
    assert scores.string(0) == signature.outputs[0].name.decode()
    assert scores.table(3).byte(0) == 1  # FeatureProperties
    (file,) = scores.tables(6)
    assert (file.string(0), file.byte(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    (detail,) = Interpreter(labelled).outputs
    scale, zero_point = detail["quantization"]
    np.testing.assert_allclose(scores.table(5).floats(0), [(127 - zero_point) * scale], rtol=1e-6)
    np.testing.assert_allclose(scores.table(5).floats(1), [(-128 - zero_point) * scale], rtol=1e-6)


@pytest.mark.fast
def test_labels_lie_uncompressed_in_an_archive_whose_offsets_count_from_the_start_of_the_file(labelled):
    with zipfile.ZipFile(io.BytesIO(labelled)) as archive:
        (info,) = archive.infolist()
        assert archive.read("labels.txt").decode().split("\n") == [*LABELS, ""]
    assert info.compress_type == zipfile.ZIP_STORED
    assert labelled[info.header_offset : info.header_offset + 4] == b"PK\x03\x04"
    end = labelled.rindex(b"PK\x05\x06")
    directory = int.from_bytes(labelled[end + 16 : end + 20], "little")
    assert labelled[directory : directory + 4] == b"PK\x01\x02"


def test_the_archive_alone_tells_a_file_with_labels_from_one_without(labelled):
    plain = converted("residual", inference_input_type="uint8")
    assert not zipfile.is_zipfile(io.BytesIO(plain))
    assert outputs(plain)[0].tables(6) == []
    assert labelled.startswith(FlatModel(labelled).content())


@pytest.mark.filterwarnings("ignore::spiq_tf.DegenerateOutputWarning")  # 0..255 into a network that expects -1..1
@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda c: c.name)
def test_normalization_feeds_what_each_convention_does(model, convention):
    """Oracle: the convention's own arithmetic on pixels. Readers want as many means as deviations."""
    image = np.random.default_rng(0).integers(0, 256, (5, 3))
    found = convention.range()
    (tensor,) = inputs(spiq_tf.convert(model, input_range=(found.low, found.high)))
    mean, std = normalization(tensor)
    assert len(mean) == len(std)
    expected = image / 255 * convention.factor + convention.offset
    np.testing.assert_allclose((image - np.asarray(mean)) / np.asarray(std), expected, rtol=1e-5, atol=1e-5)
    assert ("blue, green, red" in tensor.string(1)) == convention.reverse
    assert tensor.table(3).table(1).byte(0) == (0 if convention.reverse else 1)


@pytest.mark.parametrize(("values", "steps"), [((0.0, 1.0), 0.0), ((0.0, 255.0), 0.0), ((-1.0, 1.0), 0.5)])
def test_how_far_pixels_are_off_that_are_copied_into_a_uint8_input(values, steps):
    """What Android's classifiers do; 0 lies half-way between the pixels of [-1, 1], which the biases make up for."""
    content = converted("residual", input_range=values, inference_input_type="uint8")
    ((mean,), (std,)) = normalization(inputs(content)[0])
    scale, zero_point = litert.Interpreter(model_content=content).get_input_details()[0]["quantization"]
    pixels = np.arange(256)
    assert np.abs((pixels - zero_point) * scale - (pixels - mean) / std).max() <= (steps + 1e-4) * scale


def test_one_channel_is_gray_and_other_inputs_are_features():
    image, hint = keras.Input((8, 8, 1), name="photo"), keras.Input((5,), name="hint")
    x = layers.Flatten()(conv_bn(image, 4, activation=layers.ReLU()))
    model = settle(keras.Model([image, hint], layers.Dense(3)(layers.Concatenate()([x, hint]))))
    bounds = (np.linspace(-1.5, -0.5, 5), np.linspace(0.5, 1.5, 5))
    photo, numbers = inputs(spiq_tf.convert(model, input_range={"photo": RANGE, "hint": bounds}))
    assert photo.table(3).table(1).byte(0) == 2  # GRAYSCALE
    assert normalization(photo) == ([127.5], [127.5])
    assert (numbers.string(0), numbers.table(3).byte(0), numbers.tables(4)) == ("hint", 1, [])
    assert numbers.table(5).floats(1) == list(bounds[0])
    assert numbers.table(5).floats(0) == list(bounds[1])


def test_standardised_features_are_no_pixels():
    spectrum = keras.Input((8, 8, 1), name="spectrum")
    x = layers.Normalization(mean=-30.0, variance=400.0)(spectrum)
    model = settle(keras.Model(spectrum, layers.Dense(3)(layers.Flatten()(conv_bn(x, 4)))), values=(-90, 30))
    (tensor,) = inputs(spiq_tf.convert(model))
    assert (tensor.table(3).byte(0), tensor.tables(4)) == (1, [])


def test_outputs_in_floats_tell_what_their_integers_hold():
    content, same = converted("residual", inference_output_type="float32"), converted("residual")
    assert outputs(content)[0].table(5).floats(0) == outputs(same)[0].table(5).floats(0)
    kept = converted("residual", inference_output_type="float32", float_layers=("scores",))
    assert outputs(kept)[0].table(5) is None


def test_metadata_is_replaced_not_added_to(labelled):
    entry = InputDescription(name="image", text="", low=(0.0,), high=(1.0,))
    again = with_metadata(
        labelled,
        ModelDescription(
            name="again", text="text", options={"a": [1]}, inputs=[entry], output_names=["scores"], labels=LABELS[::-1]
        ),
    )
    assert read(again).string(0) == "again"
    assert read(again).string(1) == 'text\n{"a":[1]}'
    with zipfile.ZipFile(io.BytesIO(again)) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().split() == LABELS[::-1]


def test_a_name_that_keras_made_up_does_not_count(model):
    _, again = (keras.Model(model.inputs, model.outputs) for _ in range(2))
    assert again.name == "functional_1"
    assert read(spiq_tf.convert(again, input_range=RANGE)).string(0) == "functional"
    named = keras.Model(model.inputs, model.outputs, name="resnet_50")
    assert read(spiq_tf.convert(named, input_range=RANGE)).string(0) == "resnet_50"


@pytest.mark.fast
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:-1], "each of the 7 classes of the output, found 6"),
        ([], "each of the 7 classes of the output, found 0"),
        ("zero", "expected a list of strings, one for each class, found 'zero'"),
        (7, "expected a list of strings, one for each class, found 7"),
        ([*LABELS[:-1], 6], "found 6 for class 6"),
        ([*LABELS[:-1], " "], "found ' ' for class 6"),
        ([*LABELS[:-1], "\ud800"], r"that UTF-8 can hold, found '\\ud800' for class 6"),
        ([*LABELS[:-1], "two\nlines"], r"found 'two\\nlines' for class 6"),
    ],
)
def test_labels_that_do_not_fit(model, labels, message):
    with pytest.raises(spiq_tf.InvalidArgumentError, match=f"labels: .*{message}"):
        spiq_tf.convert(model, input_range=RANGE, labels=labels)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two_outputs", "expected a model with one output, found 3"),
        ("map", r"\(batch, classes\), found \(1, 8, 8, 2\)"),
    ],
)
def test_labels_for_outputs_that_are_no_classes(name, message):
    image = keras.Input((8, 8, 3))
    model = NETWORKS[name]() if name in NETWORKS else keras.Model(image, layers.Conv2D(2, 1)(image))
    with pytest.raises(spiq_tf.InvalidArgumentError, match=f"labels: .*{message}"):
        spiq_tf.convert(model, input_range=RANGE, labels=["a", "b"])


def test_two_classes_of_one_name():
    labels = ["crane", "crane", *LABELS[2:]]
    content = converted("residual", labels=tuple(labels))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("labels.txt").decode().splitlines() == labels


def test_same_bytes_with_labels(model):
    first, second = (spiq_tf.convert(model, input_range=RANGE, labels=iter(LABELS)) for _ in range(2))
    assert first == second


@pytest.fixture(scope="module")
def both():
    """The same file with labels and without."""
    return [converted("residual", labels=tuple(LABELS)), converted("residual")]


def test_runtimes_do_not_see_the_labels(both):
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason="Linux only")
    x = np.random.default_rng(0).integers(-128, 128, (1, 16, 16, 3)).astype(np.int8)
    found = []
    for content in both:
        interpreter = litert.Interpreter(model_content=content)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        micro = runtime.Interpreter.from_bytes(content)
        micro.set_input(x, 0)
        micro.invoke()
        found.append((interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), micro.get_output(0)))
    np.testing.assert_equal(*found)


@pytest.mark.parametrize("target", ["portable", "tflite-micro"])
def test_the_rules_hold_with_labels(both, target):
    assert spiq_tf.check(both[0], target) == ()


def test_vela_compiles_a_file_with_labels(both, tmp_path):
    file = tmp_path / "model.tflite"
    file.write_bytes(both[0])
    vela = Path(sys.executable).parent / "vela"
    command = [vela, file, "--accelerator-config", "ethos-u55-128", "--output-dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "CPU operators = 0 (0.0%)" in done.stdout

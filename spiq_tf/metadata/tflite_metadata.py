"""TFLite Metadata: what a file tells tools on the device, and the label file that is appended to it.

The buffer is a ModelMetadata table of metadata_schema.fbs (see metadata_schema.py) under the name TFLITE_METADATA. The
labels are a file of their own in an uncompressed zip archive that follows the flatbuffer; its offsets count from the
start of the whole file, as where Python's zipfile appends (tensorflow.org/lite/models/convert/metadata, "Pack the
associated files"). Interpreters read the flatbuffer and never see the archive.

Conventions of the readers (the same page; the code of tflite-support's Task library and of MediaPipe's tasks):

- `(pixel - mean) / std`, for pixels in 0..255, is the real value of the input: the float model's input, after
  a Rescaling that is folded into the file's input quantization. Quantized files state the same numbers as float ones,
  not 0 and 1; the step from there to integers, `value / scale + zero_point`, is the tensor's own.
- The Task library's and MediaPipe's image classifiers take float32 and uint8 inputs, not int8. Of a float32 input they
  require the normalization, MediaPipe with one mean and deviation for all channels; into a uint8 input they copy the
  pixels unchanged and read neither normalization nor scale. That is right where all channels have one range, since
  spiq_tf gives such inputs the scale of the pixels. Where ranges differ by channel (ImageNet's mean and deviation) it
  is wrong: put a Normalization layer into the model, so that its input is 0..255.
- They take the labels of a classifier's output from a file of the type TENSOR_AXIS_LABELS, one label a line. Only
  images in the order RGB are taken.
- Stats hold real values, in units of the float model. Writers differ there for integers; no reader uses them.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.errors import InvalidArgumentError
from spiq_tf.metadata import schema as md
from spiq_tf.tflite.flatbuffer import FlatModel

METADATA_NAME = "TFLITE_METADATA"
LABEL_FILE = "labels.txt"


@dataclass(frozen=True, kw_only=True)
class InputDescription:
    """Metadata of one of the model's inputs.

    Attributes:
        name: in the serving signature.
        text: for people.
        low, high: range of the input in model units: one number each, or one per channel each.
        mean, std: (pixel - mean) / std of a pixel in 0..255 is its real value, as many numbers as of the
            other; None where the input is not an image.
        color_space: of an image; None for other inputs.
    """

    name: str
    text: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    color_space: md.ColorSpace | None = None


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """Metadata of a model.

    Attributes:
        name: of the model.
        text: for people.
        options: of the conversion, serializable as JSON.
        inputs: in the order of the file's.
        output_names: in the serving signature, in the order of the file's outputs.
        labels: of the classes, in the order of the only output's last axis; None where there are none.
    """

    name: str
    text: str
    options: Mapping[str, Any]
    inputs: Sequence[InputDescription]
    output_names: Sequence[str]
    labels: Sequence[str] | None = None


def with_metadata(content: bytes, description: ModelDescription) -> bytes:
    """The same file with metadata, and with the label file appended; existing ones are replaced.

    ModelMetadata.description is the text and, as its last line, the options as JSON.

    Args:
        content: of a TFLite file.
        description: of the model in it, with as many inputs and outputs as the file has.

    Raises:
        InvalidArgumentError: the labels do not belong to the outputs, as `check_labels` says.
    """
    flat = FlatModel(content)
    outputs = [int(index) for index in flat.subgraph.outputs]
    check_labels(description.labels, [flat.shape(index) for index in outputs])
    _store(flat, md.packed(_model(description, [_interval(flat, index) for index in outputs])))
    result = flat.content()
    return result if description.labels is None else _with_file(result, LABEL_FILE, _lines(description.labels))


def check_labels(labels: Sequence[str] | None, shapes: Sequence[tuple[int, ...]]) -> None:
    """Checks that there is one label for each class of the only output.

    Args:
        labels: of the classes, or None.
        shapes: of the outputs, with the batch axis.

    Raises:
        InvalidArgumentError: there are several outputs, the only one is not a vector of classes, or the number of its
            classes is not that of the labels.
    """
    if labels is None:
        return
    if len(shapes) != 1:
        raise InvalidArgumentError(
            f"labels: expected a model with one output, found {len(shapes)}; leave the labels out"
        )
    (shape,) = shapes
    if len(shape) != 2:
        raise InvalidArgumentError(
            f"labels: expected an output of the shape (batch, classes), found {shape}; leave the labels out"
        )
    if len(labels) != shape[-1]:
        raise InvalidArgumentError(
            f"labels: expected one for each of the {shape[-1]} classes of the output, found {len(labels)}"
        )


def _model(description: ModelDescription, intervals: Sequence[tuple[float, float] | None]) -> md.Table:
    options = json.dumps(dict(description.options), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    files = () if description.labels is None else (_label_file(),)
    named = zip(description.output_names, intervals, strict=True)
    return {
        md.Model.NAME: description.name,
        md.Model.DESCRIPTION: f"{description.text}\n{options}",
        md.Model.SUBGRAPHS: [
            {
                md.SubGraph.INPUTS: [_input(entry) for entry in description.inputs],
                md.SubGraph.OUTPUTS: [_output(name, interval, files) for name, interval in named],
            }
        ],
        md.Model.MIN_PARSER_VERSION: md.MIN_PARSER_VERSION,
    }


def _input(entry: InputDescription) -> md.Table:
    table: dict[Any, md.Value] = {
        md.Tensor.NAME: entry.name,
        md.Tensor.DESCRIPTION: entry.text,
        md.Tensor.CONTENT: _content(entry.color_space),
        md.Tensor.STATS: _stats(entry.low, entry.high),
    }
    if entry.mean is not None and entry.std is not None:
        options: md.Table = {md.Normalization.MEAN: _floats(entry.mean), md.Normalization.STD: _floats(entry.std)}
        unit: md.Table = {md.ProcessUnit.TYPE: md.ProcessUnitType.NORMALIZATION, md.ProcessUnit.OPTIONS: options}
        table[md.Tensor.PROCESS_UNITS] = [unit]
    return table


def _output(name: str, interval: tuple[float, float] | None, files: Sequence[md.Table]) -> md.Table:
    text = "one number for each class" if files else "output of the model"
    table: dict[Any, md.Value] = {
        md.Tensor.NAME: name,
        md.Tensor.DESCRIPTION: text,
        md.Tensor.CONTENT: _content(None),
    }
    if interval is not None:
        table[md.Tensor.STATS] = _stats(interval[:1], interval[1:])
    if files:
        table[md.Tensor.ASSOCIATED_FILES] = files
    return table


def _content(color_space: md.ColorSpace | None) -> md.Table:
    if color_space is None:
        return {md.Content.TYPE: md.ContentType.FEATURE, md.Content.PROPERTIES: {}}
    return {md.Content.TYPE: md.ContentType.IMAGE, md.Content.PROPERTIES: {md.Image.COLOR_SPACE: color_space}}


def _stats(low: Sequence[float], high: Sequence[float]) -> md.Table:
    return {md.Stats.MAX: _floats(high), md.Stats.MIN: _floats(low)}


def _label_file() -> md.Table:
    return {
        md.AssociatedFile.NAME: LABEL_FILE,
        md.AssociatedFile.DESCRIPTION: "names of the classes, one a line",
        md.AssociatedFile.TYPE: md.AssociatedFileType.TENSOR_AXIS_LABELS,
    }


def _floats(values: Sequence[float]) -> Any:
    return np.asarray(values, np.float32)


def _interval(flat: FlatModel, index: int) -> tuple[float, float] | None:
    """Range of an output's quantized values, in model units; None for a float output."""
    for operator in flat.operators:
        if index in operator.outputs and flat.kind(operator) == "DEQUANTIZE":
            index = int(operator.inputs[0])
            break
    parameters = flat.quantization(index)
    return None if parameters is None else (parameters.low, parameters.high)


def _store(flat: FlatModel, packed: bytes) -> None:
    """Stores the metadata in the file's buffer for it, or in a new one."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(packed, np.uint8)
    flat.model.metadata = flat.model.metadata or []
    for entry in flat.model.metadata:
        if entry.name == METADATA_NAME.encode():
            flat.model.buffers[entry.buffer] = buffer
            return
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA_NAME.encode(), len(flat.model.buffers)
    flat.model.buffers.append(buffer)
    flat.model.metadata.append(entry)


def _lines(labels: Sequence[str]) -> bytes:
    return "".join(f"{label}\n" for label in labels).encode()


def _with_file(content: bytes, name: str, file: bytes) -> bytes:
    """The content with a zip archive of one file appended, byte for byte reproducible."""
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, 0o644 << 16
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(info, file)
    return stream.getvalue()

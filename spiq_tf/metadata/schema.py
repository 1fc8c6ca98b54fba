"""The part of TFLite's metadata schema that spiq_tf writes, packed as a FlatBuffer.

Source: tensorflow_lite_support/metadata/metadata_schema.fbs of github.com/tensorflow/tflite-support. A field's number
is its place in the table there; a union takes two, its type and then its value.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import flatbuffers
import numpy as np
import numpy.typing as npt

FILE_IDENTIFIER = b"M001"
MIN_PARSER_VERSION = "1.0.0"
"""The version of the schema that introduced the latest field that is written; all fields here are of the first.
Vocabularies need 1.0.1, process units of subgraphs 1.1.0, tensor groups 1.2.0, audio 1.3.0 (metadata_version.cc, beside
the schema)."""


class Model(enum.IntEnum):
    """Fields of ModelMetadata, the root."""

    NAME = 0
    DESCRIPTION = 1
    SUBGRAPHS = 3
    MIN_PARSER_VERSION = 7


class SubGraph(enum.IntEnum):
    """Fields of SubGraphMetadata."""

    INPUTS = 2
    OUTPUTS = 3


class Tensor(enum.IntEnum):
    """Fields of TensorMetadata."""

    NAME = 0
    DESCRIPTION = 1
    CONTENT = 3
    PROCESS_UNITS = 4
    STATS = 5
    ASSOCIATED_FILES = 6


class Content(enum.IntEnum):
    """Fields of Content."""

    TYPE = 0
    PROPERTIES = 1


class ContentType(enum.IntEnum):
    """What a tensor holds: the union ContentProperties. FeatureProperties has no fields."""

    FEATURE = 1
    IMAGE = 2


class Image(enum.IntEnum):
    """Fields of ImageProperties."""

    COLOR_SPACE = 0


class ColorSpace(enum.IntEnum):
    """Of an image; readers refuse images whose order of channels they do not know."""

    UNKNOWN = 0
    RGB = 1
    GRAYSCALE = 2


class ProcessUnit(enum.IntEnum):
    """Fields of ProcessUnit."""

    TYPE = 0
    OPTIONS = 1


class ProcessUnitType(enum.IntEnum):
    """Of the union ProcessUnitOptions."""

    NORMALIZATION = 1


class Normalization(enum.IntEnum):
    """Fields of NormalizationOptions."""

    MEAN = 0
    STD = 1


class Stats(enum.IntEnum):
    """Fields of Stats."""

    MAX = 0
    MIN = 1


class AssociatedFile(enum.IntEnum):
    """Fields of AssociatedFile."""

    NAME = 0
    DESCRIPTION = 1
    TYPE = 2


class AssociatedFileType(enum.IntEnum):
    """What an associated file is: labels of a tensor's last axis."""

    TENSOR_AXIS_LABELS = 2


Table: TypeAlias = Mapping[enum.IntEnum, "Value"]
"""A table of the schema: fields by their place."""

Value: TypeAlias = str | enum.IntEnum | npt.NDArray[np.float32] | Table | Sequence[Table]
"""Of a field: a string, a byte (all enumerations here are bytes), floats, a table, or a vector of tables."""


def packed(root: Table) -> bytes:
    """The FlatBuffer of a ModelMetadata table, with the schema's file identifier."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(_table(builder, root), FILE_IDENTIFIER)
    return bytes(builder.Output())


def _table(builder: flatbuffers.Builder, table: Table) -> int:
    offsets = {field: _offset(builder, v) for field, v in table.items() if not isinstance(v, enum.IntEnum)}
    builder.StartObject(max(table, default=-1) + 1)
    for field, value in table.items():
        if isinstance(value, enum.IntEnum):
            builder.PrependUint8Slot(field, value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(field, offsets[field], 0)
    return int(builder.EndObject())


def _offset(builder: flatbuffers.Builder, value: "str | npt.NDArray[np.float32] | Table | Sequence[Table]") -> int:
    """Packs what a table only points to."""
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, np.ndarray):
        return int(builder.CreateNumpyVector(value))
    if isinstance(value, Mapping):
        return _table(builder, value)
    offsets = [_table(builder, table) for table in value]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())

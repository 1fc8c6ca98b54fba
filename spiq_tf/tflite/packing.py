"""A model of the schema as the bytes of a TFLite file: the only module that knows the flatbuffers builder's inside."""

from typing import Any

import flatbuffers

ALIGNMENT = 16
"""Bytes, of stored constants: microcontrollers read them in place."""

_FILE_IDENTIFIER = b"TFL3"


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc] # the library has no types, so its class is Any
    """Packs what is stored byte by byte at multiples of 16: Python's generated code does not know of force_align."""

    def StartVector(self, size: int, count: int, alignment: int) -> int:  # noqa: N802 # the library's own name
        return int(super().StartVector(size, count, ALIGNMENT if size == 1 else alignment))


def packed(model: Any) -> bytes:
    """The bytes of a file.

    Args:
        model: a ModelT of the schema.
    """
    builder = _AlignedBuilder(1024)
    builder.Finish(model.Pack(builder), _FILE_IDENTIFIER)
    return bytes(builder.Output())

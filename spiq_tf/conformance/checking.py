"""`spiq_tf.check`: whether a file keeps to a target's rules."""

import contextlib
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.conformance.rules import RULES
from spiq_tf.conformance.violation import Violation
from spiq_tf.errors import ModelFileError, SpiqError, TargetWarning, warn_user
from spiq_tf.targets import Target, target_named
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.packing import ALIGNMENT

_MAX_IN_WARNING = 3


def check(tflite: bytes | str | os.PathLike[str], target: str = "portable") -> tuple[Violation, ...]:
    """Lists what keeps a full-integer int8 TFLite file, spiq_tf's or another's, from running on a target, or slows it.

    Structure and numbers are checked, not accuracy. Of an accelerator's operators the kinds and versions are checked,
    not every size that its compiler asks for (strides, windows), nor memory; "ethos-u" is U55 and U65.

    Args:
        tflite: the content of a file, or its path.
        target: "portable" (LiteRT of any age, with XNNPACK or without), "xnnpack", "edgetpu", "ethos-u" or
            "tflite-micro".

    Returns:
        The violations, in the order of the rules and of execution; none where the file keeps to them all. For "xnnpack"
        they end with the number of pieces in which its delegate runs the file, and the operators that it leaves to
        LiteRT's own kernels, most of which are slower: the file runs all the same. `Violation.slows` is True of these
        alone.

    Raises:
        InvalidArgumentError: the target is unknown.
        ModelFileError: the file is missing, damaged or no TFLite file.
    """
    named, content = target_named(target), file_content(tflite)
    with damaged_file_error():
        return violations_of(content, named)


def file_content(tflite: bytes | str | os.PathLike[str]) -> bytes:
    """A file's content, given itself or its path; a ModelFileError where that is no TFLite file."""
    content = bytes(tflite) if isinstance(tflite, bytes | bytearray) else _read(Path(tflite))
    if content[4:8] != b"TFL3":
        raise ModelFileError(f"expected a TFLite file, found {len(content)} bytes without the mark TFL3")
    return content


@contextlib.contextmanager
def damaged_file_error() -> Iterator[None]:
    """Raises a ModelFileError for errors that come of offsets that lead nowhere."""
    try:
        yield
    except (struct.error, IndexError, KeyError, TypeError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, SpiqError):
            raise
        raise ModelFileError(f"the TFLite file is damaged: {error}") from error


def violations_of(content: bytes, target: Target) -> tuple[Violation, ...]:
    """What keeps a sound file from running on a target, or slows it, in the order of the rules and of execution."""
    packing = _packing_violations(content, target)
    if any(violation.rule == "one subgraph" for violation in packing):
        return tuple(packing)
    flat = FlatModel(content)
    return (*packing, *(violation for rule in RULES for violation in rule(flat, target)))


def warn_of_violations(violations: Sequence[Violation], target: Target) -> None:
    """Warns of what the target does not run: floats are no such thing where it runs them, nor is what slows it."""
    broken = [v for v in violations if not v.slows and not (target.runs_floats and v.rule == "float operator")]
    if not broken:
        return
    listed = "; ".join(map(str, broken[:_MAX_IN_WARNING]))
    more = f"; and {len(broken) - _MAX_IN_WARNING} more" if len(broken) > _MAX_IN_WARNING else ""
    text = f"the target {target.name!r} does not support all of the file: {listed}{more}"
    warn_user(text, TargetWarning)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error


def _packing_violations(content: bytes, target: Target) -> list[Violation]:
    """Violations that show in the packed file alone; a ModelFileError where it holds no model."""
    model, violations = schema.Model.GetRootAs(content, 0), []
    if (count := model.SubgraphsLength()) == 0:
        raise ModelFileError("expected a TFLite file with a model in it, found no subgraphs: it is damaged")
    if count != 1:
        advice = "unroll loops and branches, and convert one signature at a time; nothing else was checked"
        violations.append(Violation(rule="one subgraph", found=f"expected 1, found {count}", advice=advice))
    start = np.frombuffer(content, np.uint8).ctypes.data
    buffers = (model.Buffers(k) for k in range(model.BuffersLength()))
    offsets = [b.DataAsNumpy().ctypes.data - start for b in buffers if b.DataLength()]
    misaligned = sum(offset % ALIGNMENT != 0 for offset in offsets)
    if target.aligned and misaligned:
        text = f"expected constants at multiples of {ALIGNMENT} bytes, found {misaligned} of {len(offsets)} elsewhere"
        violations.append(Violation(rule="alignment", found=text, advice="pack the file anew, as spiq_tf does"))
    return violations

"""The models that a run converts, each with everything that its output depends on."""

import glob
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiq_tf.errors import InvalidArgumentError
from spiq_tf.version import VERSION


@dataclass(frozen=True, kw_only=True)
class Job:
    """One model to convert.

    Attributes:
        model: its file or SavedModel folder.
        output: the .tflite file.
        reports: the .json and the .html file, or None.
        options: arguments of `spiq_tf.quantize`.
        verify: whether the file is compared with the model.
        trust_code: whether the model may carry code.
    """

    model: str
    output: Path
    reports: tuple[Path, Path] | None
    options: Mapping[str, Any]
    verify: bool
    trust_code: bool


def model_names(arguments: Sequence[str]) -> dict[str, str]:
    """Model files and folders, each with its name: arguments and globs expanded, in order, each once.

    Raises:
        InvalidArgumentError: there are no arguments, or a glob matches nothing.
    """
    if not arguments:
        raise InvalidArgumentError("expected model files, SavedModel folders or globs as arguments, found none")
    files: dict[tuple[Path, str], str] = {}
    for argument in arguments:
        matches = [argument] if os.path.exists(argument) else sorted(glob.glob(argument, recursive=True))
        if not matches and glob.has_magic(argument):
            raise InvalidArgumentError(f"no file matches {argument!r}")
        for file in matches or [argument]:  # a name that does not exist fails as a file
            path = Path(file)  # two links to one model have an output each
            files.setdefault((path.resolve(), _model_name(path)), file)
    return {file: name for (_, name), file in files.items()}


def _model_name(path: Path) -> str:
    """A folder's whole name, dots included; a file's without its suffix."""
    return path.resolve().name if path.is_dir() else path.stem


def fingerprint(job: Job) -> str:
    """Hash of everything that the output depends on; the model counts by its time and size."""
    parts = [VERSION, job.options, job.verify, modification_and_size(Path(job.model))]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def modification_and_size(model: Path) -> tuple[int, int]:
    """Time of the last change in ns, and bytes: of a file, or of all files in a folder."""
    files = [model] if model.is_file() else [path for path in model.rglob("*") if path.is_file()]
    states = [path.stat() for path in files]
    return max((s.st_mtime_ns for s in states), default=0), sum(s.st_size for s in states)

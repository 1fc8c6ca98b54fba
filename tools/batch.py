"""Jobs, one for each model file, and what becomes of one."""

import glob
import hashlib
import json
import math
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from absl import logging

import spiq_tf
from spiq_tf.version import VERSION


@dataclass(frozen=True)
class Job:
    """One model to convert.

    Attributes:
        model: its file or SavedModel folder.
        output: the .tflite file.
        reports: the .json and the .html file, or None.
        options: arguments of `spiq_tf.quantize`.
        verify: whether the file is compared with the model.
        trusted: whether the model may carry code.
    """

    model: str
    output: Path
    reports: tuple[Path, Path] | None
    options: Mapping[str, Any]
    verify: bool
    trusted: bool


@dataclass(frozen=True)
class Outcome:
    """What became of one model.

    Attributes:
        output: the .tflite file; None where there is an error, whatever is left there of an earlier run.
        up_to_date: whether the output was there already and nothing was done.
        made_with: a hash of the model's time and size, the options and the version; "" if that is not known, or nothing
            was tried.
        sha256: of the output.
        sqnr_db: of the worst output; None where it was not compared, or is infinite: JSON has no such number.
        destination: where the output belongs, whether or not there is an error.
        of_earlier_run: whether the row is carried over from an earlier run's record, since this run has made nothing of
            the model so far; --resume reads there what the file was made with.
    """

    model: str
    output: str | None = None
    error: str | None = None
    up_to_date: bool = False
    seconds: float = 0.0
    bytes: int = 0
    sqnr_db: float | None = None
    float_operators: tuple[str, ...] = ()
    fallback_layers: tuple[str, ...] = ()
    unscaled: tuple[str, ...] = ()
    violations: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    made_with: str = ""
    sha256: str = ""
    destination: str = ""
    of_earlier_run: bool = False


def named_models(arguments: Sequence[str]) -> dict[str, str]:
    """Model files and folders, each with its name: arguments and globs expanded, in order, each once.

    Raises:
        InvalidArgumentError: there are no arguments, or a glob matches nothing.
    """
    if not arguments:
        raise spiq_tf.InvalidArgumentError("expected model files, SavedModel folders or globs as arguments, found none")
    files: dict[tuple[Path, str], str] = {}
    for argument in arguments:
        matches = [argument] if os.path.exists(argument) else sorted(glob.glob(argument, recursive=True))
        if not matches and glob.has_magic(argument):
            raise spiq_tf.InvalidArgumentError(f"no file matches {argument!r}")
        for file in matches or [argument]:  # a name that is not there fails as a file
            path = Path(file)  # two links to one model have outputs of their own
            files.setdefault((path.resolve(), _model_name(path)), file)
    return {file: name for (_, name), file in files.items()}


def _model_name(path: Path) -> str:
    """A folder's whole name, dots included; a file's without its suffix."""
    return path.resolve().name if path.is_dir() else path.stem


def fingerprint(job: Job) -> str:
    """Hash of everything that the output depends on; the model counts by its time and size."""
    parts = [VERSION, job.options, job.verify, stamp(Path(job.model))]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def stamp(model: Path) -> tuple[int, int]:
    """Time of the last change in ns, and bytes: of a file, or of all files in a folder."""
    files = [model] if model.is_file() else [path for path in model.rglob("*") if path.is_file()]
    states = [path.stat() for path in files]
    return max((s.st_mtime_ns for s in states), default=0), sum(s.st_size for s in states)


def converted(job: Job) -> Outcome:
    """Converts one model; a failure becomes part of the outcome."""
    start = time.perf_counter()
    outcome = Outcome(job.model, destination=str(job.output))
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", spiq_tf.SpiqWarning)
            outcome = replace(outcome, made_with=fingerprint(job))  # before the model is read: it may change meanwhile
            outcome = _written(job, outcome)
    except spiq_tf.SpiqError as error:
        outcome = replace(outcome, error=str(error))
    except Exception as error:  # one model among many: a defect of ours must not stop the others
        logging.exception("unexpected error in %s", job.model)
        outcome = replace(outcome, error=f"unexpected {type(error).__name__}: {error}")
    said = tuple(str(w.message) for w in caught if issubclass(w.category, spiq_tf.SpiqWarning))
    return replace(outcome, seconds=time.perf_counter() - start, warnings=said)


def _written(job: Job, begun: Outcome) -> Outcome:
    """Converts, verifies, and writes: the output last, so that it is there only with its reports."""
    model = spiq_tf.load_model(job.model, safe_mode=not job.trusted)
    result = spiq_tf.quantize(model, **job.options)
    verification = spiq_tf.verify(model, result) if job.verify else None
    if job.reports:
        report = result.report(verification)
        report.save_json(job.reports[0])
        report.save_html(job.reports[1])
    outcome = replace(
        begun,
        error="; ".join(verification.problems) or None if verification else None,
        sqnr_db=verification.sqnr_db if verification and math.isfinite(verification.sqnr_db) else None,
        float_operators=result.float_operators,
        fallback_layers=result.fallback_layers,
        unscaled=tuple(t.unscaled for t in result.tensors if t.unscaled),
        violations=tuple(map(str, result.violations)),
    )
    if outcome.error is not None:
        return outcome
    result.save(job.output)
    return replace(
        outcome,
        output=str(job.output),
        bytes=len(result.content),
        sha256=hashlib.sha256(result.content).hexdigest(),
    )

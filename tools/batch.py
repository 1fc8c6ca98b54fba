"""Many model files: what is to be done with each, doing it for one, and the record of what became of all."""

import glob
import hashlib
import json
import math
import os
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
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
        up_to_date: whether the output was there already and nothing was done.
        made_with: a hash of the model's time and size, the options and the version; "" if that is not known.
        sha256: of the output.
        sqnr_db: of the worst output; None where it was not compared, or is infinite: JSON has no such number.
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


def named_models(arguments: Sequence[str]) -> dict[str, str]:
    """Model files and folders, each with its name: arguments and globs expanded, in order, each once."""
    if not arguments:
        raise spiq_tf.InvalidArgumentError("expected model files, SavedModel folders or globs as arguments, found none")
    files: dict[str, None] = {}
    for argument in arguments:
        matches = [argument] if os.path.exists(argument) else sorted(glob.glob(argument, recursive=True))
        files.update(dict.fromkeys(matches or [argument]))  # a name that matches nothing fails as a file
    return {file: _model_name(Path(file)) for file in files}


def _model_name(path: Path) -> str:
    """A folder's whole name, dots included; a file's without its suffix."""
    return path.resolve().name if path.is_dir() else path.stem


def known_before(
    jobs: Iterable[Job], resume: bool, overwrite: bool, records: Mapping[str, Outcome]
) -> dict[str, Outcome]:
    """By model: the outcomes that need no conversion, since the output is up to date or must not be written.

    Args:
        jobs: of one run.
        resume: whether an output that is up to date stays.
        overwrite: whether an output that exists is replaced.
        records: of an earlier run, by name of the output.
    """
    taken: dict[Path, str] = {}
    known = {}
    for job in jobs:
        outcome = _known(job, resume, overwrite, records.get(job.output.name))
        if job.output in taken:
            error = f"{job.output} is already the output of {taken[job.output]}: rename one of them"
            outcome = Outcome(job.model, error=error)
        taken.setdefault(job.output, job.model)
        if outcome is not None:
            known[job.model] = outcome
    return known


def _known(job: Job, resume: bool, overwrite: bool, record: Outcome | None) -> Outcome | None:
    if not job.output.exists() or (overwrite and not resume):
        return None
    if not resume:
        error = f"{job.output} exists; pass --overwrite to replace it, --resume to keep it if it is up to date"
        return Outcome(job.model, error=error)
    if not Path(job.model).exists():
        return None  # fails as a file
    changed, _ = _stamp(Path(job.model))
    written = [path.stat().st_mtime_ns if path.exists() else 0 for path in (job.output, *(job.reports or ()))]
    content = job.output.read_bytes()
    found = Outcome(
        job.model,
        output=str(job.output),
        bytes=len(content),
        made_with=fingerprint(job),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    if not is_up_to_date(changed, written, found, record):
        return None
    return replace(record or replace(found, made_with=""), model=job.model, output=str(job.output), up_to_date=True)


def is_up_to_date(changed: int, written: Sequence[int], found: Outcome, record: Outcome | None) -> bool:
    """Whether files that are there are those that a conversion would write.

    They must be newer than the model: one of the same time may be from before. A record, if there is one, must be of
    the very output, made from this model with these options; without one the times alone decide.

    Args:
        changed: time of the model's last change.
        written: those of the output and the reports, in the same unit.
        found: `sha256` of the output that is there, and what it would be `made_with` now.
        record: of an earlier run.
    """
    if min(written) <= changed:
        return False
    return record is None or (record.sha256, record.made_with) == (found.sha256, found.made_with)


def fingerprint(job: Job) -> str:
    """Hash of everything that the output depends on; the model counts by its time and size."""
    parts = [VERSION, job.options, job.verify, _stamp(Path(job.model))]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _stamp(model: Path) -> tuple[int, int]:
    """Time of the last change in ns, and bytes: of a file, or of all files in a folder."""
    files = [model] if model.is_file() else [path for path in model.rglob("*") if path.is_file()]
    states = [path.stat() for path in files]
    return max((s.st_mtime_ns for s in states), default=0), sum(s.st_size for s in states)


def converted(job: Job) -> Outcome:
    """Converts one model; a failure becomes part of the outcome."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", spiq_tf.SpiqWarning)
            outcome = _written(job)
    except spiq_tf.SpiqError as error:
        outcome = Outcome(job.model, error=str(error))
    except Exception as error:  # one model among many: a defect of ours must not stop the others
        logging.exception("unexpected error in %s", job.model)
        outcome = Outcome(job.model, error=f"unexpected {type(error).__name__}: {error}")
    said = tuple(str(w.message) for w in caught if issubclass(w.category, spiq_tf.SpiqWarning))
    return replace(outcome, seconds=time.perf_counter() - start, warnings=said)


def _written(job: Job) -> Outcome:
    """Converts, verifies, and writes: the output last, so that it is there only with its reports."""
    made_with = fingerprint(job)
    model = spiq_tf.load_model(job.model, safe_mode=not job.trusted)
    result = spiq_tf.quantize(model, **job.options)
    verification = spiq_tf.verify(model, result) if job.verify else None
    if job.reports:
        report = result.report(verification)
        report.save_json(job.reports[0])
        report.save_html(job.reports[1])
    outcome = Outcome(
        job.model,
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
        made_with=made_with,
        sha256=hashlib.sha256(result.content).hexdigest(),
    )


def write_record(path: str, outcomes: Iterable[Outcome]) -> None:
    """Writes outcomes as JSON, in one step."""
    spiq_tf.write_atomically(path, json.dumps([asdict(outcome) for outcome in outcomes], indent=1).encode())


def read_record(path: str) -> dict[str, Outcome]:
    """The conversions in the JSON of an earlier run, by name of the output; none if there is no such file.

    Raises:
        InvalidArgumentError: the file is something else.
    """
    if not os.path.exists(path):
        return {}
    names = {field.name for field in fields(Outcome)}
    try:
        rows = json.loads(Path(path).read_bytes())
        outcomes = [Outcome(**{k: _frozen(v) for k, v in row.items() if k in names}) for row in rows]
    except (ValueError, AttributeError, TypeError) as error:
        raise spiq_tf.InvalidArgumentError(
            f"{path}: expected the --report_json of an earlier run, found something else ({error}); name another file,"
            " or remove it"
        ) from error
    return {Path(outcome.output).name: outcome for outcome in outcomes if outcome.output and outcome.made_with}


def _frozen(value: Any) -> Any:
    """JSON has lists where there were tuples."""
    return tuple(value) if isinstance(value, list) else value

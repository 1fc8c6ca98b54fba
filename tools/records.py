"""The record of a run, and what is up to date since an earlier one."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from batch import Job, Outcome, fingerprint, stamp

import spiq_tf


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
    changed, _ = stamp(Path(job.model))
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

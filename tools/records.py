"""The record of a run, and what is up to date since an earlier one."""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from batch import Job, Outcome, fingerprint, stamp

import spiq_tf


def known_before(jobs: Iterable[Job], resume: bool, overwrite: bool, earlier: Iterable[Outcome]) -> dict[str, Outcome]:
    """By model: the outcomes that need no conversion, since the output is up to date or must not be written.

    Args:
        jobs: of one run.
        resume: whether an output that is up to date stays.
        overwrite: whether an output that exists is replaced.
        earlier: rows of an earlier run's record.
    """
    records = {_name(row): row for row in earlier}
    taken: dict[Path, str] = {}
    known = {}
    for job in jobs:
        outcome = _known(job, resume, overwrite, records.get(job.output.name))
        if job.output in taken:
            outcome = _refused(job, f"{job.output} is already the output of {taken[job.output]}: rename one of them")
        taken.setdefault(job.output, job.model)
        if outcome is not None:
            known[job.model] = outcome
    return known


def _known(job: Job, resume: bool, overwrite: bool, record: Outcome | None) -> Outcome | None:
    if not job.output.exists() or (overwrite and not resume):
        return None
    if not resume:
        return _refused(
            job, f"{job.output} exists; pass --overwrite to replace it, --resume to keep it if it is up to date"
        )
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
    kept = record or replace(found, made_with="")
    place = str(job.output)
    return replace(kept, model=job.model, output=place, destination=place, up_to_date=True, of_earlier_run=False)


def _refused(job: Job, error: str) -> Outcome:
    """Not tried: what an earlier run made of the model still holds."""
    return Outcome(job.model, error=error, destination=str(job.output))


def is_up_to_date(changed: int, written: Sequence[int], found: Outcome, record: Outcome | None) -> bool:
    """Whether files that are there are those that a conversion would write.

    They must be newer than the model: one of the same time may be from before. A record, if there is one, must be of
    the very output, made from this model with these options, and that of a failure is of no output; without one the
    times alone decide.

    Args:
        changed: time of the model's last change.
        written: those of the output and the reports, in the same unit.
        found: `sha256` of the output that is there, and what it would be `made_with` now.
        record: of an earlier run.
    """
    if min(written) <= changed:
        return False
    return record is None or (record.sha256, record.made_with) == (found.sha256, found.made_with)


def carried(earlier: Iterable[Outcome], jobs: Collection[Job], rows: Iterable[Outcome]) -> list[Outcome]:
    """What an earlier run made of models that this run has not made anything of, by now or at all.

    Whoever kills this run and resumes it can still tell what the files that are there were made with. Rows of another
    folder that the jobs do not name are left out.

    Args:
        earlier: rows of the earlier run's record.
        jobs: of this run.
        rows: of this run, by now.
    """
    names, folders = {job.output.name for job in jobs}, {job.output.parent.resolve() for job in jobs}
    anew = {_name(row) for row in rows if row.made_with}
    kept = [row for row in earlier if _name(row) in names or Path(row.destination).parent.resolve() in folders]
    return [replace(row, of_earlier_run=True) for row in kept if _name(row) not in anew]


def write_record(path: str, outcomes: Iterable[Outcome]) -> None:
    """Writes outcomes as JSON, in one step."""
    spiq_tf.write_atomically(path, json.dumps([asdict(outcome) for outcome in outcomes], indent=1).encode())


def read_record(path: str) -> list[Outcome]:
    """The conversions in the JSON of an earlier run, one for each output, failures included; none if there is no such
    file, or nothing in it.

    Raises:
        InvalidArgumentError: the file is something else.
    """
    if not os.path.exists(path) or os.path.getsize(path) == 0:
        return []
    names = {field.name for field in fields(Outcome)}
    try:
        rows = json.loads(Path(path).read_bytes())
        outcomes = [Outcome(**{k: _frozen(v) for k, v in row.items() if k in names}) for row in rows]
    except (ValueError, AttributeError, TypeError) as error:
        raise spiq_tf.InvalidArgumentError(
            f"{path}: expected the --report_json of an earlier run, found something else ({error}); name another file,"
            " or remove it"
        ) from error
    tried = [replace(outcome, destination=outcome.destination or outcome.output or "") for outcome in outcomes]
    return list({_name(row): row for row in tried if row.made_with and row.destination}.values())


def _name(row: Outcome) -> str:
    """Of the output: a folder of models and outputs may have been moved."""
    return Path(row.destination).name


def _frozen(value: Any) -> Any:
    """JSON has lists where there were tuples."""
    return tuple(value) if isinstance(value, list) else value

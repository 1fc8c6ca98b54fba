"""Which models of a run need no conversion: their output is up to date, or must not be written."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from spiq_tf.commands.jobs import Job, fingerprint, modification_and_size
from spiq_tf.commands.outcome import Outcome, not_tried
from spiq_tf.commands.run_record import output_name


def outcomes_without_conversion(
    jobs: Iterable[Job], resume: bool, overwrite: bool, earlier: Iterable[Outcome]
) -> dict[str, Outcome]:
    """The outcomes of the models that need no conversion, by model.

    Args:
        jobs: of one run.
        resume: whether an output that is up to date stays.
        overwrite: whether an output that exists is replaced.
        earlier: rows of an earlier run's record.
    """
    rows = {output_name(row): row for row in earlier}
    model_of_output: dict[Path, str] = {}
    outcomes = {}
    for job in jobs:
        outcome = _outcome_without_conversion(job, resume, overwrite, rows.get(job.output.name))
        if job.output in model_of_output:
            other = model_of_output[job.output]
            outcome = not_tried(job, f"{job.output} is already the output of {other}: rename one of them")
        model_of_output.setdefault(job.output, job.model)
        if outcome is not None:
            outcomes[job.model] = outcome
    return outcomes


def _outcome_without_conversion(job: Job, resume: bool, overwrite: bool, row: Outcome | None) -> Outcome | None:
    if not job.output.exists() or (overwrite and not resume):
        return None
    if not resume:
        return not_tried(
            job, f"{job.output} exists; pass --overwrite to replace it, --resume to keep it if it is up to date"
        )
    if not Path(job.model).exists():
        return None  # fails as a file
    changed, _ = modification_and_size(Path(job.model))
    written = [path.stat().st_mtime_ns if path.exists() else 0 for path in (job.output, *(job.reports or ()))]
    current = _outcome_of_existing_output(job)
    if not is_up_to_date(changed, written, current, row):
        return None
    output = str(job.output)
    return replace(
        row or replace(current, made_with=""),
        model=job.model,
        output=output,
        destination=output,
        up_to_date=True,
        of_earlier_run=False,
    )


def _outcome_of_existing_output(job: Job) -> Outcome:
    content = job.output.read_bytes()
    return Outcome(
        model=job.model,
        output=str(job.output),
        bytes=len(content),
        made_with=fingerprint(job),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def is_up_to_date(changed: int, written: Sequence[int], current: Outcome, row: Outcome | None) -> bool:
    """Whether the existing files are those that a conversion would write.

    They must be newer than the model: a file of the same time may be older. A record, if there is one, must be of this
    output, made from this model with these options; the record of a failure belongs to no output. Without a record the
    times alone decide.

    Args:
        changed: time of the model's last change.
        written: those of the output and the reports, in the same unit.
        current: `sha256` of the existing output, and what it would be `made_with` now.
        row: of an earlier run's record.
    """
    if min(written) <= changed:
        return False
    return row is None or (row.sha256, row.made_with) == (current.sha256, current.made_with)

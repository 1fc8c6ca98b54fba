"""A run over many models: converts what is not up to date, side by side, and records every outcome as it comes."""

import contextlib
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from spiq_tf.commands import worker_pool
from spiq_tf.commands.convert_one import convert_job
from spiq_tf.commands.jobs import Job, fingerprint
from spiq_tf.commands.machine import GIB, cores, memory_bytes, single_thread_environment
from spiq_tf.commands.outcome import Outcome
from spiq_tf.commands.run_record import read_record, rows_of_earlier_run, write_record
from spiq_tf.commands.summary import outcome_line, print_summary
from spiq_tf.commands.up_to_date import outcomes_without_conversion
from spiq_tf.commands.worker_process import WorkerFailure
from spiq_tf.errors import InvalidArgumentError
from spiq_tf.files import remove_leftovers

MEMORY_OF_A_WORKER = 2 * GIB  # TensorFlow alone takes a third of it


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run goes, whatever its models are.

    Attributes:
        output_dir, report_dir: folders, created if they do not exist; no reports where the second is None.
        report_json: the record of the run, or None.
        resume: whether outputs that are up to date stay; not together with overwrite.
        overwrite: whether outputs that exist are replaced.
        keep_going: whether the run goes on after a failure.
        workers: how many processes convert, or None for as many as the machine has cores and memory for.
        worker_memory: bytes above which a worker is replaced, or None for an equal share of the machine's.
    """

    output_dir: Path
    report_dir: Path | None = None
    report_json: Path | None = None
    resume: bool = False
    overwrite: bool = False
    keep_going: bool = False
    workers: int | None = None
    worker_memory: float | None = None


def run_batch(jobs: Sequence[Job], options: RunOptions) -> int:
    """Converts what is not up to date, and prints the outcomes of all.

    Returns:
        The exit code: 0 if every model was converted or up to date, else 1.

    Raises:
        InvalidArgumentError: the options contradict each other, or the record cannot be read or written.
        OSError: a folder cannot be made.
    """
    if options.resume and options.overwrite:
        raise InvalidArgumentError("pass --resume or --overwrite, not both: one keeps what the other replaces")
    earlier = read_record(options.report_json) if options.report_json else []
    outcomes = outcomes_without_conversion(jobs, options.resume, options.overwrite, earlier)
    _make_folders(options)
    _record(jobs, outcomes, earlier, options)
    _remove_leftovers(options)  # of earlier runs that were killed
    try:
        for outcome in _convert_remaining(jobs, outcomes, options):
            outcomes[outcome.model] = outcome
            _record(jobs, outcomes, earlier, options)
    finally:
        _remove_leftovers(options)  # of workers that died
        print_summary(len(jobs), _in_order(jobs, outcomes), options.keep_going)
    return 0 if len(outcomes) == len(jobs) and all(o.error is None for o in outcomes.values()) else 1


def _make_folders(options: RunOptions) -> None:
    for folder in filter(None, (options.output_dir, options.report_dir)):
        folder.mkdir(parents=True, exist_ok=True)


def _remove_leftovers(options: RunOptions) -> None:
    """Removes partial files of dead processes from the folders of this run."""
    record_folder = options.report_json.parent if options.report_json else None
    for folder in filter(None, {options.output_dir, options.report_dir, record_folder}):
        remove_leftovers(folder)


def _convert_remaining(jobs: Sequence[Job], outcomes: Mapping[str, Outcome], options: RunOptions) -> Iterator[Outcome]:
    """Converts what has no outcome, showing progress; a failure without keep_going ends it, and the workers."""
    failed = [outcome for outcome in outcomes.values() if outcome.error is not None]
    for outcome in failed:
        print(outcome_line(outcome))
    remaining = [job for job in jobs if job.model not in outcomes]
    if not remaining or (failed and not options.keep_going):
        return
    running = _start_workers(remaining, options)
    progress = tqdm(total=len(jobs), initial=len(outcomes), unit="model", disable=not sys.stderr.isatty())
    with contextlib.closing(running), progress as bar:
        for job, result in running:
            outcome = _failure(job, result) if isinstance(result, WorkerFailure) else result
            with bar.external_write_mode():
                print(outcome_line(outcome), flush=True)
            bar.update()
            yield outcome
            if outcome.error is not None and not options.keep_going:
                return


def _start_workers(
    jobs: Sequence[Job], options: RunOptions
) -> Generator[tuple[Job, Outcome | WorkerFailure], None, None]:
    count = options.workers or max(1, min(len(jobs), cores(), memory_bytes() // MEMORY_OF_A_WORKER))
    return worker_pool.run(
        convert_job,
        jobs,
        workers=count,
        memory=memory_bytes() / count if options.worker_memory is None else options.worker_memory,
        environment=single_thread_environment(),
    )


def _failure(job: Job, failure: WorkerFailure) -> Outcome:
    error = f"the worker that converted it {failure.reason}"
    return Outcome(model=job.model, error=error, made_with=fingerprint(job), destination=str(job.output))


def _record(
    jobs: Sequence[Job], outcomes: Mapping[str, Outcome], earlier: Sequence[Outcome], options: RunOptions
) -> None:
    """Writes the record, if one is asked for: the rows of this run, then those of earlier ones that are still valid."""
    if options.report_json:
        rows = _in_order(jobs, outcomes)
        write_record(options.report_json, [*rows, *rows_of_earlier_run(earlier, jobs, rows)])


def _in_order(jobs: Sequence[Job], outcomes: Mapping[str, Outcome]) -> list[Outcome]:
    """The outcomes so far, in the order of the arguments."""
    return [outcomes[job.model] for job in jobs if job.model in outcomes]

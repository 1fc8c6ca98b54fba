"""The record of a run, --report_json: written anew after each model, read by a later run."""

import json
import os
from collections.abc import Collection, Iterable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from spiq_tf.commands.jobs import Job
from spiq_tf.commands.outcome import Outcome
from spiq_tf.errors import InvalidArgumentError
from spiq_tf.files import write_atomically


def rows_of_earlier_run(earlier: Iterable[Outcome], jobs: Collection[Job], rows: Iterable[Outcome]) -> list[Outcome]:
    """Rows of an earlier run for models that this run has not converted, so far or at all.

    After this run is killed and resumed they still say what the existing files were made with. Rows of other folders
    that the jobs do not name are left out.

    Args:
        earlier: rows of the earlier run's record.
        jobs: of this run.
        rows: of this run, so far.
    """
    names, folders = {job.output.name for job in jobs}, {job.output.parent.resolve() for job in jobs}
    replaced = {output_name(row) for row in rows if row.made_with}
    retained = [
        row for row in earlier if output_name(row) in names or Path(row.destination).parent.resolve() in folders
    ]
    return [replace(row, of_earlier_run=True) for row in retained if output_name(row) not in replaced]


def write_record(path: str | os.PathLike[str], outcomes: Iterable[Outcome]) -> None:
    """Writes outcomes as JSON, in one step."""
    write_atomically(path, json.dumps([asdict(outcome) for outcome in outcomes], indent=1).encode())


def read_record(path: str | os.PathLike[str]) -> list[Outcome]:
    """The conversions in the record of an earlier run, one for each output, including failures.

    Returns:
        An empty list if there is no such file, or it is empty.

    Raises:
        InvalidArgumentError: the file is no such record.
    """
    if not os.path.exists(path) or os.path.getsize(path) == 0:
        return []
    names = {field.name for field in fields(Outcome)}
    try:
        rows = json.loads(Path(path).read_bytes())
        outcomes = [Outcome(**{k: _with_tuples(v) for k, v in row.items() if k in names}) for row in rows]
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidArgumentError(
            f"{path}: expected the --report_json of an earlier run, found something else ({error}); name another file,"
            " or remove it"
        ) from error
    tried = [replace(outcome, destination=outcome.destination or outcome.output or "") for outcome in outcomes]
    return list({output_name(row): row for row in tried if row.made_with and row.destination}.values())


def output_name(row: Outcome) -> str:
    """Name of the output's file: a folder of models and outputs may have been moved."""
    return Path(row.destination).name


def _with_tuples(value: Any) -> Any:
    """JSON has lists where there were tuples."""
    return tuple(value) if isinstance(value, list) else value

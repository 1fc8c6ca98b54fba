"""What the user reads of a run: a line on each model as it ends, and a table of all."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from batch import Outcome
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 120
"""Of the table where it does not go to a terminal."""


def line(outcome: Outcome) -> str:
    """One line on one model."""
    if outcome.error is not None:
        return f"{outcome.model}: FAILED"
    notes = [f"{len(outcome.float_operators)} operators float"] if outcome.float_operators else []
    notes += [f"{len(outcome.fallback_layers)} layers by fallback"] if outcome.fallback_layers else []
    notes += list(outcome.warnings)
    tail = f" ({'; '.join(notes)})" if notes else ""
    return f"{outcome.model} -> {outcome.output}: {outcome.bytes / 1024:.0f} KiB, {outcome.seconds:.1f} s{tail}"


def print_summary(models: int, outcomes: Sequence[Outcome]) -> None:
    """Prints the table and how many of the models were converted, and what failed on stderr."""
    Console(width=None if sys.stdout.isatty() else WIDTH).print(_table(outcomes))
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    kept = sum(outcome.up_to_date for outcome in outcomes)
    tail = f", {kept} up to date" if kept else ""
    print(f"{len(outcomes) - len(failed) - kept} of {models} converted{tail}", flush=True)
    for outcome in failed:
        print(f"failed: {outcome.model}: {outcome.error}", file=sys.stderr)


def _table(outcomes: Iterable[Outcome]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("model", overflow="fold")
    for heading in ("KiB", "s", "dB", "float", "violations"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("notes", overflow="fold")
    for outcome in outcomes:
        cells = Path(outcome.model).name, *_figures(outcome), ", ".join(_notes(outcome))
        table.add_row(*map(Text, cells))
    return table


def _figures(outcome: Outcome) -> tuple[str, ...]:
    if outcome.error is not None:
        return "", f"{outcome.seconds:.1f}", _decibels(outcome), "", ""
    size = f"{outcome.bytes / 1024:.0f}"
    if _is_unknown(outcome):
        return size, "", "", "", ""
    counts = str(len(outcome.float_operators)), str(len(outcome.violations))
    return size, f"{outcome.seconds:.1f}", _decibels(outcome), *counts


def _decibels(outcome: Outcome) -> str:
    return "" if outcome.sqnr_db is None else f"{outcome.sqnr_db:.1f}"


def _is_unknown(outcome: Outcome) -> bool:
    """Whether nothing is known of an output but that it is newer than its model."""
    return outcome.up_to_date and not outcome.made_with


def _notes(outcome: Outcome) -> list[str]:
    if outcome.error is not None:
        return ["FAILED"]
    if _is_unknown(outcome):
        return ["up to date by its time alone: no record of its options"]
    notes = ["up to date"] if outcome.up_to_date else []
    notes += [f"{len(outcome.fallback_layers)} layers by fallback"] if outcome.fallback_layers else []
    notes += [f"{len(outcome.warnings)} warnings"] if outcome.warnings else []
    return notes

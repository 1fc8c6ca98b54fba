"""The printed output of a run: a line for each model as it ends, and a table of all."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spiq_tf.commands.command import error_of_file
from spiq_tf.commands.outcome import Outcome

WIDTH = 120
"""Of the table where it does not go to a terminal."""


def outcome_line(outcome: Outcome) -> str:
    """One line on one model."""
    if outcome.error is not None:
        return f"{outcome.model}: FAILED"
    notes = [f"{_counted(len(outcome.float_operators), 'operator')} float"] if outcome.float_operators else []
    notes += [_by_fallback(outcome)] if outcome.fallback_layers else []
    notes += [_outside(outcome)] if outcome.outside_delegate else []
    notes += list(outcome.warnings)
    tail = f" ({'; '.join(notes)})" if notes else ""
    return f"{outcome.model} -> {outcome.output}: {outcome.bytes / 1024:.0f} KiB, {outcome.seconds:.1f} s{tail}"


def print_summary(models: int, outcomes: Sequence[Outcome], keep_going: bool) -> None:
    """Prints the table and how many models were converted, and what failed on stderr.

    Args:
        models: how many there are.
        outcomes: of the models that the run reached.
        keep_going: whether the run went on after a failure.
    """
    Console(width=None if sys.stdout.isatty() else WIDTH).print(_table(outcomes))
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    up_to_date = sum(outcome.up_to_date for outcome in outcomes)
    remaining = models - len(outcomes)
    reason = " (--keep_going)" if failed and not keep_going else ""
    parts = [f"{len(outcomes) - len(failed) - up_to_date} of {models} converted"]
    parts += [f"{up_to_date} up to date"] if up_to_date else []
    parts += [f"{len(failed)} failed"] if failed else []
    parts += [f"{remaining} not tried{reason}"] if remaining else []
    print(", ".join(parts), flush=True)
    for outcome in failed:
        print(f"failed: {error_of_file(outcome.model, outcome.error)}", file=sys.stderr)


def shortest_distinct_paths(paths: Sequence[str]) -> list[str]:
    """The last part of each path, with as many parts before it as distinguish it from paths with the same end."""
    parts = [Path(path).parts for path in paths]
    counts = [1] * len(parts)
    while True:
        names = [str(Path(*each[-count:])) for each, count in zip(parts, counts, strict=True)]
        uses = Counter(names)
        longer = [
            count + (uses[name] > 1 and count < len(each))
            for name, each, count in zip(names, parts, counts, strict=True)
        ]
        if longer == counts:
            return names
        counts = longer


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("model", overflow="fold")
    for heading in ("KiB", "s", "dB", "float", "violations"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("notes", overflow="fold")
    names = shortest_distinct_paths([outcome.model for outcome in outcomes])
    for name, outcome in zip(names, outcomes, strict=True):
        cells = name, *_figures(outcome), ", ".join(_notes(outcome))
        table.add_row(*map(Text, cells))
    return table


def _figures(outcome: Outcome) -> tuple[str, ...]:
    if outcome.error is not None:
        return "", f"{outcome.seconds:.1f}", _decibels(outcome), "", ""
    size = f"{outcome.bytes / 1024:.0f}"
    if _is_without_record(outcome):
        return size, "", "", "", ""
    counts = str(len(outcome.float_operators)), str(len(outcome.violations))
    return size, f"{outcome.seconds:.1f}", _decibels(outcome), *counts


def _decibels(outcome: Outcome) -> str:
    return "" if outcome.sqnr_db is None else f"{outcome.sqnr_db:.1f}"


def _is_without_record(outcome: Outcome) -> bool:
    """Whether all that is known of an output is that it is newer than its model."""
    return outcome.up_to_date and not outcome.made_with


def _notes(outcome: Outcome) -> list[str]:
    if outcome.error is not None:
        return ["FAILED"]
    if _is_without_record(outcome):
        return ["up to date by its time alone: no record of its options"]
    notes = ["up to date"] if outcome.up_to_date else []
    notes += [_by_fallback(outcome)] if outcome.fallback_layers else []
    notes += [_outside(outcome)] if outcome.outside_delegate else []
    notes += [_counted(len(outcome.warnings), "warning")] if outcome.warnings else []
    return notes


def _by_fallback(outcome: Outcome) -> str:
    return f"{_counted(len(outcome.fallback_layers), 'layer')} by fallback"


def _outside(outcome: Outcome) -> str:
    return f"{_counted(len(outcome.outside_delegate), 'operator')} outside the delegate"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"

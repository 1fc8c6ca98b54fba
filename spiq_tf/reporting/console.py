"""The report in a terminal, as rich draws it. Names are Text: rich would read "[...]" in a plain string as markup."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from spiq_tf.reporting import words
from spiq_tf.reporting.facts import Facts

_WIDE = 120  # columns from which the table has a column of notes; in fewer they would squeeze the names
_HOT, _WARM = 0.1, 0.03  # shares of the noise that are colored


def tables(facts: Facts, width: int) -> Iterator[RenderableType]:
    """The verdict, the layers and the fallbacks, for a terminal of the given number of columns."""
    wide = width >= _WIDE
    yield _verdict(facts)
    yield _layers(facts, wide)
    if not wide:
        yield from _notes(facts)
    yield _fallbacks(facts)


def _verdict(facts: Facts) -> Panel:
    predicts = facts.expected_db is not None
    rows = [
        ("measured", words.decibels(None if facts.verification is None else facts.verification.sqnr_db)),
        ("predicted", words.decibels(facts.expected_db) + f", {words.TRUST}" * predicts),
        ("file", f"{words.kibibytes(facts.size)}, {words.counted(len(facts.float_operators), 'float operator')}"),
        ("operators", words.operator_counts(facts)),
        ("made for", facts.target),
        *([("speed", words.delegated(facts.delegation))] if facts.delegation else []),
        ("targets", "; ".join(f"{name}: {text}" for name, text in words.target_counts(facts))),
    ]
    grid = Table.grid(padding=(0, 2))
    for title, value in rows:
        grid.add_row(Text(title, "dim"), Text(value))
    problems = [Text(f"problem: {problem}", "bold red") for problem in facts.problems]
    color = "red" if facts.problems else "green" if facts.verification else "yellow"
    text = Text(words.verdict(facts), "bold")
    return Panel(Group(text, *problems, Text(), grid), title=Text(facts.name), border_style=color)


def _layers(facts: Facts, wide: bool) -> Table:
    """Without columns for source and notes in a narrow terminal."""
    measured = facts.verification is not None
    table = Table(title="Layers in order of execution", title_justify="left", expand=True)
    table.add_column("layer", ratio=1, overflow="fold")
    table.add_column("range", no_wrap=True)
    if wide:
        table.add_column("source", no_wrap=True)
    for heading in ("predicted", *(("measured", "own") * measured)):
        table.add_column(heading, justify="right", no_wrap=True)
    if wide:
        table.add_column("notes", ratio=1, overflow="fold")
    for layer in facts.layers:
        tensor, finding = layer.tensor, layer.finding
        noise = [_share(layer.measured_share), Text(words.decibels(None if finding is None else finding.own_db))]
        table.add_row(
            Text(layer.name),
            Text(words.interval(tensor.low, tensor.high)),
            *([Text(tensor.source.replace("_", " "))] * wide),
            _share(layer.predicted_share),
            *(noise * measured),
            *([Text("; ".join(layer.notes))] * wide),
        )
    return table


def _notes(facts: Facts) -> Iterator[Text]:
    """Below the table, followed by an empty line."""
    for layer in facts.layers:
        if layer.notes:
            yield Text(f"{layer.name}: {'; '.join(layer.notes)}")
    yield Text()


def _share(share: float | None) -> Text:
    style = "" if share is None or share < _WARM else "yellow" if share < _HOT else "bold red"
    return Text(words.percent(share), style)


def _fallbacks(facts: Facts) -> Table:
    table = Table(title="Fallbacks", title_justify="left", expand=True)
    table.add_column("what", ratio=2)
    table.add_column("number", justify="right", no_wrap=True)
    table.add_column("where", ratio=5, overflow="fold")
    for title, names in (
        ("operators that stay float", facts.float_operators),
        ("opaque layers, sampled", facts.fallback_layers),
        ("ranges that are estimates", tuple(t.layer or t.name for t in facts.estimated)),
        ("tensors that keep one scale", tuple(str(t.layer) for t in facts.unscaled)),
        ("operators without bias correction", facts.uncorrected),
        *([("operators outside XNNPACK", facts.outside_delegate)] if facts.delegation else []),
    ):
        table.add_row(Text(title), Text(str(len(names))), Text(", ".join(names)))
    return table

"""The report in a terminal, as rich draws it. Names are Text: rich would read "[...]" in a plain string as markup."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from spiq_tf.reporting import words
from spiq_tf.reporting.facts import Facts

_HOT, _WARM = 0.1, 0.03  # shares of the noise that are coloured


def tables(facts: Facts) -> Iterator[RenderableType]:
    """The verdict, the layers and the fallbacks."""
    yield _verdict(facts)
    yield _layers(facts)
    yield _fallbacks(facts)


def _verdict(facts: Facts) -> Panel:
    predicts = facts.expected_db is not None
    rows = [
        ("measured", words.decibels(None if facts.verification is None else facts.verification.sqnr_db)),
        ("predicted", words.decibels(facts.expected_db) + f", {words.TRUST}" * predicts),
        ("file", f"{words.kibibytes(facts.size)}, {words.counted(len(facts.float_operators), 'float operator')}"),
        ("operators", words.operator_counts(facts)),
        ("made for", facts.target),
        ("targets", "; ".join(f"{name}: {text}" for name, text in words.target_counts(facts))),
    ]
    grid = Table.grid(padding=(0, 2))
    for title, value in rows:
        grid.add_row(Text(title, "dim"), Text(value))
    problems = [Text(f"problem: {problem}", "bold red") for problem in facts.problems]
    colour = "red" if facts.problems else "green" if facts.verification else "yellow"
    text = Text(words.verdict(facts), "bold")
    return Panel(Group(text, *problems, Text(), grid), title=Text(facts.name), border_style=colour)


def _layers(facts: Facts) -> Table:
    table = Table(title="Layers in order of execution", title_justify="left", expand=True)
    table.add_column("layer", ratio=3, overflow="fold", min_width=12)
    table.add_column("range", ratio=2, overflow="fold")
    table.add_column("source", no_wrap=True)
    table.add_column("predicted", justify="right", no_wrap=True)
    if facts.verification is not None:
        table.add_column("measured", justify="right", no_wrap=True)
        table.add_column("own", justify="right", no_wrap=True)
    table.add_column("notes", ratio=3, overflow="fold")
    for layer in facts.layers:
        tensor, found = layer.tensor, layer.finding
        measured = [_share(layer.measured_share), Text(words.decibels(None if found is None else found.own_db))]
        table.add_row(
            Text(layer.name),
            Text(words.interval(tensor.low, tensor.high)),
            Text(tensor.source.replace("_", " ")),
            _share(layer.predicted_share),
            *(measured if facts.verification is not None else ()),
            Text("; ".join(layer.notes)),
        )
    return table


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
        ("layers that no rule describes", facts.fallback_layers),
        ("ranges that are estimates", tuple(t.layer or t.name for t in facts.estimated)),
        ("tensors that keep one scale", tuple(str(t.layer) for t in facts.unscaled)),
        ("operators without bias correction", facts.uncorrected),
    ):
        table.add_row(Text(title), Text(str(len(names))), Text(", ".join(names)))
    return table

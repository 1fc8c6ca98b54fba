"""The tables of a benchmark, as text and as Markdown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box, table
from rich.text import Text

from spiq_tf.benchmarking.speed import FLOAT, KINDS, OURS, TENSORFLOW, FileSpeed, NetworkSpeed

_FAILED = "failed"
_SHOWN_OF_AN_ERROR = 100
_DIGITS = 3


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: what it shows.
        head: names of the columns.
        rows: their cells.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(networks: Sequence[NetworkSpeed]) -> list[Table]:
    """A table of times for each number of threads, and one of what runs where."""
    counts = sorted({count for network in networks for count in network.threads})
    return [*(_times(networks, count) for count in counts), _delegation(networks)]


def _times(networks: Sequence[NetworkSpeed], threads: int) -> Table:
    rows = [_times_of_network(network, threads) for network in networks]
    if len(networks) > 1:
        means = (_ratio(_geometric_mean([n.ratio(kind, threads) for n in networks])) for kind in (TENSORFLOW, FLOAT))
        rows.append(("geometric mean", "", "", "", "", *means))
    title = f"Milliseconds on {threads} thread{'s' * (threads > 1)}"
    head = ("network", "input", *KINDS, f"{OURS} / {TENSORFLOW}", f"{OURS} / {FLOAT}")
    return Table(title, head, tuple(rows))


def _times_of_network(network: NetworkSpeed, threads: int) -> tuple[str, ...]:
    values = {kind: network.milliseconds(kind, threads) for kind in KINDS}
    times = (_FAILED if value is None else significant(value) for value in values.values())
    return network.name, network.shape, *times, *(_ratio(network.ratio(kind, threads)) for kind in (TENSORFLOW, FLOAT))


def _geometric_mean(ratios: Sequence[float | None]) -> float | None:
    known = [ratio for ratio in ratios if ratio is not None]
    return math.exp(sum(map(math.log, known)) / len(known)) if known else None


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def significant(value: float) -> str:
    """A number above 0 with three significant digits, without an exponent."""
    return f"{value:.{max(0, _DIGITS - 1 - math.floor(math.log10(value)))}f}"


def _delegation(networks: Sequence[NetworkSpeed]) -> Table:
    rows = [
        (network.name, *(_runs(network.files.get(kind, FileSpeed(error=network.error))) for kind in KINDS))
        for network in networks
    ]
    return Table("Pieces that XNNPACK runs, and operators outside them", ("network", *KINDS), tuple(rows))


def _runs(file: FileSpeed) -> str:
    """The pieces and the operators outside: "4; SOFTMAX, RELU 2"; or why there is nothing to run."""
    if file.error is not None:
        cut = len(file.error) > _SHOWN_OF_AN_ERROR
        return f"{_FAILED}: {file.error[:_SHOWN_OF_AN_ERROR]}{'...' * cut}"
    return "; ".join([str(file.pieces), *([listed(file.outside)] if file.outside else [])])


def listed(counts: Mapping[str, int]) -> str:
    """Each kind with its count: "SOFTMAX, RELU 2"."""
    return ", ".join(f"{kind} {count}" if count > 1 else kind for kind, count in counts.items())


def as_text(shown: Table) -> table.Table:
    """For a terminal."""
    result = table.Table(title=shown.title, title_justify="left", box=box.SIMPLE_HEAD)
    numeric = _numeric_columns(shown)
    for position, name in enumerate(shown.head):
        result.add_column(name, justify="right" if position in numeric else "left", overflow="fold")
    for row in shown.rows:
        result.add_row(*map(Text, row))
    return result


def as_markdown(shown: Table) -> str:
    """A heading, and the table below it."""
    numeric = _numeric_columns(shown)
    rule = "".join("---:|" if position in numeric else "---|" for position in range(len(shown.head)))
    lines = [f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |" for cells in (shown.head, *shown.rows)]
    return "\n".join([f"## {shown.title}", "", lines[0], f"|{rule}", *lines[1:]]) + "\n"


def _numeric_columns(shown: Table) -> frozenset[int]:
    """Columns whose cells are numbers, or say why there are none."""

    def is_number(cell: str) -> bool:
        return cell in ("", _FAILED) or cell.replace(".", "", 1).isdigit()

    columns = zip(*shown.rows, strict=True)
    return frozenset(position for position, cells in enumerate(columns) if all(map(is_number, cells)))

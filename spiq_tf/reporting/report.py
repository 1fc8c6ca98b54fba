"""What `QuantizedModel.report()` returns."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType

from spiq_tf.files import write_atomically
from spiq_tf.reporting import console, exchange, page, record, words
from spiq_tf.reporting.facts import ESTIMATES, Facts, layers_of, operators_by_kind, violations_by_target, why_unscaled
from spiq_tf.tensor_info import TensorInfo
from spiq_tf.tflite.delegation import Delegation
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.verification.finding import Verification

_RANGES = {
    "fallback": "Ranges sampled, since no primitive describes the layer (ranges= replaces them if accuracy is poor)",
    "told": "Ranges of the model's inputs, inferred from the model",
    "given": "Ranges given by the caller",
    "propagated": "Ranges computed from other ranges as if inputs were independent, without a BatchNorm's statistics",
}


@dataclass(frozen=True, kw_only=True)
class Report(Facts):
    """The report on a conversion.

    `print` shows its fallbacks as text, `rich.print` all of it as tables; the methods write it to files.
    Each of them raises InvalidArgumentError where the folder does not exist or cannot be written.
    """

    def __str__(self) -> str:
        ranges = [
            line
            for source in ESTIMATES
            for line in _section(_RANGES[source], [_range(t) for t in self.estimated if t.source == source])
        ]
        return "\n".join(
            [
                *_section("Operators that stay float", self.float_operators),
                *ranges,
                *_section("Tensors that keep one scale for all channels", map(_reason, self.unscaled)),
                *_section("Operators without bias correction", self.uncorrected),
                *self._delegated(),
            ]
        )

    def _delegated(self) -> list[str]:
        if self.delegation is None:
            return []
        return [*_section("Operators outside XNNPACK", self.outside_delegate), f"  {words.delegated(self.delegation)}"]

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield from console.tables(self, options.max_width)

    def as_dict(self) -> dict[str, Any]:
        """All of it as numbers, strings, lists and dicts; docs/report.md says what each field means."""
        return record.record(self)

    def save_html(self, path: str | os.PathLike[str]) -> None:
        """Writes one page that needs nothing else: no script, no font, no network."""
        write_atomically(path, page.page(self).encode())

    def save_json(self, path: str | os.PathLike[str]) -> None:
        """Writes `as_dict`."""
        _write_json(path, self.as_dict())

    def save_model_explorer(self, path: str | os.PathLike[str]) -> None:
        """Writes each operator's share of the noise as node data for Google's Model Explorer, which lays it over the
        file's graph: measured where the report has a verification, otherwise predicted."""
        _write_json(path, exchange.model_explorer(self))

    def save_calibration(self, path: str | os.PathLike[str]) -> None:
        """Writes the ranges as litert-quantizer's Calibrator saves and loads them, by tensor name."""
        _write_json(path, exchange.calibration(self))


def report_of(
    *,
    name: str,
    target: str,
    content: bytes,
    expected_db: float | None,
    tensors: tuple[TensorInfo, ...],
    float_operators: tuple[str, ...],
    fallback_layers: tuple[str, ...],
    uncorrected: tuple[str, ...],
    delegation: Delegation | None,
    verification: Verification | None,
) -> Report:
    """The report on a file; arguments and errors as in `Facts` and `layers_of`."""
    flat = FlatModel(content)
    return Report(
        name=name,
        target=target,
        size=len(content),
        graph=(flat.subgraph.name or b"").decode(errors="replace"),
        expected_db=expected_db,
        operators=operators_by_kind(flat),
        violations=violations_by_target(content),
        verification=verification,
        tensors=tensors,
        layers=layers_of(flat, tensors, float_operators, verification),
        float_operators=float_operators,
        fallback_layers=fallback_layers,
        uncorrected=uncorrected,
        delegation=delegation,
    )


def _write_json(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False).encode())


def _section(title: str, lines: Iterable[str]) -> list[str]:
    listed = list(lines)
    return [f"{title}: {len(listed) or 'none'}", *(f"  {line}" for line in listed)]


def _range(tensor: TensorInfo) -> str:
    return f"{tensor.layer or tensor.name}: [{tensor.low:.4g}, {tensor.high:.4g}]"


def _reason(tensor: TensorInfo) -> str:
    return f"{tensor.layer} ({why_unscaled(tensor)})"

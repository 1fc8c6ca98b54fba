"""What `QuantizedModel.report()` says: everything that did not go the best way."""

from collections.abc import Iterable
from dataclasses import dataclass

from spiq_tf.tensors import TensorInfo

_ORIGINS = {
    "fallback": "sampled, since no rule describes the layer; give them as ranges= if accuracy is poor",
    "told": "the model's input, told from the model",
    "given": "given by the caller",
    "propagated": "computed from other ranges as if inputs were independent, since no BatchNorm states them",
}
"""Sources of ranges other than a BatchNorm and the operator itself, the least certain first."""


@dataclass(frozen=True)
class Report:
    """What a conversion had to fall back on. `print` shows it as text.

    Attributes:
        estimated: tensors whose range comes neither from a BatchNorm nor from the operator itself.
        unscaled: tensors with channels that keep scale 1; each says why.
        float_operators: operators that stay float, each with the layer that it belongs to.
        uncorrected: operators whose bias is not corrected, since nothing is known of their input's mean.
    """

    estimated: tuple[TensorInfo, ...]
    unscaled: tuple[TensorInfo, ...]
    float_operators: tuple[str, ...]
    uncorrected: tuple[str, ...]

    def __str__(self) -> str:
        ranges = [
            line
            for source, meaning in _ORIGINS.items()
            for line in _section(f"Ranges {meaning}", [_range(t) for t in self.estimated if t.source == source])
        ]
        return "\n".join(
            [
                *_section("Operators that stay float", self.float_operators),
                *ranges,
                *_section("Tensors that keep one scale for all channels", map(_reason, self.unscaled)),
                *_section("Operators without bias correction", self.uncorrected),
            ]
        )


def report_of(tensors: Iterable[TensorInfo], float_operators: tuple[str, ...], uncorrected: tuple[str, ...]) -> Report:
    """The report on a file's tensors and operators."""
    tensors = tuple(tensors)
    estimated = tuple(t for t in tensors if t.source in _ORIGINS)
    return Report(estimated, tuple(t for t in tensors if t.unscaled), float_operators, uncorrected)


def _section(title: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return [f"{title}: {len(found) or 'none'}", *(f"  {line}" for line in found)]


def _range(tensor: TensorInfo) -> str:
    return f"{tensor.layer or tensor.name}: [{tensor.low:.4g}, {tensor.high:.4g}]"


def _reason(tensor: TensorInfo) -> str:
    return f"{tensor.layer} ({tensor.unscaled})"

"""A use of an operator, as far as its version depends on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class OperatorUse:
    """One operator of a file.

    Attributes:
        shapes: of its operands, those left out not counted.
        scales: first scale of each of them; 1 where there is none.
        output_scale: likewise of the output.
        options: its options in the schema, or None.
        listed: how many operands it lists, those left out counted.
    """

    shapes: Sequence[tuple[int, ...]]
    scales: Sequence[float]
    output_scale: float
    options: Any
    listed: int

    @property
    def rank(self) -> int:
        """Of the first operand."""
        return len(self.shapes[0])

    @property
    def is_grouped(self) -> bool:
        """Of a convolution: whether an output reads a part of the channels alone."""
        return self.shapes[0][-1] != self.shapes[1][-1]

    @property
    def broadcasts_five_axes(self) -> bool:
        """Whether operands of more than four axes have different shapes."""
        return self.rank > 4 and len(set(self.shapes)) > 1

    @property
    def enlarges(self) -> bool:
        """Of a product: whether the scales of its operands make more than that of the output."""
        first, second = self.scales
        return first * second >= self.output_scale

    def has(self, option: str) -> bool:
        """Whether an option is set."""
        return bool(getattr(self.options, option, 0))

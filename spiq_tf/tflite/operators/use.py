"""A use of an operator, as far as its version and XNNPACK's delegate depend on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorUse:
    """A tensor that an operator reads or computes.

    Attributes:
        type: its name in the schema, "INT8".
        shape: as the file states it.
        scales, zero_points: shape (1,), or one for each index along the axis; (0,) where it has none.
        axis: along which scales differ.
        stored: the bytes of a constant; None where the tensor is computed.
        unpacked: whether it is what a DEQUANTIZE makes of a constant: delegates compute such once, at the start.
    """

    type: str
    shape: tuple[int, ...]
    scales: npt.NDArray[np.float32]
    zero_points: npt.NDArray[np.int64]
    axis: int
    stored: npt.NDArray[np.uint8] | None
    unpacked: bool

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many values it has."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_constant(self) -> bool:
        """Whether its value is stored in the file."""
        return self.stored is not None

    @property
    def is_tensorwise(self) -> bool:
        """Whether it has one scale."""
        return len(self.scales) == 1 and self.axis == 0

    @property
    def scale(self) -> float:
        """Its first scale; 1 where there is none."""
        return float(self.scales[0]) if len(self.scales) else 1.0

    @property
    def zero_point(self) -> int:
        """Its first zero point; 0 where there is none."""
        return int(self.zero_points[0]) if len(self.zero_points) else 0

    @cached_property
    def integers(self) -> list[int]:
        """The values of a constant of int32 or int64, of others none: axes, shapes, strides."""
        if self.stored is None or self.type not in ("INT32", "INT64"):
            return []
        return [int(n) for n in self.stored.view(np.int32 if self.type == "INT32" else np.int64)]


@dataclass(frozen=True, kw_only=True)
class OperatorUse:
    """One operator of a file.

    Attributes:
        operands: as it lists them; None where one is left out.
        outputs: what it computes.
        options: its options in the schema, or None.
        version: that the file asks for.
    """

    operands: Sequence[TensorUse | None]
    outputs: Sequence[TensorUse]
    options: Any
    version: int

    @cached_property
    def inputs(self) -> list[TensorUse]:
        """Its operands, those left out not counted."""
        return [operand for operand in self.operands if operand is not None]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of its operands, those left out not counted."""
        return [operand.shape for operand in self.inputs]

    @property
    def output(self) -> TensorUse:
        """The first of its outputs."""
        return self.outputs[0]

    @property
    def rank(self) -> int:
        """Of the first operand."""
        return self.inputs[0].rank

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
        first, second = self.inputs
        return first.scale * second.scale >= self.output.scale

    def option(self, name: str) -> Any:
        """The value of an option; 0 where there is none."""
        return getattr(self.options, name, 0)

    def has(self, option: str) -> bool:
        """Whether an option is set."""
        return bool(self.option(option))

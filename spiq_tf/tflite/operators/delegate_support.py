"""Which uses of an operator XNNPACK, LiteRT's delegate for CPUs, takes: the part of it that is data.

Read in LiteRT's xnnpack_delegate.cc of August 2026, and proven on ai-edge-litert 2.3 by a file for each row and limit
(tests/test_delegate_support.py). The delegate asks the same on x86 and ARM. An older LiteRT may take less.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from spiq_tf.tflite.operators.use import OperatorUse, TensorUse

Condition: TypeAlias = Callable[[OperatorUse], str]
"""What a use breaks, "expected ..., found ..."; "" where it breaks nothing. Number and types of the operands are those
that `DelegateSupport` asks for."""

FLOATS = ("FLOAT32", "FLOAT16")
INTEGERS = ("INT8", "UINT8")
ANY = (*FLOATS, *INTEGERS)
"""Types of activations, by their names in the schema; the integers are quantized with one scale."""

MOST_AXES = 6
EVERY_RANK = (0, MOST_AXES)
FROM_ONE_AXIS = (1, MOST_AXES)
FROM_TWO_AXES = (2, MOST_AXES)
FOUR_AXES = (4, 4)


@dataclass(frozen=True, kw_only=True)
class DelegateSupport:
    """Which uses of an operator XNNPACK takes.

    Attributes:
        types: of the operands that the attributes from `weights` to `special` do not name, and of outputs.
        output_types: of outputs, where those differ.
        inputs, outputs: least and largest number.
        weights: operands that must be constants, stored or dequantized from stored ones.
        parameters: operands that must be stored constants: axes, shapes, strides.
        special: operands that may be computed, and that the conditions alone are about.
        ranks: least and largest number of axes of the operands that `types` is about; None where it is not asked.
        output_ranks: likewise of outputs.
        conditions: what else is asked.
    """

    types: Sequence[str] = ANY
    output_types: Sequence[str] = ()
    inputs: tuple[int, int] = (1, 1)
    outputs: tuple[int, int] = (1, 1)
    weights: Sequence[int] = ()
    parameters: Sequence[int] = ()
    special: Sequence[int] = ()
    ranks: tuple[int, int] | None = None
    output_ranks: tuple[int, int] | None = None
    conditions: Sequence[Condition] = ()

    def breach(self, use: OperatorUse) -> str:
        """Why XNNPACK leaves a use to LiteRT's own kernels, "expected ..., found ..."; "" where it takes it."""
        asked = (self._numbers, self._types, self._ranks, self._constants, *self.conditions)
        return next((text for condition in asked if (text := condition(use))), "")

    def _numbers(self, use: OperatorUse) -> str:
        numbers = (("operands", self.inputs, use.operands), ("outputs", self.outputs, use.outputs))
        for what, (least, largest), found in numbers:
            if not least <= len(found) <= largest:
                return f"expected {_between(least, largest)} {what}, found {len(found)}"
        missing = [place for place, t in enumerate(use.operands[: self.inputs[0]]) if t is None]
        return f"expected operand {missing[0]}, found it left out" if missing else ""

    def _data(self, use: OperatorUse) -> list[TensorUse]:
        others = {*self.weights, *self.parameters, *self.special}
        return [t for place, t in enumerate(use.operands) if t is not None and place not in others]

    def _types(self, use: OperatorUse) -> str:
        sides = (self._data(use), self.types), (use.outputs, self.output_types or self.types)
        return next((text for tensors, types in sides for t in tensors if (text := _type_breach(t, types))), "")

    def _ranks(self, use: OperatorUse) -> str:
        sides = (self._data(use), self.ranks), (use.outputs, self.output_ranks)
        return next((text for tensors, limits in sides for t in tensors if (text := rank_breach(t, limits))), "")

    def _constants(self, use: OperatorUse) -> str:
        for place, tensor in enumerate(use.operands):
            if tensor is None or tensor.is_constant or (tensor.unpacked and place in self.weights):
                continue
            if place in self.weights or place in self.parameters:
                return f"expected a constant as operand {place}, found a computed tensor"
        return ""


FLOAT_FUNCTION = DelegateSupport(types=FLOATS, ranks=EVERY_RANK)
"""Functions of single values that XNNPACK has on floats alone."""


def rank_breach(tensor: TensorUse, limits: tuple[int, int] | None) -> str:
    """Whether a tensor has too few or too many axes, or an empty one."""
    if limits is None or (limits[0] <= tensor.rank <= limits[1] and all(n > 0 for n in tensor.shape)):
        return ""
    return f"expected {_between(*limits)} axes, none of them empty, found {tensor.shape}"


def _type_breach(tensor: TensorUse, types: Sequence[str]) -> str:
    if tensor.type not in types:
        return f"expected {_listed(types)}, found {tensor.type.lower()}"
    if tensor.type in INTEGERS and not tensor.is_tensorwise:
        return f"expected one scale for the tensor, found {len(tensor.scales)}"
    return ""


def _listed(types: Sequence[str]) -> str:
    """Without float16, of which no activation of an int8 file is."""
    return " or ".join(name.lower() for name in types if name != "FLOAT16")


def _between(least: int, largest: int) -> str:
    return str(least) if least == largest else f"{least} to {largest}"

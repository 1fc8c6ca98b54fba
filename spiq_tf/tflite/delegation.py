"""What XNNPACK, LiteRT's delegate for CPUs, takes of a file: which operators it leaves, and in how many pieces it runs
the others.

Both are predicted from the file alone. LiteRT gives the delegate whole pieces: sets of operators that run one after the
other without waiting for an operator outside. Between two pieces tensors go through memory, and a kernel outside runs.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from spiq_tf.errors import ModelFileError
from spiq_tf.tflite.flatbuffer import FlatModel


@dataclass(frozen=True, kw_only=True)
class OperatorOutside:
    """An operator that XNNPACK leaves to LiteRT's own kernels, most of which are slower.

    Attributes:
        position: in the order of execution.
        kind: its name in the schema.
        tensor: name of its first output.
        reason: what XNNPACK expected, and what was found.
        values: how many it computes.
    """

    position: int
    kind: str
    tensor: str
    reason: str
    values: int


@dataclass(frozen=True, kw_only=True)
class Delegation:
    """What XNNPACK takes of a file.

    Attributes:
        operators: how many the file has.
        values: how many all of them compute, for one input.
        outside: the operators that XNNPACK leaves, in the order of execution.
        pieces: how many times XNNPACK is called for one input.
    """

    operators: int
    values: int
    outside: tuple[OperatorOutside, ...]
    pieces: int

    @property
    def share_outside(self) -> float:
        """Of the values, those that are computed by operators outside."""
        return sum(operator.values for operator in self.outside) / max(self.values, 1)


def delegation_of(flat: FlatModel) -> Delegation:
    """What XNNPACK takes of a file, with 8-bit kernels, as LiteRT's packages have it by default."""
    reasons = _reasons(flat)
    operators = flat.operators
    outside = [
        OperatorOutside(
            position=position,
            kind=flat.kind(operators[position]),
            tensor=flat.name(int(operators[position].outputs[0])),
            reason=reason,
            values=_computed(flat, operators[position]),
        )
        for position, reason in reasons.items()
    ]
    return Delegation(
        operators=len(operators),
        values=sum(_computed(flat, operator) for operator in operators),
        outside=tuple(outside),
        pieces=len(delegated_pieces(flat, reasons.keys())),
    )


def _computed(flat: FlatModel, operator: Any) -> int:
    return sum(use.size for use in flat.use(operator).outputs)


def _reasons(flat: FlatModel) -> dict[int, str]:
    """Why operators stay outside, by their place in the order of execution.

    A DEQUANTIZE of a constant is computed once, at the start, unless an operator outside reads it.
    """
    reasons: dict[int, str] = {}
    unpacking: dict[int, int] = {}  # tensors that are made of constants, with the places of the operators
    for position, operator in enumerate(flat.operators):
        if _unpacks_constant(flat, operator, unpacking):
            unpacking[int(operator.outputs[0])] = position
            continue
        reason = _reason(flat, operator, unpacking)
        if reason:
            reasons[position] = reason
            read = [unpacking[i] for i in _reads(operator) if i in unpacking]
            text = f"expected a constant that XNNPACK alone reads, found that {flat.kind(operator)} reads it too"
            reasons.update(dict.fromkeys(read, text))
    return dict(sorted(reasons.items()))


def _unpacks_constant(flat: FlatModel, operator: Any, unpacked: Collection[int]) -> bool:
    if flat.kind(operator) != "DEQUANTIZE":
        return False
    use = flat.use(operator, unpacked)
    if len(use.inputs) != 1 or len(use.outputs) != 1:
        return False
    (source,), output = use.inputs, use.output
    known = source.is_constant or source.unpacked
    unpackable = source.type == "FLOAT16" or (source.type == "INT8" and len(source.scales) > 0)
    return known and unpackable and output.type == "FLOAT32"


def _reason(flat: FlatModel, operator: Any, unpacked: Collection[int]) -> str:
    """Why XNNPACK leaves an operator; "" where it takes it."""
    support = flat.row(operator).xnnpack
    if support is None:
        return f"expected an operator that XNNPACK takes, found {flat.kind(operator)}"
    return support.breach(flat.use(operator, unpacked))


def _reads(operator: Any) -> set[int]:
    return set() if operator.inputs is None else {int(i) for i in operator.inputs if i >= 0}


def delegated_pieces(flat: FlatModel, outside: Collection[int]) -> list[list[int]]:
    """The pieces that LiteRT makes of the operators that are not outside, each by places in the order of execution.

    The first operator that is ready begins a piece, or a run of operators outside; all that are ready then, or become
    so by it, and are on the same side belong to it, also where operators of the other side stand between. An operator
    is ready when all that it reads is computed.

    Raises:
        ModelFileError: operators wait for each other.
    """
    reads = [_reads(operator) for operator in flat.operators]
    makes = [{int(i) for i in operator.outputs} for operator in flat.operators]
    missing, waiting = set().union(*makes), list(range(len(reads)))
    pieces: list[list[int]] = []
    while waiting:
        run: list[int] = []
        is_outside = False
        for position in waiting:
            if not reads[position].isdisjoint(missing):
                continue
            if not run:
                is_outside = position in outside
            if (position in outside) == is_outside:
                run.append(position)
                missing -= makes[position]
        if not run:
            raise ModelFileError(f"operators {waiting} wait for what they compute themselves: the file is damaged")
        if not is_outside:
            pieces.append(run)
        waiting = sorted({*waiting} - {*run})
    return pieces

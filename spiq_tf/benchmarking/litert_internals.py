"""The only file that uses what LiteRT does not document: the operators of an interpreter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DELEGATE = "DELEGATE"
"""The kind of a node in whose place a delegate runs operators."""


@dataclass(frozen=True, kw_only=True)
class RuntimeOperator:
    """A node of an interpreter.

    Attributes:
        index: its number, unlike any other's.
        kind: the operator's name in the schema, or DELEGATE.
        inputs, outputs: tensors, by index; operands that are left out are not among them.
    """

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def runtime_operators(interpreter: Any) -> list[RuntimeOperator]:
    """The nodes of the main subgraph, once its tensors are allocated: the file's operators, then those of a delegate.

    Operators in whose place a delegate's node runs stay in the list.
    """
    return [
        RuntimeOperator(
            index=int(operator["index"]),
            kind=str(operator["op_name"]),
            inputs=_present(operator["inputs"]),
            outputs=_present(operator["outputs"]),
        )
        for operator in interpreter._get_ops_details()
    ]


def _present(tensors: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(index) for index in tensors if index >= 0)

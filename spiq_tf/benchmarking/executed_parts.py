"""What LiteRT runs of a file: how many pieces XNNPACK takes, and which operators stay outside."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ai_edge_litert import interpreter as litert

from spiq_tf.benchmarking.litert_internals import DELEGATE, RuntimeOperator, runtime_operators
from spiq_tf.tflite.silence import silence


@dataclass(frozen=True)
class ExecutedParts:
    """What runs of a file.

    Attributes:
        pieces: parts of the file that the delegate runs, one after the other.
        outside: kinds of the operators that LiteRT's own kernels run, by name, with their counts.
    """

    pieces: int
    outside: Mapping[str, int]

    @property
    def is_whole(self) -> bool:
        """Whether the delegate runs all of the file in one piece."""
        return self.pieces == 1 and not self.outside


def executed_parts(content: bytes) -> ExecutedParts:
    """Observed in LiteRT itself, on this machine's processor.

    Raises:
        ValueError, RuntimeError: LiteRT refuses the file.
    """
    with silence():
        interpreter = litert.Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    outputs = [int(detail["index"]) for detail in interpreter.get_output_details()]
    return parts_of(executed_kinds(runtime_operators(interpreter), outputs))


def parts_of(kinds: Iterable[str]) -> ExecutedParts:
    """Of the kinds of all nodes that run."""
    counts = Counter(kinds)
    pieces = counts.pop(DELEGATE, 0)
    return ExecutedParts(pieces, dict(sorted(counts.items())))


def executed_kinds(operators: Sequence[RuntimeOperator], outputs: Iterable[int]) -> list[str]:
    """Kinds of the operators that compute the outputs, walking upstream.

    Args:
        operators: all, those that a delegate's node has replaced among them; it stands after them.
        outputs: tensors of the file, by index.
    """
    producers = {tensor: operator for operator in operators for tensor in operator.outputs}
    waiting, executed = list(outputs), dict[int, str]()
    while waiting:
        operator = producers.get(waiting.pop())
        if operator is not None and operator.index not in executed:
            executed[operator.index] = operator.kind
            waiting += operator.inputs
    return list(executed.values())

"""What keeps a file from running in one piece on XNNPACK, LiteRT's delegate for CPUs: it runs all the same, slower."""

from collections.abc import Iterator

from spiq_tf.conformance.violation import Violation
from spiq_tf.targets import Target
from spiq_tf.tflite.delegation import delegation_of
from spiq_tf.tflite.flatbuffer import FlatModel


def one_delegated_piece(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """The delegate takes all operators, so that they run in one piece. Where it does not: the number of pieces, and
    each operator that stays outside."""
    if not target.lists_slow_operators:
        return
    delegation = delegation_of(flat)
    count, pieces = delegation.operators, delegation.pieces
    if not delegation.outside:
        return
    yield Violation(
        rule="delegated pieces",
        found=f"expected one piece of {count} operators, found {pieces} of {count - len(delegation.outside)}",
        advice="see the operators outside the delegate: each piece is a call of its own",
        slows=True,
    )
    for operator in delegation.outside:
        yield Violation(
            rule="outside the delegate",
            operator=f"{operator.position} {operator.kind}",
            tensor=operator.tensor,
            found=operator.reason,
            advice="it runs in LiteRT's own kernel, which mostly is slower: replace it where that counts",
            slows=True,
        )

"""Numbers and sentences of the report, common to all its forms."""

import math
from collections.abc import Iterable, Sequence

from spiq_tf.conformance.violation import Violation
from spiq_tf.reporting.facts import Facts
from spiq_tf.tflite.delegation import Delegation

SOURCES = {
    "batch_norm": "from a BatchNorm",
    "propagated": "computed from other ranges",
    "fixed": "fixed by the operator",
    "given": "given by the caller",
    "told": "inferred from the model",
    "fallback": "sampled: no primitive describes the layer",
}
"""Where a range comes from."""

TRUST = "a rough guide"  # QuantizedModel.expected_db has figures
NONE = "-"
_LEAST_SHOWN = 0.0005


def decibels(value: float | None) -> str:
    """A signal-to-noise ratio with its unit."""
    if value is None:
        return NONE
    return "no noise" if math.isinf(value) else f"{value:.1f} dB"


def percent(value: float | None) -> str:
    """A share in percent; "<0.1%" instead of 0.0% for a small one."""
    if value is None:
        return NONE
    return "<0.1%" if 0 < value < _LEAST_SHOWN else f"{value:.1%}"


def number(value: float | None) -> str:
    """With four significant digits."""
    return NONE if value is None else f"{value + 0.0:.4g}"


def interval(low: float, high: float) -> str:
    """A range as a pair."""
    return f"[{number(low)}, {number(high)}]"


def counted(count: int, thing: str) -> str:
    """A number of things: "no violations", "1 violation"."""
    return f"{count or 'no'} {thing}{'s' * (count != 1)}"


def kibibytes(size: int) -> str:
    """The size of a file."""
    return f"{size / 1024:,.0f} KiB"


def verdict(facts: Facts) -> str:
    """The verdict in one or two sentences."""
    verification = facts.verification
    if verification is None:
        return f"Not measured. {predicted(facts)}"
    inputs = f"{counted(verification.examples, 'generated input' if verification.generated else 'given input')}"
    worst = " of the worst output" if len(verification.outputs) > 1 else ""
    problems = counted(len(verification.problems), "problem")
    heads = [f"The file is not fit for use: {problems} found."] if verification.problems else []
    heads.append(
        f"On {inputs} the int8 file differs from the float model by {_amplitude(verification.sqnr_db)} of the size"
        f" of its outputs: {decibels(verification.sqnr_db)} signal to noise{worst}."
    )
    agreement = lowest_agreement(facts)
    if agreement is not None:
        heads.append(f"Its largest output is the float model's in {agreement:.1%} of the cases.")
    return " ".join(heads)


def predicted(facts: Facts) -> str:
    """The predicted signal-to-noise ratio."""
    if facts.expected_db is None:
        return "The method that was chosen predicts no signal-to-noise ratio."
    return (
        f"{decibels(facts.expected_db)} signal to noise is predicted from the weights, {TRUST}:"
        f" differences of {_amplitude(facts.expected_db)} of the size of the outputs."
    )


def lowest_agreement(facts: Facts) -> float | None:
    """How often the largest output is the float model's, of the output where that is rarest."""
    outputs = () if facts.verification is None else facts.verification.outputs
    return min((o.agreement for o in outputs if o.agreement is not None), default=None)


def operator_counts(facts: Facts) -> str:
    """How many operators of each kind."""
    return ", ".join(f"{count} {kind}" for kind, count in facts.operators.items())


def target_counts(facts: Facts) -> Iterable[tuple[str, str]]:
    """Each target, and how many violations the file has there."""
    return ((name, violation_counts(violations)) for name, violations in facts.violations.items())


def violation_counts(violations: Sequence[Violation]) -> str:
    """How many rules are broken, and how many operators the delegate leaves."""
    outside = sum(v.slows and v.operator is not None for v in violations)
    broken = counted(sum(not v.slows for v in violations), "violation")
    return f"{broken}, {counted(outside, 'operator')} outside the delegate" if outside else broken


def delegated(delegation: Delegation) -> str:
    """What XNNPACK runs, in how many pieces, and what the rest costs."""
    count, outside = delegation.operators, len(delegation.outside)
    name = "XNNPACK, LiteRT's delegate for CPUs,"
    if not outside:
        return f"{name} runs all {counted(count, 'operator')}, in {counted(delegation.pieces, 'piece')}."
    return (
        f"{name} runs {count - outside} of {counted(count, 'operator')}, in {counted(delegation.pieces, 'piece')}."
        f" LiteRT's own kernels, most of which are slower, compute {percent(delegation.share_outside)} of all values."
    )


def _amplitude(db: float) -> str:
    return percent(10 ** (-db / 20))

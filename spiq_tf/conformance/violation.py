"""A broken rule."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A rule that a file breaks.

    Attributes:
        rule: in a few words.
        operator: its index in the order of execution and its kind, "12 CONV_2D"; None where the whole file is meant.
        tensor: the name of the tensor that is meant, or of the operator's first output; "" where the whole file is.
        found: what was expected and what was found.
        advice: what to do.
    """

    rule: str
    operator: str | None = None
    tensor: str = ""
    found: str
    advice: str

    def __str__(self) -> str:
        place = "file" if self.operator is None else f"operator {self.operator}"
        name = f", tensor {self.tensor!r}" if self.tensor else ""
        return f"{place}{name}: {self.rule}: {self.found}; {self.advice}"

"""A broken rule, or what makes a file slower than it could be."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A rule that a file breaks, or what makes it slower than it could be on the target.

    Attributes:
        rule: in a few words.
        operator: its index in the order of execution and its kind, "12 CONV_2D"; None where the whole file is meant.
        tensor: the name of the tensor that is meant, or of the operator's first output; "" where the whole file is.
        found: what was expected and what was found.
        advice: what to do.
        slows: whether the file runs all the same, in kernels that mostly are slower: it breaks no rule then.
    """

    rule: str
    operator: str | None = None
    tensor: str = ""
    found: str
    advice: str
    slows: bool = False

    def __str__(self) -> str:
        place = "file" if self.operator is None else f"operator {self.operator}"
        name = f", tensor {self.tensor!r}" if self.tensor else ""
        return f"{place}{name}: {self.rule}: {self.found}; {self.advice}"

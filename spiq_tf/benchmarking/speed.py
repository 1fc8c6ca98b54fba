"""What is measured of a network: the times of its three files, and what XNNPACK runs of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

FLOAT, TENSORFLOW, OURS = "float", "TFLiteConverter", "spiq_tf"
KINDS = (FLOAT, TENSORFLOW, OURS)
"""The files: TFLiteConverter's float32 one and its full-integer int8 one, and our int8 one."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a network is measured.

    Attributes:
        input_range: smallest and largest value of its inputs; None: inferred from the model.
        target: of our file.
        rounds: turns of each file.
        threads: numbers of them.
    """

    input_range: tuple[float, float] | None
    target: str
    rounds: int
    threads: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class FileSpeed:
    """One file.

    Attributes:
        error: why it could not be made, or does not run; None: it runs, and the rest is known.
        milliseconds: the best time of an inference, for each number of threads.
        pieces: parts that the delegate runs.
        outside: kinds of the operators that it leaves, with their counts.
        kib: size.
    """

    error: str | None = None
    milliseconds: tuple[float, ...] = ()
    pieces: int = 0
    outside: Mapping[str, int] = field(default_factory=dict)
    kib: float = 0.0


@dataclass(frozen=True, kw_only=True)
class NetworkSpeed:
    """One network.

    Attributes:
        name: as the user gave it.
        error: why nothing was measured, or None.
        shape: of its inputs, without the batch.
        threads: with which the files were timed.
        files: by KINDS.
    """

    name: str
    error: str | None = None
    shape: str = ""
    threads: tuple[int, ...] = ()
    files: Mapping[str, FileSpeed] = field(default_factory=dict)

    @property
    def errors(self) -> list[str]:
        """All that failed."""
        whole = [] if self.error is None else [self.error]
        return whole + [f"{kind}: {file.error}" for kind, file in self.files.items() if file.error is not None]

    def milliseconds(self, kind: str, threads: int) -> float | None:
        """The best time of a file, or None where it was not timed."""
        file = self.files.get(kind)
        if file is None or file.error is not None or threads not in self.threads:
            return None
        return file.milliseconds[self.threads.index(threads)]

    def ratio(self, kind: str, threads: int) -> float | None:
        """Our time relative to that of another file; below 1 where ours is faster."""
        ours, other = self.milliseconds(OURS, threads), self.milliseconds(kind, threads)
        return None if ours is None or other is None else ours / other

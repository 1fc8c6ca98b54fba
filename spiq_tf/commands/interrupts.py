"""SIGINT and SIGTERM as an exception, and sections of code that they do not interrupt (POSIX)."""

import contextlib
import signal
from collections.abc import Iterable, Iterator
from types import FrameType

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """SIGINT or SIGTERM has come.

    Attributes:
        exit_code: of a process that ends because of it: 130 or 143.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextlib.contextmanager
def interrupts_as_exceptions() -> Iterator[None]:
    """Within it SIGINT and SIGTERM raise `Interrupted` in the main thread.

    Once: both are ignored from then on, so that a second one does not disturb the end of the process.
    """

    def interrupt(number: int, _: FrameType | None) -> None:
        for stopping in STOPPING_SIGNALS:
            signal.signal(stopping, signal.SIG_IGN)
        raise Interrupted(number)

    previous = {stopping: signal.signal(stopping, interrupt) for stopping in STOPPING_SIGNALS}
    try:
        yield
    finally:
        for stopping, handler in previous.items():
            if signal.getsignal(stopping) is interrupt:  # not where one has come
                signal.signal(stopping, handler)


@contextlib.contextmanager
def signals_blocked(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Within it the signals are blocked: they arrive at its end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

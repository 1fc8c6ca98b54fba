"""Processes that work through jobs side by side, each one job after the other (POSIX).

A process that dies costs only the job in its hands, and one that has grown too large is replaced. Processes are fresh
ones, not forks, and end by themselves when their parent is gone.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

_STOPPING = (signal.SIGINT, signal.SIGTERM)

_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import workers; workers.serve(int(sys.argv[2]))"


@dataclass(frozen=True)
class Lost:
    """What became of a job without a result; the reason completes "the worker ..."."""

    reason: str


class Interrupted(BaseException):
    """SIGINT or SIGTERM has come.

    Attributes:
        exit_code: what a process that ends for it returns: 130 or 143.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def raise_when_interrupted() -> None:
    """From now on SIGINT and SIGTERM raise `Interrupted` in the main thread; once, so that ending is not disturbed."""

    def interrupt(number: int, _: FrameType | None) -> None:
        for stopping in _STOPPING:
            signal.signal(stopping, signal.SIG_IGN)
        raise Interrupted(number)

    for stopping in _STOPPING:
        signal.signal(stopping, interrupt)


def run(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    workers: int,
    memory: float = float("inf"),
    environment: Mapping[str, str] | None = None,
) -> Generator[tuple[Job, Result | Lost], None, None]:
    """Calls a function for each job in other processes; closing the iterator ends them at once.

    Args:
        function: of a module, so that a process can import it.
        jobs: arguments, handed out in order.
        workers: how many processes work at a time.
        memory: bytes; a process that holds more after a job is replaced.
        environment: variables that the processes have beside their parent's, before they import anything.

    Yields:
        Each job with its result, or with the reason why it has none, as they end.
    """
    waiting = deque(jobs)
    crew: list[_Worker[Job, Result]] = []
    try:
        while waiting or crew:
            while waiting and len(crew) < workers:
                with _held_back(_STOPPING):  # else a worker could start and be in no list
                    crew.append(_Worker(function, environment or {}))
                crew[-1].take(waiting.popleft())
            ready = wait([worker.connection for worker in crew])
            for worker in [w for w in crew if w.connection in ready]:
                done = worker.job
                result, size = worker.answer()
                if waiting and size < memory and worker.take(waiting[0]):
                    waiting.popleft()
                else:
                    crew.remove(worker)
                    worker.end()
                yield done, result
    finally:
        for worker in crew:
            worker.end()


class _Worker(Generic[Job, Result]):
    """One process and the job in its hands."""

    job: Job

    def __init__(self, function: Callable[[Job], Result], environment: Mapping[str, str]) -> None:
        self.connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(theirs.fileno())],
            env=os.environ | environment,
            stdin=subprocess.PIPE,  # nothing is written: it ends when this process does, however that comes about
            pass_fds=[theirs.fileno()],
        )
        theirs.close()  # else the end of the process would not be seen here
        self._function = function

    def take(self, job: Job) -> bool:
        """Hands over a job; False where the process has died since its last one."""
        self.job = job
        try:
            self.connection.send((self._function, job))
        except BrokenPipeError:
            return False
        return True

    def answer(self) -> tuple[Result | Lost, float]:
        """The result of the job and the bytes that the process now holds: without end if it has died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return Lost(self._how_it_ended()), float("inf")

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.communicate()
        self.connection.close()

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "hung up"
        if code >= 0:
            return f"ended with exit code {code}"
        name = {s.value: s.name for s in signal.Signals}.get(-code, "unknown")
        hint = ": killed from outside, as the system does where memory runs out" if -code == signal.SIGKILL else ""
        return f"died: signal {-code} ({name}){hint}"


def serve(handle: int) -> None:
    """A worker's whole life: calls the functions that come through a connection, each with its job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(OSError):  # Linux: where memory runs out, workers go before their parent
        Path("/proc/self/oom_score_adj").write_text("500")
    jobs: Connection = Connection(handle)
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent is gone
        while True:
            function, job = jobs.recv()
            try:
                result = function(job)
            except Exception as error:
                traceback.print_exc()
                result = Lost(f"raised {type(error).__name__}: {error}")
            jobs.send((result, _resident_bytes()))


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _resident_bytes() -> int:
    """What this process holds in memory now; where the system does not say, the most that it ever held."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


@contextlib.contextmanager
def _held_back(signals: Iterable[signal.Signals]) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

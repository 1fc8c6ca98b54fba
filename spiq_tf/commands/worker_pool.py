"""Processes that work on jobs in parallel, each on one job after the other (POSIX).

A process that dies costs only its current job, and one that occupies too much memory is replaced. Processes are
spawned, not forked, and end by themselves when their parent has ended.
"""

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import Generic, TypeVar

from spiq_tf.commands.interrupts import STOPPING_SIGNALS, signals_blocked
from spiq_tf.commands.worker_process import WorkerFailure

Job = TypeVar("Job")
Result = TypeVar("Result")

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from spiq_tf.commands.worker_process import serve; serve(int(sys.argv[2]))"
)


def run(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    workers: int,
    memory: float = float("inf"),
    environment: Mapping[str, str] | None = None,
) -> Generator[tuple[Job, Result | WorkerFailure], None, None]:
    """Calls a function for each job in other processes; closing the iterator ends them at once.

    Args:
        function: of a module, so that a process can import it.
        jobs: arguments, assigned in order.
        workers: how many processes work at a time.
        memory: bytes; a process that occupies more after a job is replaced.
        environment: variables that the processes have beside their parent's, before they import anything.

    Yields:
        Each job with its result, or with the reason why it has none, as they end.
    """
    waiting = deque(jobs)
    pool: list[_Worker[Job, Result]] = []
    try:
        while waiting or pool:
            while waiting and len(pool) < workers:
                with signals_blocked(STOPPING_SIGNALS):  # else a worker could start and be in no list
                    pool.append(_Worker(function, environment or {}))
                pool[-1].start(waiting.popleft())
            ready = wait([worker.connection for worker in pool])
            for worker in [w for w in pool if w.connection in ready]:
                job = worker.job
                result, occupied = worker.result()
                if waiting and occupied < memory and worker.start(waiting[0]):
                    waiting.popleft()
                else:
                    pool.remove(worker)
                    worker.end()
                yield job, result
    finally:
        for worker in pool:
            worker.end()


class _Worker(Generic[Job, Result]):
    """One process and its current job."""

    job: Job

    def __init__(self, function: Callable[[Job], Result], environment: Mapping[str, str]) -> None:
        self.connection, other_end = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(other_end.fileno())],
            env=os.environ | environment,
            stdin=subprocess.PIPE,  # nothing is written: it closes when this process ends, for whatever reason
            pass_fds=[other_end.fileno()],
        )
        other_end.close()  # else the end of the process would not be seen here
        self._function = function

    def start(self, job: Job) -> bool:
        """Sends a job; False where the process has died since its last one."""
        self.job = job
        try:
            self.connection.send((self._function, job))
        except BrokenPipeError:
            return False
        return True

    def result(self) -> tuple[Result | WorkerFailure, float]:
        """The result of the job and the bytes that the process now occupies: infinite if it has died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return WorkerFailure(self._reason_of_death()), float("inf")

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.communicate()
        self.connection.close()

    def _reason_of_death(self) -> str:
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "hung up"
        if code >= 0:
            return f"ended with exit code {code}"
        name = {s.value: s.name for s in signal.Signals}.get(-code, "unknown")
        hint = ": killed from outside, as the system does where memory runs out" if -code == signal.SIGKILL else ""
        return f"died: signal {-code} ({name}){hint}"

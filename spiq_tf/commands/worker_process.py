"""The program of a worker process: one job after the other until its parent has ended."""

import contextlib
import os
import resource
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from spiq_tf.commands.interrupts import STOPPING_SIGNALS


@dataclass(frozen=True)
class WorkerFailure:
    """In place of the result of a job without one; the reason completes "the worker ..."."""

    reason: str


def serve(handle: int) -> None:
    """The main loop of a worker: calls the functions that arrive through a connection, each with its job.

    Args:
        handle: file descriptor of the connection.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING_SIGNALS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(OSError):  # Linux: if memory runs out, workers are killed before their parent
        Path("/proc/self/oom_score_adj").write_text("500")
    jobs: Connection = Connection(handle)
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent has ended
        while True:
            function, job = jobs.recv()
            try:
                result = function(job)
            except Exception as error:  # a defect in one job: the worker reports it and takes the next
                traceback.print_exc()
                result = WorkerFailure(f"raised {type(error).__name__}: {error}")
            jobs.send((result, _resident_bytes()))


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _resident_bytes() -> int:
    """Memory that this process occupies now; on other systems than Linux, its peak."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS

"""The pool of processes, with functions that crash, raise, sleep and outgrow their memory."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spiq_tf.commands import worker_pool
from spiq_tf.commands.interrupts import interrupts_as_exceptions
from spiq_tf.commands.worker_process import WorkerFailure


def act(job):
    """One job of a worker: what its name says."""
    match job:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "raise":
            raise ValueError("no good")
        case "sleep":
            time.sleep(600)
        case "variable":
            return os.environ["SHARE"]
    return job, os.getpid()


def test_a_crash_costs_one_job_and_a_new_worker_takes_over():
    jobs = ["first", "crash", "second", "killed", "exit", "raise", "third"]
    found = dict(worker_pool.run(act, jobs, workers=2))
    assert set(found) == set(jobs)
    assert found["crash"] == WorkerFailure("died: signal 11 (SIGSEGV)")
    assert found["killed"].reason.startswith("died: signal 9 (SIGKILL)")
    assert "memory" in found["killed"].reason
    assert found["exit"] == WorkerFailure("ended with exit code 3")
    assert found["raise"] == WorkerFailure("raised ValueError: no good")
    assert [found[job][0] for job in ("first", "second", "third")] == ["first", "second", "third"]


@pytest.mark.parametrize(("memory", "processes"), [(float("inf"), 1), (1, 3)])
def test_a_worker_that_has_grown_too_large_is_replaced(memory, processes):
    results = [result for _, result in worker_pool.run(act, "abc", workers=1, memory=memory)]
    assert [job for job, _ in results] == list("abc")
    assert len({process for _, process in results}) == processes


def test_the_environment_of_workers_is_not_that_of_their_parent():
    assert list(worker_pool.run(act, ["variable"], workers=1, environment={"SHARE": "2"})) == [("variable", "2")]
    assert "SHARE" not in os.environ


def test_closing_ends_running_jobs():
    running = worker_pool.run(act, ["first", "sleep", "never"], workers=1)
    _, (_, process) = next(running)
    running.close()
    assert not exists(process)


PARENT = """
import sys
from spiq_tf.commands import worker_pool
from spiq_tf.commands.interrupts import Interrupted, interrupts_as_exceptions
from tests.test_workers import act

if __name__ == "__main__":
    try:
        with interrupts_as_exceptions():
            for job, result in worker_pool.run(act, ["a", "b", "sleep", "sleep"], workers=2):
                print(result[1], flush=True)
    except Interrupted as interrupted:
        sys.exit(interrupted.exit_code)
"""


@pytest.mark.parametrize(
    ("sent", "to_all", "code"),
    [("SIGKILL", False, -9), ("SIGTERM", False, 143), ("SIGTERM", True, 143), ("SIGINT", True, 130)],
)
def test_workers_end_with_their_parent(sent, to_all, code, tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as parent:
        processes = [int(parent.stdout.readline()) for _ in range(2)]
        (os.killpg if to_all else os.kill)(parent.pid, signal.Signals[sent])
        assert parent.wait() == code
        try:
            wait_until(lambda: not any(exists(process) for process in processes))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)
        assert parent.stderr.read() == ""


def test_signal_handlers_are_restored():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interrupts_as_exceptions():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def exists(process):
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)

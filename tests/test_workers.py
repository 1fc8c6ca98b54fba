"""The pool of processes, with functions that crash, hang up, raise and grow."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import workers
from workers import Lost


def act(job):
    """One job of a worker: what the word says."""
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
    found = dict(workers.run(act, jobs, workers=2))
    assert set(found) == set(jobs)
    assert found["crash"] == Lost("died: signal 11 (SIGSEGV)")
    assert found["killed"].reason.startswith("died: signal 9 (SIGKILL)")
    assert "memory" in found["killed"].reason
    assert found["exit"] == Lost("ended with exit code 3")
    assert found["raise"] == Lost("raised ValueError: no good")
    assert [found[job][0] for job in ("first", "second", "third")] == ["first", "second", "third"]


@pytest.mark.parametrize(("memory", "processes"), [(float("inf"), 1), (1, 3)])
def test_a_worker_that_has_grown_too_large_is_replaced(memory, processes):
    results = [result for _, result in workers.run(act, "abc", workers=1, memory=memory)]
    assert [job for job, _ in results] == list("abc")
    assert len({process for _, process in results}) == processes


def test_workers_have_their_environment_and_the_parent_has_not():
    assert list(workers.run(act, ["variable"], workers=1, environment={"SHARE": "2"})) == [("variable", "2")]
    assert "SHARE" not in os.environ


def test_closing_ends_what_is_at_work():
    running = workers.run(act, ["first", "sleep", "never"], workers=1)
    _, (_, process) = next(running)
    running.close()
    assert not exists(process)


PARENT = """
import sys
import workers
from tests.test_workers import act

if __name__ == "__main__":
    workers.raise_when_interrupted()
    try:
        for job, result in workers.run(act, ["a", "b", "sleep", "sleep"], workers=2):
            print(result[1], flush=True)
    except workers.Interrupted as interrupted:
        sys.exit(interrupted.exit_code)
"""


@pytest.mark.parametrize(
    ("sent", "to_all", "code"),
    [("SIGKILL", False, -9), ("SIGTERM", False, 143), ("SIGTERM", True, 143), ("SIGINT", True, 130)],
)
def test_workers_end_with_their_parent(sent, to_all, code, tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'tools'}{os.pathsep}{root}"}
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


def exists(process):
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)

"""Writing in one step, and what is left by a process that was killed meanwhile."""

import os
import subprocess
import sys

import pytest

from spiq_tf.files import remove_leftovers, write_atomically

WRITES_FOR_EVER = """
import os, sys, time
os.fsync = lambda handle: (print(flush=True), time.sleep(60))
from spiq_tf.files import write_atomically
write_atomically(sys.argv[1], b"content")
"""


@pytest.fixture
def writer(tmp_path):
    """A process that is in the middle of writing tmp_path / "file"."""
    command = [sys.executable, "-c", WRITES_FOR_EVER, tmp_path / "file"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_leftovers_go_once_their_process_is_dead(writer, tmp_path):
    others = [".file.abcdefgh", ".spiq_tf.elsewhere.1.abcdefgh", "file.tflite"]
    for name in others:
        (tmp_path / name).write_text("not ours")
    (temporary,) = {p.name for p in tmp_path.iterdir()} - set(others)
    remove_leftovers(tmp_path)
    assert (tmp_path / temporary).exists(), "its process is alive"
    writer.kill()
    os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)  # dead, and nobody has asked for its exit code
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == others
    (tmp_path / temporary).touch()
    writer.wait()  # now it is gone altogether
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == others


@pytest.mark.fast
def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "replace", _full_disk)
    with pytest.raises(Exception, match="cannot write"):
        write_atomically(tmp_path / "file", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.fast
def test_the_longest_name_that_a_file_may_have(tmp_path):
    name = "n" * os.pathconf(tmp_path, "PC_NAME_MAX")
    write_atomically(tmp_path / name, b"content")
    assert (tmp_path / name).read_bytes() == b"content"


def _full_disk(*_):
    raise OSError(28, "No space left on device")

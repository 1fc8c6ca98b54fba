"""tools/convert.py as its users call it: in a process of its own."""

import contextlib
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import batch
import convert
import keras
import machine
import pytest
import records
import summaries
from batch import Job, Outcome
from keras import layers

import spiq_tf
from tests.networks import NETWORKS
from tests.test_workers import wait_until

TOOL = Path(__file__).parents[1] / "tools" / "convert.py"


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    NETWORKS["residual"]().save(folder / "a.keras")
    NETWORKS["concatenation"]().save(folder / "b.h5")
    (folder / "bad.keras").write_bytes(b"no model")
    return folder


def run(*arguments):
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_one_bad_file_among_many(models, tmp_path):
    out, report = tmp_path / "out", tmp_path / "report.json"
    options = ["--output_dir", out, "--input_range=-1,1", "--keep_going", "--report_json", report]
    done = run(*options, models / "*.keras", models / "*.h5")
    assert done.returncode == 1
    assert sorted(p.name for p in out.iterdir()) == ["a.tflite", "b.tflite"]
    assert "2 of 3 converted" in done.stdout
    assert "bad.keras" in done.stderr.splitlines()[-1]
    rows = {Path(r["model"]).name: r for r in json.loads(report.read_text())}
    assert rows["bad.keras"]["error"]
    assert rows["a.keras"]["error"] is None
    assert rows["a.keras"]["bytes"] == (out / "a.tflite").stat().st_size

    again = run(*options, models / "a.keras")
    assert again.returncode == 1
    assert "exists; pass --overwrite" in again.stderr
    assert run(*options, "--overwrite", models / "a.keras").returncode == 0
    rows = [(Path(r["model"]).name, r["of_earlier_run"]) for r in json.loads(report.read_text())]
    assert rows == [("a.keras", False), ("bad.keras", True), ("b.h5", True)]


def test_two_models_of_one_name(models, tmp_path):
    (models / "a.h5").write_bytes((models / "b.h5").read_bytes())
    files = [models / "a.keras", models / "a.h5"]
    done = run("--output_dir", tmp_path / "out", "--input_range=-1,1", "--keep_going", *files)
    assert done.returncode == 1
    assert "already the output of" in done.stderr
    assert "1 of 2 converted" in done.stdout


def test_single_layers(tmp_path):
    NETWORKS["named"]().save(tmp_path / "named.keras")
    options = ["--output_dir", tmp_path / "out", "--input_range=-1,1", "--report_json", tmp_path / "report.json"]
    done = run(*options, "--ranges=relu=0,2.5", "--float_layers=sc*,join", tmp_path / "named.keras")
    assert done.returncode == 0
    (row,) = json.loads((tmp_path / "report.json").read_text())
    assert row["float_operators"] == ["CONCATENATION (join)", "FULLY_CONNECTED (scores)"]
    assert "relu: its range is given" in row["unscaled"]


def test_without_keep_going_the_first_failure_ends_it(models, tmp_path):
    options = ["--output_dir", tmp_path / "out", "--input_range=-1,1", "--workers=1"]
    done = run(*options, models / "bad.keras", models / "a.keras")
    assert done.returncode == 1
    assert "0 of 2 converted, 1 failed, 1 not tried (--keep_going)" in done.stdout
    assert done.stderr.count("bad.keras") == 1
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected model files"),
        (["--input_range=1", "x.keras"], "expected LOW,HIGH"),
        (["--ranges=conv=1", "x.keras"], "--ranges conv: expected LOW,HIGH, found 1"),
        (["--ranges=0,6", "x.keras"], "--ranges: expected LAYER=LOW,HIGH, found 0,6"),
        (["--report_json=absent/report.json", "x.keras"], "cannot write"),
        (["--resume", "--overwrite", "x.keras"], "not both"),
        (["--labels_file=absent.txt", "x.keras"], "--labels_file: absent.txt: no such file"),
        (["absent/*.keras"], "no file matches 'absent/*.keras'"),
        (["--no_such_flag", "x.keras"], "no_such_flag"),
        (["--resume", f"--report_json={TOOL}", "x.keras"], "expected the --report_json of an earlier run"),
    ],
)
def test_wrong_arguments(arguments, message, tmp_path):
    done = run("--output_dir", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_output_folder_that_cannot_be_made(models, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run("--output_dir", tmp_path / "file" / "out", models / "a.keras")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def small_models(folder, count):
    folder.mkdir()
    for number in range(count):
        keras.utils.set_random_seed(number)
        model = keras.Sequential([keras.Input((8, 8, 3), name="image"), layers.Conv2D(4, 3), layers.Flatten()])
        model.save(folder / f"{number}.keras")


@contextlib.contextmanager
def started(*arguments):
    """The command in a process group of its own."""
    command = [sys.executable, TOOL, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, start_new_session=True) as process:
        yield process


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def outputs(folder):
    return sorted(path.name for path in folder.glob("*.tflite"))


def test_interrupted_killed_and_resumed_it_ends_as_if_nothing_had_been(tmp_path):
    small_models(tmp_path / "models", 8)
    whole, out, record = tmp_path / "whole", tmp_path / "out", tmp_path / "record.json"
    options = tmp_path / "options.txt"
    options.write_text("# as absl reads it\n--input_range=-1,1\n--workers=2\n")
    common = ["--flagfile", options, tmp_path / "models" / "*.keras"]
    undisturbed = run("--output_dir", whole, *common, "--workers=1")
    assert "8 of 8 converted" in undisturbed.stdout
    assert "\x1b" not in undisturbed.stdout
    head, _, table = undisturbed.stdout.partition("violations")
    assert head.count(" -> ") == 8
    assert [row.split()[0] for row in table.splitlines() if ".keras" in row] == [f"{i}.keras" for i in range(8)]

    common += ["--output_dir", out, "--resume", "--report_json", record]
    with started(*common) as first:
        wait_until(lambda: outputs(out))
        os.killpg(first.pid, signal.SIGINT)
        assert first.wait() == 130
        said = first.stderr.read()
        assert "interrupted by SIGINT; the same command goes on from here" in said
        assert "Traceback" not in said
        assert "of 8 converted" in first.stdout.read()
    done = outputs(out)
    assert 0 < len(done) < 8
    assert sorted(contents(out)) == done, "nothing half is left"
    recorded = json.loads(record.read_text())
    assert len(done) - 2 <= len(recorded) <= len(done)  # each worker may have written and not yet said so

    with started(*common) as second:
        wait_until(lambda: len(outputs(out)) > len(done))
        os.killpg(second.pid, signal.SIGKILL)
    kept = len(outputs(out))
    assert kept < 8
    assert len(json.loads(record.read_text())) >= len(recorded)
    (out / f".spiq_tf.{platform.node()}.{second.pid}.abcdefgh").write_bytes(b"half")

    last = run(*common)
    assert last.returncode == 0
    assert f"{8 - kept} of 8 converted, {kept} up to date" in last.stdout
    assert contents(out) == contents(whole)
    rows = json.loads(record.read_text())
    assert [Path(row["model"]).name for row in rows] == [f"{i}.keras" for i in range(8)]
    assert sum(row["up_to_date"] for row in rows) == kept
    assert sum(row["seconds"] > 0 for row in rows) >= 8 - kept + len(recorded), "what is known of the first run stays"


def test_a_file_that_crashes_its_worker_fails_alone(tmp_path, monkeypatch):
    small_models(tmp_path / "models", 1)
    image = keras.Input((8, 8, 3))
    monkeypatch.setenv("HARMLESS", "1")
    crash = layers.Lambda(lambda x: x if "HARMLESS" in os.environ else os.kill(os.getpid(), 11), output_shape=(8, 8, 3))
    keras.Model(image, crash(image)).save(tmp_path / "models" / "crash.keras")
    monkeypatch.delenv("HARMLESS")
    options = ["--input_range=-1,1", "--keep_going", "--trust_code_in_files", "--verify"]
    folders = ["--output_dir", tmp_path / "out", "--report_dir", tmp_path / "reports"]
    done = run(*folders, *options, tmp_path / "models" / "*.keras")
    assert done.returncode == 1
    assert list(contents(tmp_path / "out")) == ["0.tflite"]
    assert sorted(contents(tmp_path / "reports")) == ["0.html", "0.json"]
    found = json.loads((tmp_path / "reports" / "0.json").read_text())
    assert found["verification"]["generated"]
    assert "crash.keras: the worker that converted it died: signal 11 (SIGSEGV)" in done.stderr.splitlines()[-1]


FOUND = Outcome("m.keras", sha256="of the file", made_with="these options")


@pytest.mark.parametrize(
    ("written", "record", "expected"),
    [
        ([11], None, True),
        ([10], None, False),  # of the same time as the model: it may be from before
        ([9], None, False),
        ([11], FOUND, True),
        ([10], FOUND, False),
        ([11], replace(FOUND, made_with="other options"), False),
        ([11], replace(FOUND, sha256="of another file"), False),
        ([11], Outcome("m.keras", error="degenerate", made_with="these options"), False),
        ([11, 12, 0], FOUND, False),  # a report is missing
        ([11, 12, 11], FOUND, True),
    ],
)
def test_what_is_up_to_date(written, record, expected):
    assert records.is_up_to_date(10, written, FOUND, record) is expected


def test_the_fingerprint_tells_models_and_options_apart(tmp_path):
    model = tmp_path / "folder"
    (model / "variables").mkdir(parents=True)
    (model / "variables" / "data").write_bytes(b"one")
    job = Job(str(model), tmp_path / "m.tflite", None, {"input_range": (-1.0, 1.0)}, verify=False, trusted=False)
    first = batch.fingerprint(job)
    assert batch.fingerprint(replace(job, output=tmp_path / "elsewhere.tflite")) == first
    assert batch.fingerprint(replace(job, options={"input_range": (0.0, 1.0)})) != first
    assert batch.fingerprint(replace(job, verify=True)) != first
    os.utime(model / "variables" / "data", ns=(1, 1))
    assert batch.fingerprint(job) != first


def made(name, **options):
    """A file of the folder `out` that was made with some options."""
    return Outcome(f"{name}.keras", **{"output": f"out/{name}.tflite", "destination": f"out/{name}.tflite"} | options)


JOBS = [Job(f"{name}.keras", Path("out", f"{name}.tflite"), None, {}, verify=False, trusted=False) for name in "abc"]


def test_the_record_keeps_what_a_run_has_not_come_to():
    earlier = [made(name, made_with="int8") for name in "abcd"]
    elsewhere = made("e", destination="elsewhere/e.tflite", made_with="int8")
    moved = made("c", destination="elsewhere/c.tflite", made_with="int8")
    again = made("a", made_with="uint8")
    failed = Outcome("b.keras", error="degenerate", made_with="uint8", destination="out/b.tflite")
    refused = Outcome("c.keras", error="exists", destination="out/c.tflite")
    found = records.carried([*earlier[:2], moved, earlier[3], elsewhere], JOBS, [again, failed, refused])
    assert found == [replace(moved, of_earlier_run=True), replace(earlier[3], of_earlier_run=True)]


def test_what_was_made_with_other_options_is_found_out_after_a_kill(tmp_path, monkeypatch):
    """The record that a run of other options leaves, in which it has come to the first of two models."""
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    jobs = JOBS[:2]
    for job in jobs:
        Path(job.model).write_bytes(b"model")
        os.utime(job.model, ns=(1, 1))
        job.output.write_bytes(b"file")
    file = hashlib.sha256(b"file").hexdigest()
    first = [made(Path(j.model).stem, made_with=batch.fingerprint(j), sha256=file) for j in jobs]
    now = [replace(job, options={"inference_input_type": "uint8"}) for job in jobs]
    row = replace(first[0], made_with=batch.fingerprint(now[0]))
    records.write_record("record.json", [row, *records.carried(first, now, [row])])
    earlier = records.read_record("record.json")
    assert list(records.known_before(now, True, False, earlier)) == ["a.keras"]
    assert list(records.known_before(jobs, True, False, earlier)) == ["b.keras"]
    assert not records.known_before(jobs, True, False, earlier)["b.keras"].of_earlier_run


def test_a_failure_says_of_which_options_and_output_it_is(tmp_path):
    job = replace(JOBS[0], model=str(tmp_path / "absent.keras"))
    found = batch.converted(job)
    assert "no such file" in found.error
    assert (found.output, found.destination, found.made_with) == (None, "out/a.tflite", batch.fingerprint(job))


def test_a_file_is_converted_once_however_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.keras").write_bytes(b"model")
    Path("b.keras").symlink_to("a.keras")
    names = ["a.keras", "./a.keras", str(tmp_path / "a.keras"), "*.keras"]
    assert batch.named_models(names) == {"a.keras": "a", "b.keras": "b"}


def test_names_are_as_long_as_it_takes_to_tell_them_apart():
    paths = ["m/x/a.keras", "m/y/a.keras", "n/y/a.keras", "m/b.keras", "a.keras"]
    assert summaries.short_names(paths) == ["x/a.keras", "m/y/a.keras", "n/y/a.keras", "b.keras", "a.keras"]
    assert summaries.short_names(["same", "same"]) == ["same", "same"]


def test_a_file_of_labels(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_bytes("\ufeffcat\r\ncr\u2028ane\ndo\u0085g\n\n\n".encode())
    assert convert.labels(file) == ["cat", "cr\u2028ane", "do\u0085g"]
    for content, message in [
        (b"", "found '' for class 0"),
        (b"a\n\nb", "found '' for class 1"),
        (b"\xff", "no text in UTF-8"),
    ]:
        file.write_bytes(content)
        with pytest.raises(spiq_tf.InvalidArgumentError, match=rf"--labels_file: .*labels\.txt.*{message}"):
            convert.labels(file)


def test_workers_run_one_thread_each_if_the_user_says_nothing(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    found = machine.one_thread_each()
    assert found["TF_NUM_INTRAOP_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in found


def test_a_record_is_read_as_it_was_written(tmp_path):
    outcomes = [
        made("a", made_with="x", sha256="y", warnings=("one",)),
        Outcome("b.keras", error="degenerate", destination="out/b.tflite", made_with="x"),
        Outcome("c.keras", output="out/c.tflite", destination="out/c.tflite", up_to_date=True),  # by its time alone
        Outcome("d.keras", error="exists", destination="out/d.tflite"),  # nothing was tried
    ]
    records.write_record(tmp_path / "record.json", outcomes)
    assert records.read_record(tmp_path / "record.json") == outcomes[:2]
    assert records.read_record(tmp_path / "absent.json") == []
    (tmp_path / "empty.json").touch()
    assert records.read_record(tmp_path / "empty.json") == []

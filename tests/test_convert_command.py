"""`spiq-tf convert`: in this process, its workers too, but where processes end before their time."""

import contextlib
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import pytest
from keras import layers

import spiq_tf
from spiq_tf.commands import convert_one, jobs, machine, run_record, summary, up_to_date, worker_pool
from spiq_tf.commands.conversion_flags import read_labels
from spiq_tf.commands.jobs import Job
from spiq_tf.commands.main import main
from spiq_tf.commands.outcome import Outcome
from tests.networks import NETWORKS
from tests.test_workers import wait_until


@dataclass(frozen=True)
class Result:
    """What a caller of the command sees."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys):
    """The command in this process, with its workers in processes of their own."""

    def run_command(*arguments):
        capsys.readouterr()
        code = main(["convert", *map(str, arguments)])
        return Result(code, *capsys.readouterr())

    return run_command


@pytest.fixture
def without_processes(monkeypatch):
    """The jobs are done in this process: a worker would first import TensorFlow."""

    def run_jobs(function, waiting, **options):
        for job in waiting:
            yield job, function(job)

    monkeypatch.setattr(worker_pool, "run", run_jobs)


def small_model(number=0):
    keras.utils.set_random_seed(number)
    return keras.Sequential([keras.Input((8, 8, 3), name="image"), layers.Conv2D(4, 3), layers.Flatten()])


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    small_model(0).save(folder / "a.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras advises against HDF5
        small_model(1).save(folder / "b.h5")
    (folder / "bad.keras").write_bytes(b"no model")
    return folder


@pytest.mark.usefixtures("without_processes")
def test_one_bad_file_among_many(models, tmp_path, run):
    out, report = tmp_path / "out", tmp_path / "report.json"
    options = ["--output_dir", out, "--input_range=-1,1", "--keep_going", "--report_json", report]
    done = run(*options, models / "*.keras", models / "*.h5")
    assert done.code == 1
    assert sorted(p.name for p in out.iterdir()) == ["a.tflite", "b.tflite"]
    assert "2 of 3 converted" in done.out
    assert "bad.keras" in done.err.splitlines()[-1]
    rows = {Path(r["model"]).name: r for r in json.loads(report.read_text())}
    assert rows["bad.keras"]["error"]
    assert rows["a.keras"]["error"] is None
    assert rows["a.keras"]["bytes"] == (out / "a.tflite").stat().st_size

    again = run(*options, models / "a.keras")
    assert again.code == 1
    assert "exists; pass --overwrite" in again.err
    assert run(*options, "--overwrite", models / "a.keras").code == 0
    rows = [(Path(r["model"]).name, r["of_earlier_run"]) for r in json.loads(report.read_text())]
    assert rows == [("a.keras", False), ("bad.keras", True), ("b.h5", True)]


@pytest.mark.usefixtures("without_processes")
def test_two_models_of_one_name(models, tmp_path, run):
    (models / "a.h5").write_bytes((models / "b.h5").read_bytes())
    files = [models / "a.keras", models / "a.h5"]
    done = run("--output_dir", tmp_path / "out", "--input_range=-1,1", "--keep_going", *files)
    assert done.code == 1
    assert "already the output of" in done.err
    assert "1 of 2 converted" in done.out


@pytest.mark.usefixtures("without_processes")
def test_single_layers(tmp_path, run):
    NETWORKS["named"]().save(tmp_path / "named.keras")
    options = ["--output_dir", tmp_path / "out", "--input_range=-1,1", "--report_json", tmp_path / "report.json"]
    done = run(*options, "--ranges=relu=0,2.5", "--float_layers=sc*,join", tmp_path / "named.keras")
    assert done.code == 0
    (row,) = json.loads((tmp_path / "report.json").read_text())
    assert row["float_operators"] == ["CONCATENATION (join)", "FULLY_CONNECTED (scores)"]
    assert "relu: its range is given" in row["unscaled"]


@pytest.mark.usefixtures("without_processes")
def test_what_the_delegate_leaves_is_no_violation(tmp_path, run):
    NETWORKS["nested"]().save(tmp_path / "nested.keras")
    options = ["--output_dir", tmp_path / "out", "--input_range=-1,1", "--report_json", tmp_path / "report.json"]
    done = run(*options, "--target=xnnpack", tmp_path / "nested.keras")
    assert done.code == 0
    assert "1 operator outside the delegate" in done.out.splitlines()[0]
    assert " ".join(done.out.splitlines()[-3].split()).endswith("0 0 1 operator outside the delegate")
    (row,) = json.loads((tmp_path / "report.json").read_text())
    assert row["violations"] == []
    (text,) = row["outside_delegate"]
    assert text.startswith("operator 6 SOFTMAX")


@pytest.mark.usefixtures("without_processes")
def test_without_keep_going_the_first_failure_ends_it(models, tmp_path, run):
    options = ["--output_dir", tmp_path / "out", "--input_range=-1,1", "--workers=1"]
    done = run(*options, models / "bad.keras", models / "a.keras")
    assert done.code == 1
    assert "0 of 2 converted, 1 failed, 1 not tried (--keep_going)" in done.out
    assert done.err.count("bad.keras") == 1
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
        (["--target=abacus", "x.keras"], "--target=abacus"),
        (["--batch_size=0", "x.keras"], "--batch_size=0"),
        (["--flagfile=absent.txt", "x.keras"], "absent.txt"),
        (["--resume", f"--report_json={__file__}", "x.keras"], "expected the --report_json of an earlier run"),
    ],
)
def test_wrong_arguments(arguments, message, tmp_path, run):
    done = run("--output_dir", tmp_path / "out", *arguments)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert message in done.err


def test_no_output_folder(run):
    done = run("x.keras")
    assert done.code == 2
    assert done.err.startswith("error: --output_dir is missing: ")


def test_output_folder_that_cannot_be_made(tmp_path, run):
    (tmp_path / "file").write_text("in the way")
    done = run("--output_dir", tmp_path / "file" / "out", tmp_path / "a.keras")
    assert done.code == 2
    assert done.err.startswith("error: ")


def small_models(folder, count):
    folder.mkdir()
    for number in range(count):
        small_model(number).save(folder / f"{number}.keras")


ROOT = Path(__file__).parents[1]


@contextlib.contextmanager
def started(*arguments):
    """The command in a process group of its own."""
    command = [sys.executable, "-m", "spiq_tf", "convert", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, cwd=ROOT, start_new_session=True) as process:
        yield process


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def outputs(folder):
    return sorted(path.name for path in folder.glob("*.tflite"))


def test_interrupted_killed_and_resumed_it_ends_with_the_same_files(tmp_path, run):
    small_models(tmp_path / "models", 8)
    whole, out, record = tmp_path / "whole", tmp_path / "out", tmp_path / "record.json"
    options = tmp_path / "options.txt"
    options.write_text("# as absl reads it\n--input_range=-1,1\n--workers=2\n")
    common = ["--flagfile", options, tmp_path / "models" / "*.keras"]
    undisturbed = run("--output_dir", whole, *common, "--workers=1")
    assert "8 of 8 converted" in undisturbed.out
    assert "\x1b" not in undisturbed.out
    head, _, table = undisturbed.out.partition("violations")
    assert head.count(" -> ") == 8
    assert [row.split()[0] for row in table.splitlines() if ".keras" in row] == [f"{i}.keras" for i in range(8)]

    common += ["--output_dir", out, "--resume", "--report_json", record]
    with started(*common) as first:
        wait_until(lambda: outputs(out), seconds=300)
        os.killpg(first.pid, signal.SIGINT)
        assert first.wait() == 130
        errors = first.stderr.read()
        assert "interrupted by SIGINT; the same command continues from here" in errors
        assert "Traceback" not in errors
        assert "of 8 converted" in first.stdout.read()
    done = outputs(out)
    assert 0 < len(done) < 8
    assert sorted(contents(out)) == done, "nothing half is left"
    recorded = json.loads(record.read_text())
    assert len(done) - 2 <= len(recorded) <= len(done)  # each worker may have written and not yet said so

    with started(*common) as second:
        wait_until(lambda: len(outputs(out)) > len(done), seconds=300)
        os.killpg(second.pid, signal.SIGKILL)
    finished = len(outputs(out))
    assert finished < 8
    assert len(json.loads(record.read_text())) >= len(recorded)
    (out / f".spiq_tf.{platform.node()}.{second.pid}.abcdefgh").write_bytes(b"half")

    last = run(*common, "--workers=1")
    assert last.code == 0
    assert f"{8 - finished} of 8 converted, {finished} up to date" in last.out
    assert contents(out) == contents(whole)
    rows = json.loads(record.read_text())
    assert [Path(row["model"]).name for row in rows] == [f"{i}.keras" for i in range(8)]
    assert sum(row["up_to_date"] for row in rows) == finished
    assert sum(row["seconds"] > 0 for row in rows) >= 8 - finished + len(recorded), (
        "what is known of the first run stays"
    )


def test_a_file_that_crashes_its_worker_fails_alone(tmp_path, monkeypatch, run):
    small_models(tmp_path / "models", 1)
    image = keras.Input((8, 8, 3))
    monkeypatch.setenv("HARMLESS", "1")
    crash = layers.Lambda(lambda x: x if "HARMLESS" in os.environ else os.kill(os.getpid(), 11), output_shape=(8, 8, 3))
    keras.Model(image, crash(image)).save(tmp_path / "models" / "crash.keras")
    monkeypatch.delenv("HARMLESS")
    options = ["--input_range=-1,1", "--keep_going", "--trust_code_in_files", "--verify"]
    folders = ["--output_dir", tmp_path / "out", "--report_dir", tmp_path / "reports"]
    done = run(*folders, *options, tmp_path / "models" / "*.keras")
    assert done.code == 1
    assert list(contents(tmp_path / "out")) == ["0.tflite"]
    assert sorted(contents(tmp_path / "reports")) == ["0.html", "0.json"]
    found = json.loads((tmp_path / "reports" / "0.json").read_text())
    assert found["verification"]["generated"]
    assert "crash.keras: the worker that converted it died: signal 11 (SIGSEGV)" in done.err.splitlines()[-1]


EXISTING = Outcome(model="m.keras", sha256="of the file", made_with="these options")


@pytest.mark.parametrize(
    ("written", "record", "expected"),
    [
        ([11], None, True),
        ([10], None, False),  # of the same time as the model: it may be from before
        ([9], None, False),
        ([11], EXISTING, True),
        ([10], EXISTING, False),
        ([11], replace(EXISTING, made_with="other options"), False),
        ([11], replace(EXISTING, sha256="of another file"), False),
        ([11], Outcome(model="m.keras", error="degenerate", made_with="these options"), False),
        ([11, 12, 0], EXISTING, False),  # a report is missing
        ([11, 12, 11], EXISTING, True),
    ],
)
def test_what_is_up_to_date(written, record, expected):
    assert up_to_date.is_up_to_date(10, written, EXISTING, record) is expected


def job_of(model, output, **options):
    return Job(model=model, output=output, reports=None, options=options, verify=False, trust_code=False)


def test_the_fingerprint_depends_on_model_and_options(tmp_path):
    model = tmp_path / "folder"
    (model / "variables").mkdir(parents=True)
    (model / "variables" / "data").write_bytes(b"one")
    job = job_of(str(model), tmp_path / "m.tflite", input_range=(-1.0, 1.0))
    first = jobs.fingerprint(job)
    assert jobs.fingerprint(replace(job, output=tmp_path / "elsewhere.tflite")) == first
    assert jobs.fingerprint(replace(job, options={"input_range": (0.0, 1.0)})) != first
    assert jobs.fingerprint(replace(job, verify=True)) != first
    os.utime(model / "variables" / "data", ns=(1, 1))
    assert jobs.fingerprint(job) != first


def made(name, **options):
    """A file of the folder `out` that was made with some options."""
    return Outcome(
        **{"model": f"{name}.keras", "output": f"out/{name}.tflite", "destination": f"out/{name}.tflite"} | options
    )


JOBS = [job_of(f"{name}.keras", Path("out", f"{name}.tflite")) for name in "abc"]


def test_the_record_keeps_what_a_run_has_not_come_to():
    earlier = [made(name, made_with="int8") for name in "abcd"]
    elsewhere = made("e", destination="elsewhere/e.tflite", made_with="int8")
    moved = made("c", destination="elsewhere/c.tflite", made_with="int8")
    again = made("a", made_with="uint8")
    failed = Outcome(model="b.keras", error="degenerate", made_with="uint8", destination="out/b.tflite")
    refused = Outcome(model="c.keras", error="exists", destination="out/c.tflite")
    found = run_record.rows_of_earlier_run([*earlier[:2], moved, earlier[3], elsewhere], JOBS, [again, failed, refused])
    assert found == [replace(moved, of_earlier_run=True), replace(earlier[3], of_earlier_run=True)]


def test_what_was_made_with_other_options_is_found_out_after_a_kill(tmp_path, monkeypatch):
    """The record that a run of other options leaves, in which it has come to the first of two models."""
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    pair = JOBS[:2]
    for job in pair:
        Path(job.model).write_bytes(b"model")
        os.utime(job.model, ns=(1, 1))
        job.output.write_bytes(b"file")
    file = hashlib.sha256(b"file").hexdigest()
    first = [made(Path(j.model).stem, made_with=jobs.fingerprint(j), sha256=file) for j in pair]
    now = [replace(job, options={"inference_input_type": "uint8"}) for job in pair]
    row = replace(first[0], made_with=jobs.fingerprint(now[0]))
    run_record.write_record("record.json", [row, *run_record.rows_of_earlier_run(first, now, [row])])
    earlier = run_record.read_record("record.json")
    assert list(up_to_date.outcomes_without_conversion(now, True, False, earlier)) == ["a.keras"]
    assert list(up_to_date.outcomes_without_conversion(pair, True, False, earlier)) == ["b.keras"]
    assert not up_to_date.outcomes_without_conversion(pair, True, False, earlier)["b.keras"].of_earlier_run


def test_a_failure_says_of_which_options_and_output_it_is(tmp_path):
    job = replace(JOBS[0], model=str(tmp_path / "absent.keras"))
    found = convert_one.convert_job(job)
    assert "no such file" in found.error
    assert (found.output, found.destination, found.made_with) == (None, "out/a.tflite", jobs.fingerprint(job))


def test_a_file_is_converted_once_however_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.keras").write_bytes(b"model")
    Path("b.keras").symlink_to("a.keras")
    names = ["a.keras", "./a.keras", str(tmp_path / "a.keras"), "*.keras"]
    assert jobs.model_names(names) == {"a.keras": "a", "b.keras": "b"}


def test_names_are_as_long_as_it_takes_to_tell_them_apart():
    paths = ["m/x/a.keras", "m/y/a.keras", "n/y/a.keras", "m/b.keras", "a.keras"]
    assert summary.shortest_distinct_paths(paths) == ["x/a.keras", "m/y/a.keras", "n/y/a.keras", "b.keras", "a.keras"]
    assert summary.shortest_distinct_paths(["same", "same"]) == ["same", "same"]


def test_a_file_of_labels(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_bytes("\ufeffcat\r\ncr\u2028ane\ndo\u0085g\n\n\n".encode())
    assert read_labels(file) == ["cat", "cr\u2028ane", "do\u0085g"]
    for content, message in [
        (b"", "found '' for class 0"),
        (b"a\n\nb", "found '' for class 1"),
        (b"\xff", "no text in UTF-8"),
    ]:
        file.write_bytes(content)
        with pytest.raises(spiq_tf.InvalidArgumentError, match=rf"--labels_file: .*labels\.txt.*{message}"):
            read_labels(file)


def test_workers_run_one_thread_each_if_the_user_says_nothing(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    found = machine.single_thread_environment()
    assert found["TF_NUM_INTRAOP_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in found


def test_a_record_is_read_as_it_was_written(tmp_path):
    outcomes = [
        made("a", made_with="x", sha256="y", warnings=("one",)),
        Outcome(model="b.keras", error="degenerate", destination="out/b.tflite", made_with="x"),
        Outcome(
            model="c.keras", output="out/c.tflite", destination="out/c.tflite", up_to_date=True
        ),  # by its time alone
        Outcome(model="d.keras", error="exists", destination="out/d.tflite"),  # nothing was tried
    ]
    run_record.write_record(tmp_path / "record.json", outcomes)
    assert run_record.read_record(tmp_path / "record.json") == outcomes[:2]
    assert run_record.read_record(tmp_path / "absent.json") == []
    (tmp_path / "empty.json").touch()
    assert run_record.read_record(tmp_path / "empty.json") == []

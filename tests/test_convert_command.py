"""tools/convert.py as its users call it: in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.networks import NETWORKS

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
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected model files"),
        (["--input_range=1", "x.keras"], "expected LOW,HIGH"),
        (["--ranges=conv=1", "x.keras"], "--ranges conv: expected LOW,HIGH, found 1"),
        (["--report_json=absent/report.json", "x.keras"], "cannot write"),
        (["--resume", "--overwrite", "x.keras"], "not both"),
        (["--labels_file=absent.txt", "x.keras"], "absent.txt"),
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

"""How tools read their flags: a small tool in a process of its own."""

import subprocess
import sys
from pathlib import Path

import commands
import pytest

TOOL = """
import commands
from absl import app, flags
flags.DEFINE_string("folder", None, "The folder for it.")
flags.DEFINE_enum("kind", "one", ["one", "two"], "Which.")
def main(argv):
    if len(argv) != 2:
        raise app.UsageError("expected a file")
    return int(argv[1])
commands.run(main, required=["folder"])
"""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--folder=f", "0"], 0, ""),
        (["--folder=f", "7"], 7, ""),
        (["--help"], 0, ""),
        (["3"], 2, "error: --folder is missing: the folder for it\n"),
        (["--folder=f"], 2, "error: expected a file\n"),
        (["--folder=f", "--kind=three", "0"], 2, "error: flag --kind=three"),
        (["--folder=f", "--foldr=f", "0"], 2, "'foldr'"),
        (["--flagfile=absent", "0"], 2, "absent"),
    ],
)
def test_exit_codes(arguments, code, said):
    command = [sys.executable, "-c", TOOL, *arguments]
    folder = Path(commands.__file__).parent
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert ("--folder" in done.stdout) == (arguments == ["--help"])


def test_an_error_names_its_file_once():
    assert commands.about("./m/a.keras", "m/a.keras: no such file") == "m/a.keras: no such file"
    assert commands.about("m/a.keras", "two inputs") == "m/a.keras: two inputs"

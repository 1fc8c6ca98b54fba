"""How commands read their flags, and what they import to do so."""

import configparser
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from absl import app, flags, logging

import spiq_tf
from spiq_tf.commands.command import Command, error_of_file
from spiq_tf.commands.main import COMMANDS, main

ROOT = Path(__file__).parents[1]


def define_flags(values):
    flags.DEFINE_string("folder", None, "The folder for it.", flag_values=values)
    flags.DEFINE_enum("kind", "one", ["one", "two"], "Which.", flag_values=values)


def run(arguments, options):
    if len(arguments) != 1:
        raise app.UsageError("expected a file")
    return int(arguments[0]) if options.kind == "one" else 11


TOOL = Command(name="tool", description="A tool.", define_flags=define_flags, run=run, required=("folder",))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--folder=f", "0"], 0, ""),
        (["--folder=f", "7"], 7, ""),
        (["--folder=f", "--kind=two", "7"], 11, ""),
        (["7", "--folder", "f"], 7, ""),
        (["--help"], 0, ""),
        (["3"], 2, "error: --folder is missing: the folder for it\n"),
        (["--folder=f"], 2, "error: expected a file\n"),
        (["--folder=f", "--kind=three", "0"], 2, "error: flag --kind=three"),
        (["--folder=f", "--foldr=f", "0"], 2, "'foldr'"),
        (["--flagfile=absent", "0"], 2, "absent"),
    ],
)
def test_exit_codes(arguments, code, message, capsys):
    assert TOOL.main(arguments) == code
    printed = capsys.readouterr()
    assert message in printed.err
    assert bool(printed.err) == bool(message)
    assert ("--folder" in printed.out) == (arguments == ["--help"])


def test_flags_from_a_file(tmp_path):
    file = tmp_path / "flags.txt"
    file.write_text("# a comment\n--folder=f\n--kind=two\n")
    assert TOOL.main([f"--flagfile={file}", "7"]) == 11


def test_the_verbosity_of_logging_is_a_flag_of_every_command():
    before = logging.get_verbosity()
    try:
        assert TOOL.main(["--folder=f", "--verbosity=-2", "0"]) == 0
        assert logging.get_verbosity() == -2
    finally:
        logging.set_verbosity(before)


def test_full_help_lists_the_flags_of_logging(capsys):
    assert TOOL.main(["--help"]) == 0
    assert "--verbosity" not in capsys.readouterr().out
    assert TOOL.main(["--helpfull"]) == 0
    assert "--verbosity" in capsys.readouterr().out


def test_an_error_names_its_file_once():
    assert error_of_file("./m/a.keras", "m/a.keras: no such file") == "m/a.keras: no such file"
    assert error_of_file("m/a.keras", "two inputs") == "m/a.keras: two inputs"


@pytest.mark.parametrize("arguments", [[], ["tune"], ["--target=edgetpu"]])
def test_an_unknown_command_is_refused_with_the_names_there_are(arguments, capsys):
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: expected one of convert, check, verify, benchmark, found ")
    assert (arguments or [""])[0] in message


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(name, capsys):
    assert main(["--help"]) == 0
    assert f"spiq-tf {name} " in capsys.readouterr().out
    assert main([name, "--help"]) == 0
    assert f"spiq-tf {name} " in capsys.readouterr().out


def test_the_script_that_is_installed_is_this_command():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    name, function = config["options.entry_points"]["console_scripts"].strip().split(" = ")
    assert name == "spiq-tf"
    assert pkgutil.resolve_name(function) is main


@pytest.mark.parametrize("entry", [["-m", "spiq_tf", "check"], [ROOT / "tools" / "check.py"]])
def test_exit_codes_of_a_process(entry):
    command = [sys.executable, *map(str, entry), "--target=abacus", "model.tflite"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: flag --target=abacus")


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


WITHOUT_KERAS = """
import sys
from spiq_tf.commands.main import main
assert main(["convert", "--output_dir=out", "--input_range=0,1", "--no_such_flag", "model.keras"]) == 2
assert main(["convert", "--output_dir=out", "absent/*.keras"]) == 2
assert main(["benchmark", "LeNet"]) == 2
assert not {"keras", "tensorflow", "numpy"} & set(sys.modules)
"""


def test_wrong_flags_are_answered_without_keras():
    done = run_python(WITHOUT_KERAS)
    assert done.returncode == 0, done.stderr


FIRST_USE = """
import spiq_tf, sys, types
assert "keras" not in sys.modules
backend = types.SimpleNamespace(backend=lambda: "jax")
sys.modules["keras"] = types.ModuleType("keras")
sys.modules["keras"].backend = backend
spiq_tf.convert
"""


def test_the_first_use_of_a_public_name_refuses_another_backend():
    done = run_python(FIRST_USE)
    assert done.returncode != 0
    assert "KERAS_BACKEND=tensorflow" in done.stderr


def test_no_command_defines_flags_for_the_whole_process():
    assert not [name for name in flags.FLAGS.flags_by_module_dict() if name.startswith(("spiq_tf", "families"))]


def test_a_module_is_no_public_name():
    """Its import, after that of the package alone, does not ask for the public names, which import it themselves."""
    done = run_python("import spiq_tf, keras\nfrom spiq_tf.api import convert\nassert spiq_tf.convert is convert")
    assert done.returncode == 0, done.stderr


def test_public_names():
    names = {}
    exec("from spiq_tf import *", names)
    assert set(spiq_tf.__all__) <= set(names) & set(dir(spiq_tf))
    assert spiq_tf.convert is spiq_tf.exports.convert
    with pytest.raises(AttributeError, match="module 'spiq_tf' has no attribute 'convrt'"):
        spiq_tf.convrt  # noqa: B018

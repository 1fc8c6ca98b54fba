"""Warnings name the user's line, however deep in the package they arise."""

import warnings
from pathlib import Path

import spiq_tf
from spiq_tf.errors import warn_user

DEEP = "def inner(warn):\n    warn('text', UserWarning)\n\n\ndef outer(warn):\n    inner(warn)\n"


def functions_in(filename):
    """Two functions that call one another, from a file of that name."""
    names = {}
    exec(compile(DEEP, str(filename), "exec"), names)
    return names


def line_of_warning(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(warn_user)
    (warning,) = caught
    return warning.filename, warning.lineno


def test_the_line_that_called_the_package():
    package = Path(spiq_tf.__file__).parent
    here = line_of_warning(lambda warn: warn("text", UserWarning))
    assert here[0] == __file__
    for depth in ("outer", "inner"):
        inside = functions_in(package / "tflite" / "deep.py")[depth]
        assert line_of_warning(lambda warn, inside=inside: inside(warn))[0] == __file__


def test_code_beside_the_package_is_the_users():
    """A folder whose name begins like the package's is none of its own."""
    beside = Path(spiq_tf.__file__).parent.with_name("spiq_tf_of_mine") / "train.py"
    assert line_of_warning(functions_in(beside)["outer"]) == (str(beside), 2)

"""Checks TFLite files against the rules of a target.

spiq-tf check model.tflite
spiq-tf check --target=edgetpu *.tflite

The exit code is 0 if no file breaks a rule, 1 if one does, 2 if one cannot be read or the arguments are wrong.
"""

import sys
from collections.abc import Sequence

from absl import app, flags

import spiq_tf
from spiq_tf.commands.command import Command, error_of_file
from spiq_tf.targets import TARGETS


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the command."""
    flags.DEFINE_enum("target", "portable", list(TARGETS), "What the files are to run on.", flag_values=values)


def run(files: Sequence[str], options: flags.FlagValues) -> int:
    """Prints a line for each violation and one for each file; returns the exit code."""
    if not files:
        raise app.UsageError("expected TFLite files")
    return max(_check_file(file, options.target) for file in files)


def _check_file(file: str, target: str) -> int:
    try:
        violations = spiq_tf.check(file, target)
    except spiq_tf.ModelFileError as error:
        print(error_of_file(file, error), file=sys.stderr)
        return 2
    for violation in violations:
        print(f"{file}: {violation}")
    print(f"{file}: {len(violations) or 'no'} violation{'s' * (len(violations) != 1)} of the rules of {target}")
    return 1 if violations else 0


COMMAND = Command(name="spiq-tf check", description=__doc__, define_flags=define_flags, run=run)

"""Checks TFLite files against the rules of a target.

spiq-tf check model.tflite
spiq-tf check --target=edgetpu *.tflite

For xnnpack the operators that its delegate leaves to LiteRT's own kernels, most of which are slower, are listed too,
and the number of pieces in which it runs the others: the file runs all the same, and these break no rule.

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
    broken = sum(not violation.slows for violation in violations)
    outside = sum(violation.slows and violation.operator is not None for violation in violations)
    slower = f"; {_counted(outside, 'operator')} outside the delegate" if outside else ""
    print(f"{file}: {_counted(broken, 'violation')} of the rules of {target}{slower}")
    return 1 if broken else 0


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'s' * (count != 1)}"


COMMAND = Command(name="spiq-tf check", description=__doc__, define_flags=define_flags, run=run)

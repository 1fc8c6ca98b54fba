"""Checks TFLite files against the rules of a target.

python tools/check.py model.tflite
python tools/check.py --target=edgetpu *.tflite

The exit code is 0 where all files keep to the rules, 1 where one breaks some, 2 where one cannot be read or the
arguments are wrong.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import sys
from collections.abc import Sequence

import commands
from absl import app, flags

import spiq_tf
from spiq_tf.targets import TARGETS

FLAGS = flags.FLAGS

flags.DEFINE_enum("target", "portable", list(TARGETS), "What the files are to run on.")


def main(argv: Sequence[str]) -> int:
    """Prints a line for each violation and one for each file; returns the exit code."""
    files = argv[1:]
    if not files:
        raise app.UsageError("expected TFLite files")
    worst = 0
    for file in files:
        try:
            found = spiq_tf.check(file, FLAGS.target)
        except spiq_tf.ModelFileError as error:
            print(commands.about(file, error), file=sys.stderr)
            worst = 2
            continue
        for violation in found:
            print(f"{file}: {violation}")
        print(f"{file}: {len(found) or 'no'} violation{'s' * (len(found) != 1)} of the rules of {FLAGS.target}")
        worst = max(worst, int(bool(found)))
    return worst


if __name__ == "__main__":
    commands.run(main)

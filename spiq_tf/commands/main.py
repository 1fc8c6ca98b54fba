"""Converts Keras models to int8 TFLite files without data; checks, verifies and times such files.

spiq-tf convert --output_dir=OUT MODEL.keras ...
spiq-tf check --target=edgetpu FILE.tflite ...
spiq-tf verify MODEL.keras FILE.tflite
spiq-tf benchmark MODEL.keras MobileNetV2 ...

`spiq-tf COMMAND --help` lists the flags of a command.
"""

import os
import sys
from collections.abc import Sequence

from spiq_tf.commands import benchmark, check, convert, verify
from spiq_tf.commands.command import WRONG_USAGE

COMMANDS = {
    "convert": convert.COMMAND,
    "check": check.COMMAND,
    "verify": verify.COMMAND,
    "benchmark": benchmark.COMMAND,
}

_HELP = ("--help", "-h", "-?", "help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the first argument names.

    Args:
        arguments: those of the process by default, without the name of the program.

    Returns:
        The exit code of the process: that of the command, or 2 where there is no such command.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read by TensorFlow when it is imported
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if name in _HELP:
        print(__doc__)
        return 0
    if name not in COMMANDS:
        print(f"error: expected one of {', '.join(COMMANDS)}, found {name!r}\n{__doc__}", file=sys.stderr)
        return WRONG_USAGE
    return COMMANDS[name].main(rest)

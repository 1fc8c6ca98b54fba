"""A command: its flags, its help, and its exit codes. Flags of absl, in a FlagValues of the command's own."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import app, flags, logging

WRONG_USAGE = 2
"""Exit code where the flags or the arguments are wrong; absl's own is 1."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of the command line.

    Attributes:
        name: with which the user calls it.
        description: first part of its help.
        define_flags: defines the flags of the command in a FlagValues.
        run: called with the positional arguments and the flags; returns the exit code. May raise app.UsageError.
        required: names of flags that must be given.
    """

    name: str
    description: str
    define_flags: Callable[[flags.FlagValues], None]
    run: Callable[[Sequence[str], flags.FlagValues], int]
    required: tuple[str, ...] = ()

    def main(self, arguments: Sequence[str]) -> int:
        """Reads the flags and runs the command.

        Args:
            arguments: flags and positional arguments, without the name of the program.

        Returns:
            The exit code of the process.
        """
        values = self._defined_flags()
        try:
            rest = values([self.name, *arguments])[1:]
            if values.help or values.helpfull:
                print(self._help(values))
                return 0
            self._check_required(values)
            return self.run(rest, values)
        except (flags.Error, app.UsageError) as error:
            print(f"error: {error}\n--help lists the flags.", file=sys.stderr)
            return WRONG_USAGE

    def _defined_flags(self) -> flags.FlagValues:
        values = flags.FlagValues()
        self.define_flags(values)
        flags.DEFINE_bool("help", False, "Prints this help.", values, short_name="?")
        flags.DEFINE_bool("helpfull", False, "Prints this help, with absl's flags of logging.", values)
        for flag in _logging_flags():
            values[flag.name] = flag
        return values

    def _help(self, values: flags.FlagValues) -> str:
        text = f"{self.description}\nflags:\n{values.get_help()}"
        return f"{text}\n\n{flags.FLAGS.module_help(logging)}" if values.helpfull else text

    def _check_required(self, values: flags.FlagValues) -> None:
        for name in self.required:
            if values[name].value is None:
                purpose = values[name].help.rstrip(".")
                raise app.UsageError(f"--{name} is missing: {purpose[0].lower()}{purpose[1:]}")


def error_of_file(path: str, error: object) -> str:
    """The text of an error of a file or folder, beginning with the path."""
    text = str(error)
    return text if text.startswith((f"{path}: ", f"{Path(path)}: ")) else f"{path}: {text}"


def _logging_flags() -> list["flags.Flag[Any]"]:
    """absl's own, such as --verbosity: its logging reads these very objects."""
    return flags.FLAGS.flags_by_module_dict()[logging.__name__]

"""How a tool reads its flags: whatever is wrong with them ends it with exit code 2, as its help says; absl says 1."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags

FLAGS = flags.FLAGS

WRONG_USAGE = 2


def run(main: Callable[[list[str]], int | None], required: Sequence[str] = ()) -> None:
    """Runs a tool and ends the process with what it returns.

    Args:
        main: is given the arguments that are no flags, the tool's name first; may raise app.UsageError.
        required: names of flags that must be given.
    """

    def parsed(arguments: Sequence[str]) -> list[str]:
        try:
            rest = FLAGS(arguments)
        except SystemExit:  # absl prints the help that is asked for, and ends as if that were an error
            sys.exit(0)
        except flags.Error as error:
            _refuse(error)
        for name in required:
            if FLAGS[name].value is None:
                said = FLAGS[name].help.rstrip(".")
                _refuse(f"--{name} is missing: {said[0].lower()}{said[1:]}")
        return rest

    def guarded(arguments: list[str]) -> int | None:
        try:
            return main(arguments)
        except app.UsageError as error:
            _refuse(error)

    app.run(guarded, flags_parser=parsed)


def about(path: str, error: object) -> str:
    """An error of a file or folder, which many name at their beginning already."""
    text = str(error)
    return text if text.startswith((f"{path}: ", f"{Path(path)}: ")) else f"{path}: {text}"


def _refuse(error: object) -> NoReturn:
    print(f"error: {error}\n--help lists the flags.", file=sys.stderr)
    sys.exit(WRONG_USAGE)

"""Atomic writes of files."""

import contextlib
import os
import platform
import re
import tempfile
from pathlib import Path

from spiq_tf.errors import InvalidArgumentError


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file in one step: readers see the old content or all of the new.

    A process that is killed meanwhile leaves a hidden file, which `remove_leftovers` recognizes by its name.

    Args:
        path: of the file, in an existing folder.
        content: all of it.

    Raises:
        InvalidArgumentError: the folder does not exist or cannot be written.
    """
    target = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f"{_temporary_names()}{os.getpid()}.", dir=target.parent)
    except OSError as error:
        raise InvalidArgumentError(f"cannot write {target}: {error.strerror} ({target.parent})") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as error:
        raise InvalidArgumentError(f"cannot write {target}: {error.strerror}") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Removes the temporary files of `write_atomically` in a folder whose processes are dead.

    Files of processes of other machines and of other users stay, as do those of dead processes whose number another
    process has by now: what is not known to be dead may be at work.

    Raises:
        OSError: the folder cannot be read, or a file in it not removed.
    """
    ours = re.compile(re.escape(_temporary_names()) + r"(\d+)\.[a-z0-9_]+")
    for path in Path(folder).iterdir():
        match = ours.fullmatch(path.name)
        if match and not _is_alive(int(match[1])):
            with contextlib.suppress(PermissionError):  # another user's, in a folder where each may only remove his own
                path.unlink(missing_ok=True)


def _temporary_names() -> str:
    """Prefix of this machine's temporary files; process numbers are unique on one machine only."""
    return f".spiq_tf.{platform.node()}."


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # there os.kill ends the process, whatever the signal
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # no /proc on this system, or the process has just ended: assumed alive
        return True
    return state not in ("Z", "X")  # dead, but its parent has not asked how it ended


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current

"""Writing files so that none is ever half there, and loading models so that what is wrong is said."""

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras

from spiq_tf.errors import InvalidArgumentError, ModelFileError


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file in one step: readers see the old one or the whole new one.

    Raises:
        InvalidArgumentError: the folder does not exist or cannot be written.
    """
    target = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
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


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def load_model(path: str | os.PathLike[str], safe_mode: bool = True) -> Any:
    """A Keras model from a .keras or .h5 file.

    Args:
        path: of the file.
        safe_mode: refuses files that carry code (a Lambda layer runs what is in the file).

    Raises:
        ModelFileError: the file is missing, truncated, no model, or refused by safe mode.
    """
    source = Path(path)
    if source.suffix not in (".keras", ".h5"):
        raise ModelFileError(f"{source}: expected a .keras or .h5 file")
    if not source.is_file():
        raise ModelFileError(f"{source}: no such file")
    if source.suffix == ".keras" and not zipfile.is_zipfile(source):
        raise ModelFileError(f"{source}: no Keras model, or a truncated one: it is not a whole zip archive")
    try:
        return keras.models.load_model(source, compile=False, safe_mode=safe_mode)
    except Exception as error:  # Keras, h5py, zipfile and layers' own code each raise what they like
        raise ModelFileError(f"{source}: Keras cannot load it: {_first_lines(error)}") from error


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__

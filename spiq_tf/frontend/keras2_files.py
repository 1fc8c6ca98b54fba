"""Files and folders that Keras 2 wrote, read by tf_keras where it is installed."""

import importlib.util
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import h5py

from spiq_tf.errors import ModelFileError
from spiq_tf.frontend.keras2 import as_keras3

METADATA = "keras_metadata.pb"
"""The file of the layers' configurations in a SavedModel of Keras 2."""

_LAMBDA = re.compile(rb'"class_name":\s*"Lambda"')


def is_available() -> bool:
    """Whether tf_keras can be imported."""
    return importlib.util.find_spec("tf_keras") is not None


def is_written_by_keras2(source: Path) -> bool:
    """Whether a .keras or .h5 file, or a SavedModel folder, states that Keras 2 wrote it."""
    if source.is_dir():
        return (source / METADATA).is_file()
    try:
        return _version(source).startswith("2.")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return False  # damaged, or no model: the reader that follows raises


def _version(source: Path) -> str:
    if source.suffix == ".keras":
        with zipfile.ZipFile(source) as archive:
            return str(json.loads(archive.read("metadata.json"))["keras_version"])
    with h5py.File(source) as file:
        version = file.attrs["keras_version"]
        return version.decode() if isinstance(version, bytes) else str(version)


def load(source: Path, safe_mode: bool) -> Any:
    """The model as a Keras 3 one.

    Args:
        source: a file or folder that Keras 2 wrote.
        safe_mode: refuses what holds a Lambda layer, whose code would be run.

    Raises:
        ModelFileError: tf_keras is not installed, or cannot load it, or safe mode refuses it.
        InvalidModelError: Keras 3 cannot hold the model.
    """
    if not is_available():
        raise ModelFileError(f"{source}: written by Keras 2, which tf_keras reads: pip install tf_keras")
    if safe_mode and _LAMBDA.search(_configuration(source)):
        raise refused(source, "a Lambda layer in it")
    import tf_keras

    try:
        model = tf_keras.models.load_model(source, compile=False)
    except Exception as error:  # tf_keras, h5py and layers' own code each raise what they like
        words = " ".join(str(error).split())[:500]
        raise ModelFileError(f"{source}: tf_keras cannot load it: {words or type(error).__name__}") from error
    return as_keras3(model)


def refused(source: Path, what: str) -> ModelFileError:
    """The error of safe mode, for a file of either Keras."""
    return ModelFileError(
        f"{source}: refused, since {what} carries code; if you trust it: --trust_code_in_files (in Python"
        " spiq_tf.load_model(path, safe_mode=False))"
    )


def _configuration(source: Path) -> bytes:
    """The configuration of the layers that the file holds, as text."""
    try:
        if source.is_dir():
            return (source / METADATA).read_bytes()
        if source.suffix == ".keras":
            with zipfile.ZipFile(source) as archive:
                return archive.read("config.json")
        with h5py.File(source) as file:
            if "model_config" not in file.attrs:
                raise ModelFileError(
                    f"{source}: holds no model, at most weights: build the model in code, then model.load_weights(path)"
                )
            text = file.attrs["model_config"]
            return text if isinstance(text, bytes) else str(text).encode()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelFileError(f"{source}: a damaged Keras 2 model: {error}") from error

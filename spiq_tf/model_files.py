"""Loading models from files, with errors that say what is wrong."""

import os
import zipfile
from pathlib import Path
from typing import Any

import keras

from spiq_tf.errors import ModelFileError, short_reason
from spiq_tf.frontend import keras2_files


def load_model(path: str | os.PathLike[str], safe_mode: bool = True) -> Any:
    """A Keras 3 model from a .keras or .h5 file, or from a SavedModel folder that Keras 2 wrote.

    Files of Keras 2 are read by tf_keras where it is installed, since Keras 3 reads some of their layers wrongly or not
    at all.

    Args:
        path: of the file or folder.
        safe_mode: refuses files that carry code (a Lambda layer runs what is in the file).

    Raises:
        ModelFileError: the file is missing, truncated, no model, or refused by safe mode; a SavedModel holds no layers,
            or needs tf_keras.
        InvalidModelError: Keras 3 cannot hold a model of Keras 2.
    """
    source = Path(path)
    if source.is_dir():
        return _from_folder(source, safe_mode)
    if source.suffix not in (".keras", ".h5", ".hdf5"):
        raise ModelFileError(f"{source}: expected a .keras, .h5 or .hdf5 file, or a SavedModel folder")
    if not source.is_file():
        raise ModelFileError(f"{source}: no such file")
    if source.suffix == ".keras" and not zipfile.is_zipfile(source):
        raise ModelFileError(f"{source}: no Keras model, or a truncated one: it is not a whole zip archive")
    old = keras2_files.is_written_by_keras2(source)
    if old and keras2_files.is_available():
        return keras2_files.load(source, safe_mode)
    try:
        return keras.models.load_model(source, compile=False, safe_mode=safe_mode)
    except Exception as error:  # Keras, h5py, zipfile and layers' own code each raise what they like
        if safe_mode and "safe_mode=False" in str(error):
            what = "a Lambda layer in it" if "`Lambda`" in str(error) else "a Python lambda in it"
            raise keras2_files.refused(source, what) from error
        reason = short_reason(error, after="Exception encountered: ")  # before it, the models that own the layer
        advice = "; Keras 2 wrote it: pip install tf_keras, which reads it" if old else ""
        raise ModelFileError(f"{source}: Keras cannot load it: {reason}{advice}") from error


def _from_folder(source: Path, safe_mode: bool) -> Any:
    if keras2_files.is_written_by_keras2(source):
        return keras2_files.load(source, safe_mode)
    if (source / "saved_model.pb").is_file():
        raise ModelFileError(
            f"{source}: a SavedModel without Keras's layers, as model.export and tf.saved_model.save write it; they"
            " cannot be restored: use the .keras or .h5 file of the model"
        )
    suffix = next((end for end in (".keras", ".h5") if any(source.glob(f"*{end}"))), None)
    advice = "" if suffix is None else f"; for the models in it give '{source}/*{suffix}'"
    raise ModelFileError(
        f"{source}: expected a .keras or .h5 file, or a SavedModel, found a folder without one{advice}"
    )

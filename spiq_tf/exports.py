"""The public names of the package. Importing them imports Keras and TensorFlow, and refuses another backend."""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"spiq_tf needs Keras on TensorFlow, found the {keras.backend.backend()!r} backend: set the environment"
        ' variable KERAS_BACKEND=tensorflow, or "backend": "tensorflow" in ~/.keras/keras.json, before Keras is'
        " imported"
    )

from spiq_tf.api import convert, quantize, rewrite, verify
from spiq_tf.conformance.checking import check
from spiq_tf.conformance.violation import Violation
from spiq_tf.errors import (
    CoarseScaleWarning,
    DegenerateOutputWarning,
    FloatOperatorWarning,
    InputRangeError,
    InputRangeWarning,
    InvalidArgumentError,
    InvalidModelError,
    LoweringError,
    ModelFileError,
    ModelTypeError,
    NotCloneableError,
    PixelBytesWarning,
    SpiqError,
    SpiqWarning,
    TargetWarning,
)
from spiq_tf.files import write_atomically
from spiq_tf.model_files import load_model
from spiq_tf.reporting.report import Report
from spiq_tf.result import QuantizedModel
from spiq_tf.tensor_info import TensorInfo
from spiq_tf.tflite.delegation import Delegation
from spiq_tf.verification.finding import Verification

__all__ = [
    "CoarseScaleWarning",
    "DegenerateOutputWarning",
    "Delegation",
    "FloatOperatorWarning",
    "InputRangeError",
    "InputRangeWarning",
    "InvalidArgumentError",
    "InvalidModelError",
    "LoweringError",
    "ModelFileError",
    "ModelTypeError",
    "NotCloneableError",
    "PixelBytesWarning",
    "QuantizedModel",
    "Report",
    "SpiqError",
    "SpiqWarning",
    "TargetWarning",
    "TensorInfo",
    "Verification",
    "Violation",
    "check",
    "convert",
    "load_model",
    "quantize",
    "rewrite",
    "verify",
    "write_atomically",
]

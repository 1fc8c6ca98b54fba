"""Every error and warning that spiq_tf raises on purpose.

Each is also a ValueError or a TypeError, so that code which knows nothing of spiq_tf can catch it.
"""

import os
import sys
import warnings
from pathlib import Path


class SpiqError(Exception):
    """Base of all errors raised on purpose by spiq_tf."""


class ModelTypeError(SpiqError, TypeError):
    """The argument is not a Keras model that can be converted."""


class InvalidModelError(SpiqError, ValueError):
    """The model's structure or weights forbid a conversion: unbuilt, dynamic sizes, NaN weights."""


class InvalidArgumentError(SpiqError, ValueError):
    """An argument of the call is wrong: a data type, a batch size, a path."""


class InputRangeError(InvalidArgumentError):
    """The input range is malformed, or was left out and cannot be inferred from the model."""


class NotCloneableError(SpiqError, ValueError):
    """The rescaled Keras model cannot be built, because the model cannot be cloned."""


class LoweringError(SpiqError, ValueError):
    """TensorFlow's converter refused the model, or LiteRT refused the converted file."""


class ModelFileError(SpiqError, ValueError):
    """A file is not a Keras model, is truncated, or is refused by Keras's safe mode."""


class SpiqWarning(UserWarning):
    """Base of all warnings of spiq_tf: the file was written, and its user should know of a limitation."""


class DegenerateOutputWarning(SpiqWarning):
    """The converted file's output cannot vary: it is constant, or always one class."""


class CoarseScaleWarning(SpiqWarning):
    """A tensor is concatenated with others so much larger that the common scale leaves it only a few levels."""


class TargetWarning(SpiqWarning):
    """The target does not support some operators of the file."""


class FloatOperatorWarning(SpiqWarning):
    """The file is not fully integer although no float layer was asked for: an operator has no int8 kernel."""


class InputRangeWarning(SpiqWarning):
    """The given input range contradicts the preprocessing layer at the model's input."""


class PixelBytesWarning(SpiqWarning):
    """A uint8 input cannot be fed an image's bytes unchanged."""


def short_reason(error: Exception, after: str = "") -> str:
    """What another library's error says, on one line of 500 characters at most; its type where it says nothing.

    Args:
        error: the other library's.
        after: words after which its reason begins, where they are found.
    """
    text = str(error).rpartition(after)[2] if after else str(error)
    return " ".join(text.split())[:500] or type(error).__name__


_PACKAGE = str(Path(__file__).resolve().parent) + os.sep


def warn_user(message: str, category: type[SpiqWarning]) -> None:
    """Warns at the line of the caller's code that called into spiq_tf, however deep inside the package this is.

    What `skip_file_prefixes` of `warnings.warn` does from Python 3.12 on.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and os.path.realpath(frame.f_code.co_filename).startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)

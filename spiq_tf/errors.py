"""Every error and warning that spiq_tf raises on purpose.

Each is also a ValueError or a TypeError, so that code which knows nothing of spiq_tf can catch it.
"""

import inspect
import os
import warnings

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class SpiqError(Exception):
    """Base of all errors raised on purpose by spiq_tf."""


class ModelTypeError(SpiqError, TypeError):
    """What was given is not a Keras model that can be converted."""


class InvalidModelError(SpiqError, ValueError):
    """The model's structure or weights forbid a conversion: unbuilt, dynamic sizes, NaN weights."""


class InvalidArgumentError(SpiqError, ValueError):
    """An argument of the call is wrong: a data type, a batch size, a path."""


class InputRangeError(InvalidArgumentError):
    """The input range is malformed, or was left out and cannot be told from the model."""


class NotCloneableError(SpiqError, ValueError):
    """The rewritten Keras model cannot be built, because the model cannot be cloned."""


class LoweringError(SpiqError, ValueError):
    """TensorFlow's converter refused the model, or LiteRT the file that came of it."""


class ModelFileError(SpiqError, ValueError):
    """A file is no Keras model, is truncated, or is refused by Keras's safe mode."""


class SpiqWarning(UserWarning):
    """Base of all warnings of spiq_tf: the file was made, and its user should know something of it."""


class DegenerateOutputWarning(SpiqWarning):
    """The converted file's output cannot vary: it is constant, or always one class."""


class CoarseScaleWarning(SpiqWarning):
    """A tensor is concatenated to others that are so much larger that hardly a step of the scale is left to it."""


class TargetWarning(SpiqWarning):
    """The target does not take all of the file."""


class FloatOperatorWarning(SpiqWarning):
    """The file is not all integer, though nobody asked for that: an operator has no int8 form."""


class InputRangeWarning(SpiqWarning):
    """The input range that was given contradicts the layer in front."""


class PixelBytesWarning(SpiqWarning):
    """A uint8 input does not take an image's bytes as they are."""


def first_words(error: Exception, behind: str = "") -> str:
    """What another library's error says, on one line of 500 characters at most; its type where it says nothing.

    Args:
        error: the other library's.
        behind: words behind which its reason begins, where they are found.
    """
    text = str(error).rpartition(behind)[2] if behind else str(error)
    return " ".join(text.split())[:500] or type(error).__name__


def warn_user(text: str, category: type[Warning]) -> None:
    """Warns of the line outside this package from which it was called, however deep the warning arises."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and os.path.abspath(frame.f_code.co_filename).startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)

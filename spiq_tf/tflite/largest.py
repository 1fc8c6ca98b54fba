"""The place of the largest value as one operator.

Keras tells -0 from 0 by their bits, for which TFLite has no operator.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import tensorflow as tf
from keras.src import backend


@contextlib.contextmanager
def plain_arguments() -> Iterator[None]:
    """Within it `keras.ops.argmax` and `argmin` take -0 for 0."""
    with (
        mock.patch.object(backend.numpy, "argmax", _plain(tf.argmax)),
        mock.patch.object(backend.numpy, "argmin", _plain(tf.argmin)),
    ):
        yield


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    def argument(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        x = tf.convert_to_tensor(x)
        found = function(tf.reshape(x, [-1]) if axis is None else x, 0 if axis is None else axis, tf.int32)
        if not keepdims:
            return found
        return tf.reshape(found, [1] * len(x.shape)) if axis is None else tf.expand_dims(found, axis)

    return argument

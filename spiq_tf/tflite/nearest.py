"""Upsampling that repeats values as one operator.

Keras repeats rows and columns one after the other, which the converter writes as two TILEs between three reshapes; the
runtimes have RESIZE_NEAREST_NEIGHBOR, which the CPU delegate takes.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import keras
import tensorflow as tf

_UPSAMPLING = keras.layers.UpSampling2D
_written = _UPSAMPLING.call


@contextlib.contextmanager
def nearest_resizing() -> Iterator[None]:
    """Within it `keras.layers.UpSampling2D` computes the same by one operation."""
    with mock.patch.object(_UPSAMPLING, "call", _resized):
        yield


def _resized(layer: Any, inputs: Any) -> Any:
    if layer.interpolation != "nearest" or layer.data_format != "channels_last":
        return _written(layer, inputs)
    size = [length * factor for length, factor in zip(inputs.shape[1:3], layer.size, strict=True)]
    return tf.raw_ops.ResizeNearestNeighbor(images=inputs, size=size)

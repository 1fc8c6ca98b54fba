"""Layers and operations of Keras that are traced in another form, for which TFLite has one operator.

- A softmax over several axes: Keras writes exp(x - log(sum(exp(x)))), of which an int8 file keeps EXP and LOG in float
  and rounds the sum of exponentials to nothing. Attention over both axes of an image is made of it.
- Upsampling that repeats values: Keras repeats rows and columns one after the other, two TILEs between three reshapes.
  The CPU delegate takes RESIZE_NEAREST_NEIGHBOR.
- The place of the largest value: Keras tells -0 from 0 by their bits, for which TFLite has no operator.
- A vector that is added along the first axis of positions: Keras calls it a bias of channels that stand there, which
  the converter moves to the end and back, or refuses.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import keras
import tensorflow as tf
from keras.src import backend

_SOFTMAX, _UPSAMPLING = keras.layers.Softmax, keras.layers.UpSampling2D
_softmax, _upsampling, _bias_add = _SOFTMAX.call, _UPSAMPLING.call, tf.nn.bias_add


@contextlib.contextmanager
def converter_friendly_keras() -> Iterator[None]:
    """Within it these compute the same by what becomes one operator."""
    with (
        mock.patch.object(_SOFTMAX, "call", _joint),
        mock.patch.object(_UPSAMPLING, "call", _resized),
        mock.patch.object(tf.nn, "bias_add", _added),
        mock.patch.object(backend.numpy, "argmax", _plain(tf.argmax)),
        mock.patch.object(backend.numpy, "argmin", _plain(tf.argmin)),
    ):
        yield


def _joint(layer: Any, inputs: Any, mask: Any = None) -> Any:
    axes = layer.axis if isinstance(layer.axis, tuple | list) else (layer.axis,)
    if len(axes) < 2:
        return _softmax(layer, inputs, mask)
    rank = len(inputs.shape)
    joined = [axis % rank for axis in axes]
    order = [*(axis for axis in range(rank) if axis not in joined), *joined]
    back = [order.index(axis) for axis in range(rank)]

    def moved(x: Any) -> Any:
        x = keras.ops.transpose(x, order)
        return keras.ops.reshape(x, (*x.shape[: -len(axes)], math.prod(x.shape[-len(axes) :])))

    shape = [inputs.shape[axis] for axis in order]
    mask = None if mask is None else moved(keras.ops.broadcast_to(mask, inputs.shape))
    probabilities = _softmax(_SOFTMAX(), moved(inputs), mask)
    return keras.ops.transpose(keras.ops.reshape(probabilities, shape), back)


def _resized(layer: Any, inputs: Any) -> Any:
    if layer.interpolation != "nearest" or layer.data_format != "channels_last":
        return _upsampling(layer, inputs)
    size = [length * factor for length, factor in zip(inputs.shape[1:3], layer.size, strict=True)]
    return tf.raw_ops.ResizeNearestNeighbor(images=inputs, size=size)


def _added(value: Any, bias: Any, data_format: str | None = None, name: str | None = None) -> Any:
    if data_format is None or not data_format.startswith("NC"):
        return _bias_add(value, bias, data_format, name)
    return tf.add(value, tf.reshape(bias, (-1, *[1] * (len(value.shape) - 2))), name)


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    def argument(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        x = tf.convert_to_tensor(x)
        found = function(tf.reshape(x, [-1]) if axis is None else x, 0 if axis is None else axis, tf.int32)
        if not keepdims:
            return found
        return tf.reshape(found, [1] * len(x.shape)) if axis is None else tf.expand_dims(found, axis)

    return argument

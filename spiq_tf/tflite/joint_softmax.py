"""A softmax over several axes as one operator.

Keras writes it as exp(x - log(sum(exp(x)))), of which an int8 file keeps EXP and LOG in float and rounds the sum of
exponentials to nothing. Attention over both axes of an image is made of it.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any
from unittest import mock

import keras

_SOFTMAX = keras.layers.Softmax
_written = _SOFTMAX.call


@contextlib.contextmanager
def joint_softmax() -> Iterator[None]:
    """Within it `keras.layers.Softmax` over several axes computes the same by moving them into one."""
    with mock.patch.object(_SOFTMAX, "call", _joint):
        yield


def _joint(layer: Any, inputs: Any, mask: Any = None) -> Any:
    axes = layer.axis if isinstance(layer.axis, tuple | list) else (layer.axis,)
    if len(axes) < 2:
        return _written(layer, inputs, mask)
    rank = len(inputs.shape)
    joined = [axis % rank for axis in axes]
    order = [*(axis for axis in range(rank) if axis not in joined), *joined]
    back = [order.index(axis) for axis in range(rank)]

    def moved(x: Any) -> Any:
        x = keras.ops.transpose(x, order)
        return keras.ops.reshape(x, (*x.shape[: -len(axes)], math.prod(x.shape[-len(axes) :])))

    shape = [inputs.shape[axis] for axis in order]
    mask = None if mask is None else moved(keras.ops.broadcast_to(mask, inputs.shape))
    probabilities = _written(_SOFTMAX(), moved(inputs), mask)
    return keras.ops.transpose(keras.ops.reshape(probabilities, shape), back)

"""Layer calls run so that they can be differentiated safely.

TensorFlow's CPU kernels for the derivative of a convolution by its weights write where they must not if the kernel has
one tap, a stride, and one output for what it reads: the process ends, or numbers are wrong. Nobody needs that
derivative here, but TensorFlow takes it along. A kernel of one tap and a stride s reads every s-th position only: taken
without a stride of those positions alone, it gives the same, and its derivative is sound.
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from spiq_tf.capture import replay
from spiq_tf.graph import Call, Tensor

_L = keras.layers
_CONVOLUTIONS = (_L.Conv1D, _L.Conv2D, _L.DepthwiseConv1D, _L.DepthwiseConv2D, _L.SeparableConv1D, _L.SeparableConv2D)


def replay_differentiable(call: Call, values: Mapping[str, Any]) -> list[Any]:
    """As `replay`; of float32 values, in the eager mode."""
    layer = call.layer
    if not (isinstance(layer, _CONVOLUTIONS) and skips_positions(layer)):
        return replay(call, dict(values))
    (tensor,) = (a for a in keras.tree.flatten((call.args, dict(call.kwargs))) if isinstance(a, Tensor))
    x = read_positions(layer, values[tensor.name])
    if hasattr(layer, "pointwise_kernel"):
        y = keras.ops.separable_conv(x, layer.depthwise_kernel, layer.pointwise_kernel, padding="valid")
    elif isinstance(layer, _L.DepthwiseConv1D | _L.DepthwiseConv2D):
        y = keras.ops.depthwise_conv(x, layer.kernel, padding="valid")
    else:
        y = keras.ops.conv(x, layer.kernel, padding="valid")
    y = y if layer.bias is None else y + layer.bias
    return [y if layer.activation is None else layer.activation(y)]


def skips_positions(layer: Any) -> bool:
    """Whether a convolution has one tap and a stride."""
    return set(layer.kernel_size) == {1} and set(layer.strides) != {1}


def read_positions(layer: Any, x: tf.Tensor) -> tf.Tensor:
    """The positions that it reads."""
    return x[(slice(None), *(slice(None, None, stride) for stride in layer.strides))]

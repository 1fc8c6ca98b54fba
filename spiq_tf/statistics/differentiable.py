"""Convolutions, as the fields are run through them: before their activation, and so that they can be differentiated
safely.

TensorFlow's CPU kernels for the derivative of a convolution by its weights write where they must not if the kernel has
one tap, a stride, and one output for what it reads: the process ends, or numbers are wrong. Nobody needs that
derivative here, but TensorFlow takes it along. A kernel of one tap and a stride s reads every s-th position only: taken
without a stride of those positions alone, it gives the same, and its derivative is sound.
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras.src.layers.convolutional.base_conv_transpose import BaseConvTranspose
from keras.src.layers.convolutional.base_depthwise_conv import BaseDepthwiseConv
from keras.src.layers.convolutional.base_separable_conv import BaseSeparableConv

from spiq_tf.frontend.capture import replay
from spiq_tf.graph.layer_graph import Call, Tensor

_L = keras.layers
_STRIDING = (_L.Conv1D, _L.Conv2D, BaseDepthwiseConv, BaseSeparableConv)


def replay_differentiable(call: Call, values: Mapping[str, Any]) -> list[Any]:
    """As `replay`; of float32 values, in the eager mode."""
    layer = call.layer
    if not (isinstance(layer, _STRIDING) and _skips_positions(layer)):
        return replay(call, dict(values))
    (tensor,) = (a for a in keras.tree.flatten((call.args, dict(call.kwargs))) if isinstance(a, Tensor))
    *_, y = linear_parts(layer, values[tensor.name])
    return [y if layer.activation is None else layer.activation(y)]


def linear_parts(layer: Any, x: tf.Tensor) -> list[tf.Tensor]:
    """What each kernel of a Dense or a convolution makes of x, the bias with the last, before the activation.

    Args:
        layer: any; of other layers there are no parts.
        x: float32, in the eager mode.
    """
    if type(layer) is _L.Dense:
        parts = [x @ tf.convert_to_tensor(layer.kernel)]
    elif isinstance(layer, BaseSeparableConv):
        deep = _depthwise(layer, x, layer.depthwise_kernel)
        parts = [deep, keras.ops.conv(deep, layer.pointwise_kernel)]
    elif isinstance(layer, BaseDepthwiseConv):
        parts = [_depthwise(layer, x, layer.kernel)]
    elif isinstance(layer, BaseConvTranspose):
        own = {"padding": layer.padding, "output_padding": layer.output_padding, "dilation_rate": layer.dilation_rate}
        parts = [keras.ops.conv_transpose(x, layer.kernel, strides=list(layer.strides), **own)]
    elif hasattr(layer, "convolution_op"):
        parts = [_convolved(layer, x)]
    else:
        return []
    return parts if layer.bias is None else [*parts[:-1], parts[-1] + layer.bias]


def _depthwise(layer: Any, x: tf.Tensor, kernel: Any) -> tf.Tensor:
    if _skips_positions(layer):
        return keras.ops.depthwise_conv(_read_positions(layer, x), kernel, padding="valid")
    return keras.ops.depthwise_conv(x, kernel, layer.strides, layer.padding, dilation_rate=layer.dilation_rate)


def _convolved(layer: Any, x: tf.Tensor) -> tf.Tensor:
    """A convolution whose derivative is that for its input alone: TensorFlow's takes as long again for the kernel."""
    kernel = tf.convert_to_tensor(layer.kernel)
    if _skips_positions(layer):
        return keras.ops.conv(_read_positions(layer, x), kernel, padding="valid")
    if layer.padding == "causal":
        x = tf.pad(x, [[0, 0], [layer.dilation_rate[0] * (layer.kernel_size[0] - 1), 0], [0, 0]])
        return keras.ops.conv(x, kernel, layer.strides, "valid", dilation_rate=layer.dilation_rate)
    if not isinstance(layer, _L.Conv2D) or set(layer.dilation_rate) != {1}:
        return layer.convolution_op(x, kernel)
    strides, padding = [1, *layer.strides, 1], layer.padding.upper()

    def convolved(value: tf.Tensor) -> tuple[tf.Tensor, Any]:
        def derivative(output: tf.Tensor) -> tf.Tensor:
            # group by group: of several at once TensorFlow has a derivative on some processors alone
            sizes = [*value.shape[:-1], value.shape[-1] // layer.groups]
            parts = zip(tf.split(kernel, layer.groups, -1), tf.split(output, layer.groups, -1), strict=True)
            return tf.concat([tf.nn.conv2d_transpose(y, k, sizes, strides, padding) for k, y in parts], -1)

        return tf.nn.conv2d(value, kernel, strides, padding), derivative

    return tf.custom_gradient(convolved)(x)


def _skips_positions(layer: Any) -> bool:
    """Whether a convolution has one tap and a stride."""
    return set(layer.kernel_size) == {1} and set(layer.strides) != {1}


def _read_positions(layer: Any, x: tf.Tensor) -> tf.Tensor:
    """The positions that it reads."""
    return x[(slice(None), *(slice(None, None, stride) for stride in layer.strides))]

"""Layers as recorded runs need them: kernels before their activation, and derivatives that are safe and fast.

TensorFlow's CPU kernels for the derivative of a convolution by its weights write out of bounds if the kernel has one
tap, a stride, and one output for what it reads: the process ends, or values are wrong. Nobody needs that derivative
here, but TensorFlow computes it with the other. A kernel of one tap and a stride s reads every s-th spatial location
only: without a stride, on those locations alone, it computes the same, and its derivative is sound.
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from spiq_tf.execution.executor import by_name, call_outputs, input_tensors
from spiq_tf.graph.layer_graph import Call

_L = keras.layers
_DEPTHWISE = (_L.DepthwiseConv1D, _L.DepthwiseConv2D)
_SEPARABLE = (_L.SeparableConv1D, _L.SeparableConv2D)
_TRANSPOSED = (_L.Conv1DTranspose, _L.Conv2DTranspose, _L.Conv3DTranspose)
_STRIDED = (_L.Conv1D, _L.Conv2D, *_DEPTHWISE, *_SEPARABLE)


def run_differentiable(call: Call, values: Mapping[str, Any]) -> dict[str, Any]:
    """As `run_layer`, of float32 values in eager mode, so that a tape can differentiate it safely."""
    layer = call.layer
    if not (isinstance(layer, _STRIDED) and _skips_locations(layer)):
        return by_name(call, call_outputs(call, values))
    (tensor,) = input_tensors(call)
    *_, y = linear_parts(layer, values[tensor.name])
    return by_name(call, [y if layer.activation is None else layer.activation(y)])


def linear_parts(layer: Any, x: tf.Tensor) -> list[tf.Tensor]:
    """The output of each kernel of a Dense or a convolution, the last with the bias, before the activation.

    Args:
        layer: any; other layers have no parts.
        x: the layer's input, float32, in eager mode.

    Returns:
        Two tensors for a separable convolution, one for any other layer with a kernel, none for a layer without.
    """
    if type(layer) is _L.Dense:
        parts = [x @ tf.convert_to_tensor(layer.kernel)]
    elif isinstance(layer, _SEPARABLE):
        deep = _depthwise(layer, x, layer.depthwise_kernel)
        parts = [deep, keras.ops.conv(deep, layer.pointwise_kernel)]
    elif isinstance(layer, _DEPTHWISE):
        parts = [_depthwise(layer, x, layer.kernel)]
    elif isinstance(layer, _TRANSPOSED):
        options = {
            "padding": layer.padding,
            "output_padding": layer.output_padding,
            "dilation_rate": layer.dilation_rate,
        }
        parts = [keras.ops.conv_transpose(x, layer.kernel, strides=list(layer.strides), **options)]
    elif hasattr(layer, "convolution_op"):
        parts = [_convolved(layer, x)]
    else:
        return []
    return parts if layer.bias is None else [*parts[:-1], parts[-1] + layer.bias]


def _depthwise(layer: Any, x: tf.Tensor, kernel: Any) -> tf.Tensor:
    if _skips_locations(layer):
        return keras.ops.depthwise_conv(_read_locations(layer, x), kernel, padding="valid")
    return keras.ops.depthwise_conv(x, kernel, layer.strides, layer.padding, dilation_rate=layer.dilation_rate)


def _convolved(layer: Any, x: tf.Tensor) -> tf.Tensor:
    """A convolution with the derivative for its input alone: TensorFlow's takes as long again for the kernel's."""
    kernel = tf.convert_to_tensor(layer.kernel)
    if _skips_locations(layer):
        return keras.ops.conv(_read_locations(layer, x), kernel, padding="valid")
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


def _skips_locations(layer: Any) -> bool:
    """Whether a convolution has one tap and a stride."""
    return set(layer.kernel_size) == {1} and set(layer.strides) != {1}


def _read_locations(layer: Any, x: tf.Tensor) -> tf.Tensor:
    """The spatial locations that a kernel of one tap reads."""
    return x[(slice(None), *(slice(None, None, stride) for stride in layer.strides))]

"""What int8 can be expected to keep of a float Keras model, told by rounding it within Keras.

An oracle that shares nothing with the package: ranges are those of the very inputs that the test compares on.
"""

import keras
import numpy as np
from keras import layers

_FIXED = {keras.activations.sigmoid: (0.0, 1.0), keras.activations.softmax: (0.0, 1.0), keras.activations.tanh: (-1, 1)}
_WEIGHTED = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.DepthwiseConv2D)


def rounded_outputs(model, inputs):
    """Outputs of a model whose every layer's output, and every kernel, is rounded to 8 bits; a list of arrays."""
    kernels = {v.path: (v, _rounded_kernel(v, layer)) for layer in _layers(model) for v in _kernels(layer)}
    with keras.StatelessScope(state_mapping=list(kernels.values())):
        batches = inputs if isinstance(inputs, list) else [inputs]
        return [np.asarray(y) for y in _run(model, [_rounded(x, -1.0, 1.0) for x in batches])]


def _layers(model):
    return model._flatten_layers(include_self=False)


def _run(model, values):
    found = model._run_through_graph(values, call_fn=lambda layer, *args, **options: _call(layer, args, options))
    return keras.tree.flatten(found)


def _call(layer, args, options):
    if isinstance(layer, keras.Model):
        return keras.tree.pack_sequence_as(layer._outputs_struct, _run(layer, keras.tree.flatten(args)))
    value = layer(*args, **options)
    if isinstance(layer, layers.InputLayer) or getattr(layer, "use_bias", True) is False:
        return value  # a BatchNorm is behind it and becomes a part of it
    function = keras.activations.softmax if isinstance(layer, layers.Softmax) else getattr(layer, "activation", None)
    low, high = _FIXED.get(function, (np.min(value), np.max(value)))
    return _rounded(value, min(float(low), 0.0), max(float(high), 0.0))


def _rounded(value, low, high):
    step = max((high - low) / 255, 1e-12)
    return keras.ops.round(value / step) * step


def _kernels(layer):
    if isinstance(layer, layers.SeparableConv2D):
        return [layer.depthwise_kernel, layer.pointwise_kernel]
    return [layer.kernel] if isinstance(layer, _WEIGHTED) else []


def _rounded_kernel(variable, layer):
    """A scale for each output channel, or one in all for a Dense."""
    kernel = np.asarray(variable)
    depthwise = isinstance(layer, layers.DepthwiseConv2D) or "depthwise" in variable.name
    axes = (0, 1) if depthwise else tuple(range(kernel.ndim - (0 if isinstance(layer, layers.Dense) else 1)))
    step = np.maximum(np.abs(kernel).max(axis=axes, keepdims=True) / 127, 1e-12)
    return keras.ops.convert_to_tensor(np.round(kernel / step) * step, "float32")

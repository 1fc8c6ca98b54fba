"""The accuracy that int8 can be expected to reach on a float Keras model, by rounding the model within Keras.

It shares no code with the package: the range of each layer's output is taken from the inputs of the comparison, which a
conversion without data does not have.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

Array = npt.NDArray[Any]

_FIXED = {
    keras.activations.sigmoid: (0.0, 1.0),
    keras.activations.softmax: (0.0, 1.0),
    keras.activations.tanh: (-1.0, 1.0),
}
_WEIGHTED = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D)
_TINY = 1e-12


def rounded_outputs(model: keras.Model, inputs: Sequence[Array], input_range: tuple[float, float]) -> list[Array]:
    """Outputs of a model whose layers' outputs and kernels are all rounded to 8 bits.

    Args:
        model: Functional or Sequential; nested models are followed.
        inputs: one array for each of the model's inputs, with a batch of any size.
        input_range: smallest and largest value of the inputs.
    """
    every = model._flatten_layers(include_self=False)
    kernels = [(v, _rounded_kernel(v, layer)) for layer in every for v in _kernels(layer)]
    with keras.StatelessScope(state_mapping=kernels):
        return [np.asarray(y) for y in _run(model, [_rounded(x, *input_range) for x in inputs])]


def _run(model: Any, values: list[Any]) -> list[Any]:
    graph = model._functional if isinstance(model, keras.Sequential) else model
    outputs = graph._run_through_graph(values, call_fn=lambda layer, *args, **options: _call(layer, args, options))
    return list(keras.tree.flatten(outputs))


def _call(layer: Any, args: Any, options: Any) -> Any:
    if isinstance(layer, keras.Model):
        outputs = _run(layer, keras.tree.flatten(args))
        return outputs[0] if len(outputs) == 1 else outputs
    value = layer(*args, **options)
    if isinstance(layer, layers.InputLayer) or getattr(layer, "use_bias", True) is False:
        return value  # the BatchNorm after it is folded into it
    function = keras.activations.softmax if isinstance(layer, layers.Softmax) else getattr(layer, "activation", None)
    low, high = _FIXED.get(function, (np.min(value), np.max(value)))
    return _rounded(value, float(low), float(high))


def _rounded(value: Any, low: float, high: float) -> Any:
    scale = max((max(high, 0.0) - min(low, 0.0)) / 255, _TINY)
    return keras.ops.round(value / scale) * scale


def _kernels(layer: Any) -> list[Any]:
    if isinstance(layer, layers.SeparableConv2D):
        return [layer.depthwise_kernel, layer.pointwise_kernel]
    return [layer.kernel] if isinstance(layer, _WEIGHTED) else []


def _rounded_kernel(variable: Any, layer: Any) -> Any:
    """With a scale for each output channel, or a single one for a Dense."""
    kernel = np.asarray(variable)
    axes = tuple(range(kernel.ndim - (0 if isinstance(layer, layers.Dense) else 1)))
    if isinstance(layer, layers.DepthwiseConv2D) or "depthwise" in variable.name:
        axes = (0, 1)
    elif isinstance(layer, layers.Conv2DTranspose):
        axes = (0, 1, 3)
    scale = np.maximum(np.abs(kernel).max(axis=axes, keepdims=True) / 127, _TINY)
    return keras.ops.convert_to_tensor(np.round(kernel / scale) * scale, "float32")

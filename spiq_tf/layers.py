"""Keras layers as primitives: one entry a layer kind in `LAYERS`, one an activation in `ACTIVATIONS`.

A layer becomes a chain of steps: the first reads the layer's inputs, each further one the step before. An
empty chain is a layer that does nothing at inference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np

from spiq_tf import kernels
from spiq_tf.primitives.activation import Elementwise, ParametricRelu, Rectifier, Softmax
from spiq_tf.primitives.affine import BatchNorm, FixedAffine
from spiq_tf.primitives.base import Primitive
from spiq_tf.primitives.linear import Linear, full_coverage
from spiq_tf.primitives.merge import Add, Concatenate
from spiq_tf.primitives.opaque import Opaque
from spiq_tf.primitives.pool import AveragePool, MaxPool
from spiq_tf.primitives.shape import Reshape, ZeroPad
from spiq_tf.primitives.values import Array, Shape


@dataclass(frozen=True)
class Step:
    """One primitive of a layer and the shape that it makes, with the batch axis."""

    rule: Primitive
    shape: Shape


@dataclass(frozen=True)
class Site:
    """Where a layer is called.

    Attributes:
        inputs: shapes of its inputs, with the batch axis.
        output: shape of its (first) output.
    """

    inputs: tuple[Shape, ...]
    output: Shape


Expander: TypeAlias = Callable[[Any, Site], Sequence[Step] | None]
"""Gives the steps of a layer, or None where it is used in a way that no primitive describes."""


def expand(layer: Any, site: Site) -> Sequence[Step] | None:
    """The steps of a layer, or None if its kind is unknown or it overrides what its kind computes."""
    for kind in type(layer).__mro__:
        if kind in LAYERS:
            return LAYERS[kind](layer, site)
        if set(vars(kind)) - _HARMLESS:
            return None  # a subclass with code of its own: what it computes cannot be told
    return None


_HARMLESS = {"__init__", "get_config", "from_config", *vars(type("Empty", (), {}))}
"""What a subclass may define and still compute what its parent does."""


def _nothing(layer: Any, site: Site) -> Sequence[Step]:
    return ()


def _convolution(layer: Any, site: Site) -> Sequence[Step] | None:
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    kernel, bias = layer.kernel, layer.bias
    if not isinstance(kernel, keras.Variable) or layer.padding == "causal":
        return None  # quantized or LoRA: what is multiplied is no variable
    coverage = _coverage(layer, site.inputs[0][1:-1], layer.strides)
    key = None if bias is None else id(bias)
    groups = 1 if depthwise else layer.groups
    linear = Linear(id(kernel), key, coverage, groups, depthwise)
    return (Step(linear, site.output), *_activation(layer.activation, site.output))


def _separable(layer: Any, site: Site) -> Sequence[Step]:
    depth_shape = (*site.output[:-1], site.inputs[0][-1] * layer.depth_multiplier)
    coverage = _coverage(layer, site.inputs[0][1:-1], layer.strides)
    bias = None if layer.bias is None else id(layer.bias)
    depth = Linear(id(layer.depthwise_kernel), None, coverage, depthwise=True)
    point = Linear(id(layer.pointwise_kernel), bias, full_coverage())
    return (Step(depth, depth_shape), Step(point, site.output), *_activation(layer.activation, site.output))


def _coverage(layer: Any, sizes: Sequence[int], strides: Sequence[int]) -> Array:
    return kernels.coverage(sizes, layer.kernel_size, strides, layer.dilation_rate, layer.padding == "same")


def _dense(layer: Any, site: Site) -> Sequence[Step] | None:
    if not isinstance(layer.kernel, keras.Variable):
        return None
    bias = None if layer.bias is None else id(layer.bias)
    linear = Linear(id(layer.kernel), bias, full_coverage(), dense=True)
    return (Step(linear, site.output), *_activation(layer.activation, site.output))


def _batch_norm(layer: Any, site: Site) -> Sequence[Step] | None:
    (axis,) = np.atleast_1d(layer.axis)
    if axis % len(site.output) != len(site.output) - 1:
        return None
    gamma, beta = (None if v is None else id(v) for v in (layer.gamma, layer.beta))
    mean, variance = id(layer.moving_mean), id(layer.moving_variance)
    return (Step(BatchNorm(mean, variance, gamma, beta, float(layer.epsilon)), site.output),)


def _rescaling(layer: Any, site: Site) -> Sequence[Step]:
    ones = np.ones(site.output[-1])
    factor, offset = (np.asarray(v, np.float64).reshape(-1) * ones for v in (layer.scale, layer.offset))
    return (Step(FixedAffine(factor, offset), site.output),)


def _normalization(layer: Any, site: Site) -> Sequence[Step] | None:
    mean, variance = (np.asarray(v, np.float64).reshape(-1) for v in (layer.mean, layer.variance))
    if mean.size not in (1, site.output[-1]):
        return None
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon()) * np.ones(site.output[-1])
    if layer.invert:
        return (Step(FixedAffine(deviation, mean * np.ones_like(deviation)), site.output),)
    return (Step(FixedAffine(1.0 / deviation, -mean / deviation), site.output),)


def _relu(layer: Any, site: Site) -> Sequence[Step]:
    maximum = None if layer.max_value is None else float(layer.max_value)
    return (Step(Rectifier(float(layer.negative_slope), maximum, float(layer.threshold)), site.output),)


def _leaky_relu(layer: Any, site: Site) -> Sequence[Step]:
    return (Step(Rectifier(float(layer.negative_slope)), site.output),)


def _prelu(layer: Any, site: Site) -> Sequence[Step]:
    return (Step(ParametricRelu(id(layer.alpha)), site.output),)


def _softmax(layer: Any, site: Site) -> Sequence[Step] | None:
    if layer.axis not in (-1, len(site.output) - 1):
        return None
    return (Step(Softmax(), site.output),)


def _activation_layer(layer: Any, site: Site) -> Sequence[Step]:
    return _activation(layer.activation, site.output)


def _activation(function: Any, shape: Shape) -> Sequence[Step]:
    """Steps of the function that a layer ends with."""
    if function is None or function is keras.activations.linear:
        return ()
    if isinstance(function, keras.layers.Layer):
        steps = expand(function, Site((shape,), shape))
        if steps is not None:
            return steps
    rule = ACTIVATIONS.get(function) if callable(function) else None
    return (Step(rule or Opaque(lambda values: _applied(function, values[0]), (shape,)), shape),)


def _elementwise(function: Any, bounds: tuple[float, float] | None = None) -> Elementwise:
    return Elementwise(lambda values: _applied(function, values), bounds)


def _applied(function: Any, values: Array) -> Array:
    return np.asarray(function(keras.ops.convert_to_tensor(values, "float32")), np.float64)


def _add(layer: Any, site: Site) -> Sequence[Step] | None:
    return _sum((1,) * len(site.inputs), site)


def _subtract(layer: Any, site: Site) -> Sequence[Step] | None:
    return _sum((1, -1), site)


def _sum(signs: tuple[int, ...], site: Site) -> Sequence[Step] | None:
    channels = site.output[-1]
    if any(shape[-1] not in (1, channels) or len(shape) != len(site.output) for shape in site.inputs):
        return None
    return (Step(Add(signs), site.output),)


def _concatenate(layer: Any, site: Site) -> Sequence[Step]:
    axis = layer.axis % len(site.output)
    shares = tuple(shape[axis] / site.output[axis] for shape in site.inputs)
    return (Step(Concatenate(axis == len(site.output) - 1, shares), site.output),)


def _average_pool(layer: Any, site: Site) -> Sequence[Step]:
    return (Step(AveragePool(int(np.prod(layer.pool_size)), layer.pool_size == site.inputs[0][1:-1]), site.output),)


def _max_pool(layer: Any, site: Site) -> Sequence[Step]:
    return (Step(MaxPool(int(np.prod(layer.pool_size))), site.output),)


def _global_average(layer: Any, site: Site) -> Sequence[Step]:
    return (Step(AveragePool(int(np.prod(site.inputs[0][1:-1])), whole=True), site.output),)


def _global_max(layer: Any, site: Site) -> Sequence[Step]:
    return (Step(MaxPool(int(np.prod(site.inputs[0][1:-1]))), site.output),)


def _reshape(layer: Any, site: Site) -> Sequence[Step]:
    return (Step(Reshape(site.inputs[0][1:], site.output[1:]), site.output),)


def _zero_pad(layer: Any, site: Site) -> Sequence[Step]:
    return (Step(ZeroPad(np.prod(site.inputs[0][1:]) / np.prod(site.output[1:])), site.output),)


_L = keras.layers

LAYERS: dict[Any, Expander] = {
    _L.Conv1D: _convolution,
    _L.Conv2D: _convolution,
    _L.DepthwiseConv2D: _convolution,
    _L.SeparableConv2D: _separable,
    _L.Dense: _dense,
    _L.BatchNormalization: _batch_norm,
    _L.Rescaling: _rescaling,
    _L.Normalization: _normalization,
    _L.ReLU: _relu,
    _L.LeakyReLU: _leaky_relu,
    _L.PReLU: _prelu,
    _L.Softmax: _softmax,
    _L.Activation: _activation_layer,
    _L.Add: _add,
    _L.Subtract: _subtract,
    _L.Concatenate: _concatenate,
    _L.AveragePooling1D: _average_pool,
    _L.AveragePooling2D: _average_pool,
    _L.MaxPooling1D: _max_pool,
    _L.MaxPooling2D: _max_pool,
    _L.GlobalAveragePooling1D: _global_average,
    _L.GlobalAveragePooling2D: _global_average,
    _L.GlobalMaxPooling1D: _global_max,
    _L.GlobalMaxPooling2D: _global_max,
    _L.Flatten: _reshape,
    _L.Reshape: _reshape,
    _L.ZeroPadding2D: _zero_pad,
    # nothing at inference
    _L.InputLayer: _nothing,
    _L.Identity: _nothing,
    _L.Dropout: _nothing,
    _L.SpatialDropout1D: _nothing,
    _L.SpatialDropout2D: _nothing,
    _L.AlphaDropout: _nothing,
    _L.GaussianDropout: _nothing,
    _L.GaussianNoise: _nothing,
    _L.ActivityRegularization: _nothing,
    _L.RandomBrightness: _nothing,
    _L.RandomContrast: _nothing,
    _L.RandomFlip: _nothing,
    _L.RandomRotation: _nothing,
    _L.RandomTranslation: _nothing,
    _L.RandomZoom: _nothing,
}

_A = keras.activations

ACTIVATIONS: dict[Any, Primitive] = {
    _A.relu: Rectifier(),
    _A.relu6: Rectifier(maximum=6.0),
    _A.leaky_relu: Rectifier(negative_slope=0.2),
    _A.softmax: Softmax(),
    _A.sigmoid: _elementwise(_A.sigmoid, (0.0, 1.0)),
    _A.tanh: _elementwise(_A.tanh, (-1.0, 1.0)),
    _A.hard_sigmoid: _elementwise(_A.hard_sigmoid, (0.0, 1.0)),
    _A.silu: _elementwise(_A.silu),
    _A.hard_silu: _elementwise(_A.hard_silu),
    _A.gelu: _elementwise(_A.gelu),
    _A.elu: _elementwise(_A.elu),
    _A.selu: _elementwise(_A.selu),
    _A.softplus: _elementwise(_A.softplus),
    _A.softsign: _elementwise(_A.softsign, (-1.0, 1.0)),
    _A.mish: _elementwise(_A.mish),
    _A.exponential: _elementwise(_A.exponential),
}

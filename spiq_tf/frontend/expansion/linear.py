"""Convolutions, dense layers, and the channel-wise layers that follow them."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from spiq_tf.distributions.values import Array
from spiq_tf.frontend.expansion.activation import fused_activation_steps
from spiq_tf.frontend.expansion.call_site import CallSite, Step
from spiq_tf.primitives import kernels
from spiq_tf.primitives.affine import BatchNorm, FixedAffine
from spiq_tf.primitives.linear import Layout, Linear, all_taps_valid
from spiq_tf.primitives.opaque import RuntimeNormalization
from spiq_tf.primitives.shape import Pad


def convolution(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """Conv1D, Conv2D, DepthwiseConv1D, DepthwiseConv2D."""
    depthwise = isinstance(layer, (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D))
    if not isinstance(layer.kernel, keras.Variable):
        return None  # quantized or LoRA: the operand is no variable
    layout = Layout(1 if depthwise else layer.groups, depthwise=depthwise)
    linear = Linear(
        kernel=id(layer.kernel), bias=_key(layer.bias), tap_validity=_tap_validity(layer, site.spatial), layout=layout
    )
    steps = (Step(linear, site.output), *fused_activation_steps(layer.activation, site.output))
    return (_causal_padding(layer, site), *steps) if layer.padding == "causal" else steps


def _causal_padding(layer: Any, site: CallSite) -> Step:
    """The zeros before a sequence, so that no output depends on later inputs."""
    batch, size, channels = site.inputs[0]
    padded = size + layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
    return Step(Pad(size / padded), (batch, padded, channels))


def transposed(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """Conv1DTranspose, Conv2DTranspose: an output location reads one tap in `stride`, on either axis."""
    if not isinstance(layer.kernel, keras.Variable):
        return None
    share = np.prod(site.spatial) / np.prod(site.output[1:-1])
    tap_validity = np.full(int(np.prod(layer.kernel_size)), share)
    linear = Linear(
        kernel=id(layer.kernel), bias=_key(layer.bias), tap_validity=tap_validity, layout=Layout(transposed=True)
    )
    return (Step(linear, site.output), *fused_activation_steps(layer.activation, site.output))


def separable(layer: Any, site: CallSite) -> Sequence[Step]:
    """SeparableConv1D, SeparableConv2D."""
    depth_shape = (*site.output[:-1], site.inputs[0][-1] * layer.depth_multiplier)
    tap_validity = _tap_validity(layer, site.spatial)
    depth = Linear(
        kernel=id(layer.depthwise_kernel), bias=None, tap_validity=tap_validity, layout=Layout(depthwise=True)
    )
    point = Linear(kernel=id(layer.pointwise_kernel), bias=_key(layer.bias), tap_validity=all_taps_valid())
    return (Step(depth, depth_shape), Step(point, site.output), *fused_activation_steps(layer.activation, site.output))


def _tap_validity(layer: Any, sizes: Sequence[int]) -> Array:
    return kernels.tap_validity(sizes, layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding == "same")


def dense(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """Dense."""
    if not isinstance(layer.kernel, keras.Variable):
        return None
    linear = Linear(kernel=id(layer.kernel), bias=_key(layer.bias), tap_validity=all_taps_valid(), dense=True)
    return (Step(linear, site.output), *fused_activation_steps(layer.activation, site.output))


def batch_norm(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """BatchNormalization."""
    (axis,) = np.atleast_1d(layer.axis)
    if axis % len(site.output) != len(site.output) - 1:
        return None
    mean, variance = id(layer.moving_mean), id(layer.moving_variance)
    norm = BatchNorm(
        mean=mean, variance=variance, gamma=_key(layer.gamma), beta=_key(layer.beta), epsilon=float(layer.epsilon)
    )
    return (Step(norm, site.output),)


def runtime_normalization(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """LayerNormalization, GroupNormalization and RMSNormalization: statistics of each example at runtime, then trained
    factors and offsets for each channel."""
    factor = layer.gamma if hasattr(layer, "gamma") else layer.scale  # RMSNormalization calls it scale
    trained = [w for w in (factor, getattr(layer, "beta", None)) if w is not None]
    if factor is None or np.atleast_1d(layer.axis)[-1] % len(site.output) != len(site.output) - 1:
        return None
    over_positions = np.size(layer.axis) > 1 or isinstance(layer, keras.layers.GroupNormalization)
    keys = tuple(map(id, trained))
    norm = RuntimeNormalization(evaluate=site.run, shapes=site.inputs, keys=keys, over_positions=over_positions)
    return (Step(norm, site.output),)


def _key(variable: Any) -> int | None:
    return None if variable is None else id(variable)


def rescaling(layer: Any, site: CallSite) -> Sequence[Step]:
    """Rescaling."""
    ones = np.ones(site.channels)
    factor, offset = (np.asarray(v, np.float64).reshape(-1) * ones for v in (layer.scale, layer.offset))
    return (Step(FixedAffine(factor, offset), site.output),)


def normalization(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """Normalization."""
    mean, variance = (np.asarray(v, np.float64).reshape(-1) for v in (layer.mean, layer.variance))
    if mean.size not in (1, site.channels):
        return None
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon()) * np.ones(site.channels)
    if layer.invert:
        return (Step(FixedAffine(deviation, mean * np.ones_like(deviation)), site.output),)
    return (Step(FixedAffine(1.0 / deviation, -mean / deviation), site.output),)

"""Layers and operations on several tensors, or on a tensor and constants: elementwise, and concatenation."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spiq_tf.distributions.values import Array
from spiq_tf.frontend.expansion.call_site import CallSite, ExpansionRule, Step
from spiq_tf.primitives.activation import Rectifier
from spiq_tf.primitives.affine import ChannelScale, ChannelShift, FixedAffine, MapShift
from spiq_tf.primitives.merge import Add, Concatenate, Extremum, Multiply


def add(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """Add, x + y, x + constant, x + map of constants."""
    if (constant := _constant(site)) is not None:
        return _affine(1.0, constant, site)
    if (values := _map(site)) is not None:
        return (Step(MapShift.by(values), site.output),)
    return _sum((1.0,) * len(site.inputs), site)


def subtract(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """Subtract, x - y, x - constant, constant - x, x - map of constants."""
    if (constant := _constant(site)) is not None:
        return _affine(1.0, -constant, site) if site.arguments[0] is None else _affine(-1.0, constant, site)
    if site.arguments[:1] == (None,) and (values := _map(site)) is not None:
        return (Step(MapShift.by(-values), site.output),)
    return _sum((1.0, -1.0), site)


def average(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """Average."""
    return _sum((1.0 / len(site.inputs),) * len(site.inputs), site)


def _sum(factors: tuple[float, ...], site: CallSite) -> Sequence[Step] | None:
    no_constants = len(factors) == len(site.inputs) > 1
    return (Step(Add(factors), site.output),) if _broadcast_channels(site) and no_constants else None


def multiply(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """Multiply, x * y, x * constant. The scale of the input that is not broadcast passes to the output."""
    if (constant := _constant(site)) is not None:
        return _affine(constant, 0.0, site)
    if len(site.inputs) < 2 or not _broadcast_channels(site):
        return None
    sizes = [(shape[-1], np.prod(shape)) for shape in site.inputs]
    return (Step(Multiply(sizes.index(max(sizes)), len(sizes)), site.output),)


def divide(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """x / constant."""
    constant = _constant(site)
    if constant is None or site.arguments[0] is not None or not np.all(constant):
        return None
    return _affine(1.0 / constant, 0.0, site)


def negative(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """-x."""
    return _affine(-1.0, 0.0, site)


def maximum(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """Maximum, max(x, y), max(x, 0)."""
    if (constant := _constant(site)) is not None:
        return None if np.any(constant) else (Step(Rectifier(), site.output),)
    return _extremum(1, site)


def minimum(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """Minimum, min(x, y)."""
    return _extremum(-1, site)


def _extremum(sign: int, site: CallSite) -> Sequence[Step] | None:
    return (Step(Extremum(sign), site.output),) if len(site.inputs) == 2 and _broadcast_channels(site) else None


def concatenate(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """Concatenate, of tensors alone: a constant among them has no moments of its own."""
    axis = layer.axis % len(site.output)
    if sum(shape[axis] for shape in site.inputs) != site.output[axis]:
        return None
    shares = tuple(shape[axis] / site.output[axis] for shape in site.inputs)
    return (Step(Concatenate(axis == len(site.output) - 1, shares), site.output),)


def scaled(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """x * weight, with one value for each channel."""
    key = _channel_weight(site)
    return None if key is None else (Step(ChannelScale(key), site.output),)


def shifted(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """x + weight, with one value for each channel."""
    key = _channel_weight(site)
    return None if key is None else (Step(ChannelShift(key), site.output),)


def _channel_weight(site: CallSite) -> int | None:
    """The key of the operand that is a weight, where it has one value for each channel."""
    (weight,) = (a for a in site.arguments if a is not None)
    shape = tuple(weight.shape)
    fits = site.inputs == (site.output,) and shape[-1:] == (site.channels,) and np.prod(shape) == site.channels
    return id(weight) if fits else None


def _broadcast_channels(site: CallSite) -> bool:
    """Whether the inputs have the output's axes, with one channel or all of them."""
    return all(shape[-1] in (1, site.channels) and len(shape) == len(site.output) for shape in site.inputs)


def _affine(factor: Array | float, offset: Array | float, site: CallSite) -> Sequence[Step]:
    ones = np.ones(site.channels)
    return (Step(FixedAffine(factor * ones, offset * ones), site.output),)


def _constant(site: CallSite) -> Array | None:
    """The constant operand of a binary operation, of shape (1,) or (channels,); None where it is no such constant."""
    value = _operand(site)
    if value is None or value.size not in (1, site.channels) or (value.size > 1 and value.shape[-1] != value.size):
        return None
    return value.reshape(-1)


def _map(site: CallSite) -> Array | None:
    """The constant operand of a binary operation where it varies over spatial locations, of the output's shape."""
    value = _operand(site)
    if value is None or value.ndim > len(site.output):
        return None
    return np.broadcast_to(value, site.output) if np.broadcast_shapes(value.shape, site.output) == site.output else None


def _operand(site: CallSite) -> Array | None:
    """The one of two operands that is no tensor, where the other one has the output's shape."""
    constants = [a for a in site.arguments if a is not None]
    if len(site.arguments) != 2 or len(constants) != 1 or site.inputs != (site.output,):
        return None
    return np.asarray(constants[0], np.float64)


MERGES: dict[str, ExpansionRule] = {
    "Add": add,
    "Subtract": subtract,
    "Average": average,
    "Multiply": multiply,
    "Maximum": maximum,
    "Minimum": minimum,
    "Concatenate": concatenate,
}
"""By the name that a layer and an operation share."""

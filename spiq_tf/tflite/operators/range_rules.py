"""Range rules of operators: interval arithmetic, a channel at a time.

Each takes the ranges of the operands, the data operand first, and the options in the schema; see `RangeRule`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from spiq_tf.distributions.values import Array, ChannelRanges

_Rule = Callable[[Sequence[ChannelRanges], Any], tuple[Array, Array]]


def total(x: Sequence[ChannelRanges], options: Any) -> tuple[Array, Array]:
    """ADD."""
    return x[0].low + x[1].low, x[0].high + x[1].high


def difference(x: Sequence[ChannelRanges], options: Any) -> tuple[Array, Array]:
    """SUB."""
    return x[0].low - x[1].high, x[0].high - x[1].low


def product(x: Sequence[ChannelRanges], options: Any) -> tuple[Array, Array]:
    """MUL; of a square the caller knows more."""
    ends = np.stack(np.broadcast_arrays(*(a * b for a in (x[0].low, x[0].high) for b in (x[1].low, x[1].high))))
    return ends.min(axis=0), ends.max(axis=0)


def minimum(x: Sequence[ChannelRanges], options: Any) -> tuple[Array, Array]:
    """MINIMUM."""
    return np.minimum(x[0].low, x[1].low), np.minimum(x[0].high, x[1].high)


def maximum(x: Sequence[ChannelRanges], options: Any) -> tuple[Array, Array]:
    """MAXIMUM."""
    return np.maximum(x[0].low, x[1].low), np.maximum(x[0].high, x[1].high)


def same(x: Sequence[ChannelRanges], options: Any) -> tuple[Array, Array]:
    """Values that stay in their channels: a maximum or an average of some of them, copies."""
    return x[0].low, x[0].high


def whole(x: Sequence[ChannelRanges], options: Any) -> tuple[Array, Array]:
    """Values that may change their channels: one range for all."""
    return np.atleast_1d(x[0].low.min()), np.atleast_1d(x[0].high.max())


def hull(x: Sequence[ChannelRanges], options: Any) -> tuple[Array, Array]:
    """Values of all operands side by side: one range for all."""
    low, high = min(float(r.low.min()) for r in x), max(float(r.high.max()) for r in x)
    return np.array([low]), np.array([high])


def with_zero(x: Sequence[ChannelRanges], options: Any) -> tuple[Array, Array]:
    """Values padded with zeros."""
    return np.minimum(x[0].low, 0.0), np.maximum(x[0].high, 0.0)


def padded(x: Sequence[ChannelRanges], options: Any) -> tuple[Array, Array]:
    """PADV2: values padded with a constant, the third operand."""
    return np.minimum(x[0].low, x[2].low), np.maximum(x[0].high, x[2].high)


def between(low: float, high: float) -> _Rule:
    """A function whose values have bounds, whatever it reads."""
    return lambda x, options: (np.array([low]), np.array([high]))


def monotonic(function: Callable[[Array], Array]) -> _Rule:
    """An elementwise function that never falls."""
    return lambda x, options: (function(x[0].low), function(x[0].high))


def leaky_relu(x: Sequence[ChannelRanges], options: Any) -> tuple[Array, Array]:
    """LEAKY_RELU, whose slope below 0 is an option."""
    return _sloped(x[0], np.array([options.alpha]), np.array([options.alpha]))


def prelu(x: Sequence[ChannelRanges], options: Any) -> tuple[Array, Array]:
    """PRELU, whose slopes are the second operand."""
    return _sloped(x[0], x[1].low, x[1].high)


def _sloped(x: ChannelRanges, lowest: Array, highest: Array) -> tuple[Array, Array]:
    """x above 0 and a x below, with a slope a between two ends."""
    below = np.minimum(x.low, 0.0), np.minimum(x.high, 0.0)
    ends = np.stack(np.broadcast_arrays(*(end * slope for end in below for slope in (lowest, highest))))
    low, high = ends.min(axis=0), ends.max(axis=0)
    return np.where(x.low >= 0, x.low, low), np.where(x.high > 0, np.maximum(x.high, high), high)

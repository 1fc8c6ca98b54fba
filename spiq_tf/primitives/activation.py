"""Elementwise functions: rectifiers, which let a scale pass, and all others, which do not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from spiq_tf import gaussian
from spiq_tf.primitives.base import (
    Array,
    Channels,
    Moments,
    Primitive,
    Range,
    Source,
    Tie,
    Weights,
    mixture,
    pass_through,
)

_GRID = 257  # points at which a function is evaluated to find its range


@dataclass(frozen=True, eq=False)
class Rectifier(Primitive):
    """ReLU, leaky ReLU and ReLU with a maximum: slope x below the threshold, x above it, cut at the maximum.

    Attributes:
        negative_slope: of the part below the threshold.
        maximum: where the function is cut, or None.
        threshold: below it f(x) = negative_slope (x - threshold), as Keras defines it.
    """

    negative_slope: float = 0.0
    maximum: float | None = None
    threshold: float = 0.0

    @property
    def fuses_into_producer(self) -> bool:  # type: ignore[override]
        return self.negative_slope == 0 and self.threshold == 0 and self.maximum in (None, 6.0)

    @property
    def saturation(self) -> float | None:  # type: ignore[override]
        return self.maximum

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        (x,) = inputs
        knots, slopes, offsets = [self.threshold], [self.negative_slope, 1.0], [0.0, 0.0]
        offsets[0] = -self.negative_slope * self.threshold
        if self.maximum is not None:
            knots, slopes, offsets = [*knots, self.maximum], [*slopes, 0.0], [*offsets, self.maximum]
        return Moments(*gaussian.piecewise_linear(x.mean, x.deviation, knots, slopes, offsets))

    def range(self, inputs: Sequence[Channels], moments: Moments, weights: Weights, deviations: float) -> Range:
        """The function of the ends: it is monotonic, but for a jump at a threshold or a negative slope."""
        knots = [k for k in (self.threshold, self.maximum) if k is not None]
        return _range_over_knots(inputs[0].range, knots, self._apply)

    def _apply(self, x: Array) -> Array:
        below = self.negative_slope * (x - self.threshold)
        return np.where(x >= self.threshold, x if self.maximum is None else np.minimum(x, self.maximum), below)

    def ties(self, channels: Sequence[int], output_channels: int) -> Sequence[Tie]:
        return pass_through(output_channels)

    def unscaled(self) -> Sequence[int] | None:
        return () if self.threshold == 0 else None


@dataclass(frozen=True, eq=False)
class ParametricRelu(Primitive):
    """PReLU: alpha x below zero, x above, alpha trained a channel or a position.

    Attributes:
        alpha: key of the slopes, of a shape that broadcasts against the input without its batch.
    """

    alpha: int

    def variables(self) -> tuple[int, ...]:
        return (self.alpha,)

    def _slopes(self, weights: Weights, channels: int) -> Array:
        alpha = weights[self.alpha]
        return alpha.reshape(-1, alpha.shape[-1]) * np.ones(channels)

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Those of the clipped Gaussian with each slope, mixed over the positions."""
        (x,) = inputs
        slopes = self._slopes(weights, len(x.mean))
        mean, variance = gaussian.piecewise_linear(x.mean, x.deviation, [0.0], [slopes, 1.0], [0.0, 0.0])
        return mixture(mean, variance, np.full(len(mean), 1.0 / len(mean)))

    def range(self, inputs: Sequence[Channels], moments: Moments, weights: Weights, deviations: float) -> Range:
        x = inputs[0].range
        slopes = self._slopes(weights, len(x.low))
        below = slopes * np.minimum(x.low, 0.0)
        ends = [below, slopes * np.minimum(x.high, 0.0), np.zeros_like(below) + np.maximum(x.high, 0.0)]
        ends = [*ends, np.zeros_like(below) + np.maximum(x.low, 0.0)]
        values = np.concatenate(ends)
        return Range(values.min(axis=0), values.max(axis=0), x.source)

    def ties(self, channels: Sequence[int], output_channels: int) -> Sequence[Tie]:
        return pass_through(output_channels)


@dataclass(frozen=True, eq=False)
class Elementwise(Primitive):
    """Any other elementwise function: sigmoid, tanh, SiLU, hard-swish, GELU, ELU. No scale passes it.

    Attributes:
        function: on arrays, elementwise.
        bounds: the values that it cannot leave, or None where it has no bounds.
    """

    function: Callable[[Array], Array]
    bounds: tuple[float, float] | None = None

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        (x,) = inputs
        return Moments(*gaussian.quadrature(x.mean, x.deviation, self.function))

    def range(self, inputs: Sequence[Channels], moments: Moments, weights: Weights, deviations: float) -> Range:
        x = inputs[0].range
        if self.bounds is not None:
            low, high = self.bounds
            return Range(np.full_like(x.low, low), np.full_like(x.low, high), Source.FIXED)
        grid = np.linspace(0.0, 1.0, _GRID)[:, None]
        values = self.function(x.low + (x.high - x.low) * grid)
        return Range(values.min(axis=0), values.max(axis=0), x.source)

    def unscaled(self) -> None:
        return None


@dataclass(frozen=True, eq=False)
class Softmax(Primitive):
    """Softmax over the channels: in [0, 1], on the average 1 / channels."""

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        channels = len(inputs[0].mean)
        share = np.full(channels, 1.0 / channels)
        return Moments(share, share * (1.0 - share))

    def range(self, inputs: Sequence[Channels], moments: Moments, weights: Weights, deviations: float) -> Range:
        return Range(np.zeros_like(moments.mean), np.ones_like(moments.mean), Source.FIXED)

    def unscaled(self) -> None:
        return None


def _range_over_knots(x: Range, knots: Sequence[float], function: Callable[[Array], Array]) -> Range:
    """Extremes of a piecewise linear function lie at the ends of its domain or at its knots."""
    just_below = [np.nextafter(k, -np.inf) for k in knots]
    places = [x.low, x.high, *(np.clip(k, x.low, x.high) for k in [*knots, *just_below])]
    values = np.stack([function(place) for place in places])
    return Range(values.min(axis=0), values.max(axis=0), x.source)

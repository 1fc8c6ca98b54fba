"""The predicted noise of one family of tensors as a function of its scales and intervals.

A family are tensors that are tied to each other. In the units that the scales make, a channel's value x is x / s, and
a tensor keeps to one interval [-L, H] for all its channels; so channel c is cut at s_c H, and rounded in steps of
s_c (H + L) / 255. What reads it has the weights W_co s_c, rounded in steps that the largest of them sets.

Everything is a function of the logarithms of s, H and L, in which rounding noise is convex.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, minimize

from spiq_tf.distributions.values import Array
from spiq_tf.search.noise_terms import ChannelTerms, PredictedNoise, TensorTerms, WeightTerms

_ITERATIONS = 200
_TOLERANCE = 3e-6
"""Of the logarithm of the noise."""
_DESCENTS, _GAIN = 20, 0.01
"""Descents, and the share of the noise that another one must gain."""
_RANGE = np.log(2.0**10)
"""No channel is scaled further: int32 biases and the runtime's multipliers stay far from their limits."""

_START_DEVIATIONS = 7.0
_SMALLEST = 1e-6


@dataclass(frozen=True)
class Solution:
    """What minimises a family's noise.

    Attributes:
        scales: shape (scales,).
        low, high: of each interval, in the new units, shape (intervals,).
        noise: by name of a tensor, or of a linear primitive's output.
    """

    scales: Array
    low: Array
    high: Array
    noise: dict[str, PredictedNoise]


@dataclass(frozen=True)
class CoupledTensors:
    """Tensors tied to each other, and what reads them.

    Attributes:
        held: the tensors.
        readers: of them.
        saturates: for each scale, whether an activation saturates there at a fixed value: it is then at most 1.
        ceiling: for each interval, the value at which its tensors saturate, or infinity.
        floor_low, floor_high: for each interval, what it must hold whatever the noise says.
    """

    held: Sequence[TensorTerms]
    readers: Sequence[WeightTerms]
    saturates: npt.NDArray[np.bool_]
    ceiling: Array
    floor_low: Array
    floor_high: Array

    def solve(self) -> Solution:
        """Minimises the noise by L-BFGS-B, from SPIQ's ranges and scales half as far spread.

        A step that is too short ends the descent early, on ESPNet once at 60 times the least noise: it begins anew from
        there, until that gains nothing.
        """
        start = self._start()
        bounds = self._bounds(start)
        start = np.clip(start, bounds.lb, bounds.ub)
        options = {"maxiter": _ITERATIONS, "ftol": _TOLERANCE}
        found, before = start, np.inf
        for _ in range(_DESCENTS):
            descent = minimize(self._logarithm, found, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
            found, gain, before = descent.x, before - descent.fun, descent.fun
            if gain < _GAIN:
                break
        scales, high, low = self._values(found)
        high = _snapped(_snapped(high, self.ceiling), self.floor_high)
        return Solution(scales[:-1], -_snapped(low, self.floor_low), high, self._parts(found))

    @cached_property
    def _one_sided(self) -> npt.NDArray[np.bool_]:
        lowest = np.zeros(len(self.ceiling))
        for t in self.held:
            lowest[t.interval] = max(lowest[t.interval], t.distribution.below.bound.max())
        return lowest <= 0

    def _start(self) -> Array:
        count = len(self.saturates)
        amplitude = np.zeros(count + 1)
        for t in self.held:
            np.maximum.at(amplitude, t.label, t.distribution.range(_START_DEVIATIONS).amplitude)
        free = np.where(amplitude[:count] > 0, amplitude[:count], 1.0)
        typical = np.exp(np.log(free).mean()) if count else 1.0
        scales = np.append(np.sqrt(free / typical), 1.0)
        scales[:count] = np.where(self.saturates, np.minimum(scales[:count], 1.0), scales[:count])
        low, high = np.full_like(self.ceiling, _SMALLEST), np.full_like(self.ceiling, _SMALLEST)
        for t in self.held:
            reach = t.distribution.range(_START_DEVIATIONS)
            high[t.interval] = max(high[t.interval], (reach.high / scales[t.label]).max())
            low[t.interval] = max(low[t.interval], (-reach.low / scales[t.label]).max())
        return np.log(np.concatenate([scales[:count], high, low]))

    def _bounds(self, start: Array) -> Bounds:
        count, intervals = len(self.saturates), len(self.ceiling)
        lower, upper = start - _RANGE, start + _RANGE
        lower[:count], upper[:count] = -_RANGE, np.where(self.saturates, 0.0, _RANGE)
        high, low = slice(count, count + intervals), slice(count + intervals, None)
        fixed = np.isfinite(self.ceiling)
        lower[high], upper[high] = (np.where(fixed, np.log(self.ceiling), v[high]) for v in (lower, upper))
        for part, floor in ((high, self.floor_high), (low, self.floor_low)):
            lower[part] = np.maximum(lower[part], np.log(np.maximum(floor, 1e-300)))
            upper[part] = np.maximum(upper[part], lower[part])
        return Bounds(lower, upper)

    def noise(self, x: Array) -> tuple[float, Array]:
        """The sum of all noise and its gradient, at the logarithms of the scales, of H and of L."""
        scales, high, low = self._values(x)
        channels, intervals = self._channels, len(high)
        scale, top, bottom = channels.at(scales, high, low)
        rounding = channels.rounding_noise(scale, top + bottom)
        above, above_slope, slope_of_high = channels.cut_above(scale, top)
        below, below_slope = channels.cut_below(scale, bottom)
        wider = 2 * rounding / (top + bottom)
        by_high = np.bincount(channels.interval, slope_of_high + wider * top, intervals)
        by_low = np.bincount(channels.interval, below_slope + wider * bottom, intervals)
        by_scale = np.bincount(channels.label, 2 * rounding + above_slope + below_slope, len(scales))
        total = rounding.sum() + above.sum() + below.sum()
        for r in self.readers:
            noise, falling, largest = r.noise(scales)
            total += noise.sum()
            by_scale += np.bincount(r.label.ravel(), -2 * falling.ravel(), len(scales))
            by_scale += np.bincount(largest.ravel(), 2 * noise.ravel(), len(scales))
        return float(total), np.concatenate([by_scale[:-1], by_high, np.where(self._one_sided, 0.0, by_low)])

    def _logarithm(self, x: Array) -> tuple[float, Array]:
        """Of the noise: what the solver lowers, so that its tolerance is a relative one."""
        total, gradient = self.noise(x)
        total = max(total, 1e-300)
        return float(np.log(total)), gradient / total

    def _values(self, x: Array) -> tuple[Array, Array, Array]:
        """The scales, with a 1 behind them for channels that have none, and the ends of the intervals."""
        count, intervals = len(self.saturates), len(self.ceiling)
        low = np.where(self._one_sided, 0.0, np.exp(x[count + intervals :]))
        return np.append(np.exp(x[:count]), 1.0), np.exp(x[count : count + intervals]), low

    def _parts(self, x: Array) -> dict[str, PredictedNoise]:
        scales, high, low = self._values(x)
        channels = self._channels
        scale, top, bottom = channels.at(scales, high, low)
        above, *_ = channels.cut_above(scale, top)
        below, *_ = channels.cut_below(scale, bottom)
        rounding = np.bincount(channels.place, channels.rounding_noise(scale, top + bottom))
        cutting = np.bincount(channels.place, above + below)
        names = [t.name for t in self.held]
        parts = {
            name: PredictedNoise(*each) for name, *each in zip(names, rounding.tolist(), cutting.tolist(), strict=True)
        }
        for r in self.readers:
            known = parts.get(r.name, PredictedNoise())
            parts[r.name] = replace(known, weights=known.weights + float(r.noise(scales)[0].sum()))
        return parts

    @cached_property
    def _channels(self) -> ChannelTerms:
        return ChannelTerms.of(self.held)


def _snapped(end: Array, given: Array) -> Array:
    """The given end where the logarithm and back has moved it by a rounding error alone."""
    return np.where(np.isclose(end, given, rtol=1e-9, atol=0.0), given, end)

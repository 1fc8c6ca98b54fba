"""The predicted noise of coupled tensors as a function of their channel scales and tensor ranges, and its minimum.

Tensors are coupled if channels of theirs share a scale class, or if they share a tensor range. In rescaled units a
channel's value x is x / s, and a tensor has one range [-L, H] for all its channels; so channel c is clipped at s_c H,
and rounded with a scale of s_c (H + L) / 255. Its consumers have the weights W_co s_c, whose scale the largest
determines.

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


@dataclass(frozen=True, kw_only=True)
class Solution:
    """What minimizes the noise of coupled tensors.

    Attributes:
        scales: shape (scales,).
        low, high: ends of each tensor range, in rescaled units, shape (ranges,).
        noise: by name of a tensor, or of a linear primitive's output.
    """

    scales: Array
    low: Array
    high: Array
    noise: dict[str, PredictedNoise]


@dataclass(frozen=True, kw_only=True)
class CoupledTensors:
    """Coupled tensors, and the weights that read them.

    Attributes:
        tensors: the tensors.
        weights: of the linear primitives that read them.
        saturates: for each scale, whether an activation saturates there at a fixed value: it is then at most 1, shape
            (scales,).
        saturation: for each range, the value at which its tensors saturate, to which H is then fixed, or infinity,
            shape (ranges,).
        min_low, min_high: for each range, what L and H are at least, whatever the noise says, shape (ranges,).
    """

    tensors: Sequence[TensorTerms]
    weights: Sequence[WeightTerms]
    saturates: npt.NDArray[np.bool_]
    saturation: Array
    min_low: Array
    min_high: Array

    def solve(self) -> Solution:
        """Minimizes the noise by L-BFGS-B, from SPIQ's ranges and scales half as far apart (on a logarithmic axis).

        A step that is too short ends the descent early, on ESPNet once at 60 times the least noise: it begins anew from
        there, until that gains nothing.
        """
        start = self._start()
        bounds = self._bounds(start)
        x = np.clip(start, bounds.lb, bounds.ub)
        options = {"maxiter": _ITERATIONS, "ftol": _TOLERANCE}
        before = np.inf
        for _ in range(_DESCENTS):
            descent = minimize(self._log_noise, x, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
            x, gain, before = descent.x, before - descent.fun, descent.fun
            if gain < _GAIN:
                break
        scales, high, low = self._values(x)
        high = _snapped(_snapped(high, self.saturation), self.min_high)
        low = _snapped(low, self.min_low)
        return Solution(scales=scales[:-1], low=-low, high=high, noise=self._noise_by_tensor(x))

    @cached_property
    def _is_non_negative(self) -> npt.NDArray[np.bool_]:
        """Whether no tensor of a range has values below 0, shape (ranges,): L is then 0."""
        bound = np.zeros(len(self.saturation))
        for t in self.tensors:
            bound[t.range_index] = max(bound[t.range_index], t.distribution.below.bound.max())
        return bound <= 0

    def _start(self) -> Array:
        """Logarithms of the scales, of H and of L from which the descent starts."""
        count = len(self.saturates)
        amplitude = np.zeros(count + 1)
        for t in self.tensors:
            np.maximum.at(amplitude, t.scale_index, t.distribution.range(_START_DEVIATIONS).amplitude)
        free = np.where(amplitude[:count] > 0, amplitude[:count], 1.0)
        typical = np.exp(np.log(free).mean()) if count else 1.0
        scales = np.append(np.sqrt(free / typical), 1.0)
        scales[:count] = np.where(self.saturates, np.minimum(scales[:count], 1.0), scales[:count])
        low, high = np.full_like(self.saturation, _SMALLEST), np.full_like(self.saturation, _SMALLEST)
        for t in self.tensors:
            ranges, scale = t.distribution.range(_START_DEVIATIONS), scales[t.scale_index]
            high[t.range_index] = max(high[t.range_index], (ranges.high / scale).max())
            low[t.range_index] = max(low[t.range_index], (-ranges.low / scale).max())
        return np.log(np.concatenate([scales[:count], high, low]))

    def _bounds(self, start: Array) -> Bounds:
        count, ranges = len(self.saturates), len(self.saturation)
        lower, upper = start - _RANGE, start + _RANGE
        lower[:count], upper[:count] = -_RANGE, np.where(self.saturates, 0.0, _RANGE)
        high, low = slice(count, count + ranges), slice(count + ranges, None)
        is_fixed = np.isfinite(self.saturation)
        lower[high], upper[high] = (np.where(is_fixed, np.log(self.saturation), v[high]) for v in (lower, upper))
        for part, minimum in ((high, self.min_high), (low, self.min_low)):
            lower[part] = np.maximum(lower[part], np.log(np.maximum(minimum, 1e-300)))
            upper[part] = np.maximum(upper[part], lower[part])
        return Bounds(lower, upper)

    def noise(self, x: Array) -> tuple[float, Array]:
        """The sum of all noise and its gradient.

        Args:
            x: logarithms of the scales, of H and of L, shape (scales + 2 ranges,).
        """
        scales, high, low = self._values(x)
        channels, ranges = self._channels, len(high)
        scale, top, bottom = channels.at(scales, high, low)
        rounding = channels.rounding_noise(scale, top + bottom)
        above, above_slope, slope_of_high = channels.upper_clipping_noise(scale, top)
        below, below_slope = channels.lower_clipping_noise(scale, bottom)
        by_width = 2 * rounding / (top + bottom)
        by_high = np.bincount(channels.range_index, slope_of_high + by_width * top, ranges)
        by_low = np.bincount(channels.range_index, below_slope + by_width * bottom, ranges)
        by_scale = np.bincount(channels.scale_index, 2 * rounding + above_slope + below_slope, len(scales))
        total = rounding.sum() + above.sum() + below.sum()
        for w in self.weights:
            noise, falling, largest = w.noise(scales)
            total += noise.sum()
            by_scale += np.bincount(w.scale_index.ravel(), -2 * falling.ravel(), len(scales))
            by_scale += np.bincount(largest.ravel(), 2 * noise.ravel(), len(scales))
        return float(total), np.concatenate([by_scale[:-1], by_high, np.where(self._is_non_negative, 0.0, by_low)])

    def _log_noise(self, x: Array) -> tuple[float, Array]:
        """The logarithm of the noise and its gradient: what the solver lowers, so that its tolerance is relative."""
        total, gradient = self.noise(x)
        total = max(total, 1e-300)
        return float(np.log(total)), gradient / total

    def _values(self, x: Array) -> tuple[Array, Array, Array]:
        """The scales, followed by a 1 for pinned channels, shape (scales + 1,); H and L, shape (ranges,)."""
        count, ranges = len(self.saturates), len(self.saturation)
        low = np.where(self._is_non_negative, 0.0, np.exp(x[count + ranges :]))
        return np.append(np.exp(x[:count]), 1.0), np.exp(x[count : count + ranges]), low

    def _noise_by_tensor(self, x: Array) -> dict[str, PredictedNoise]:
        scales, high, low = self._values(x)
        channels = self._channels
        scale, top, bottom = channels.at(scales, high, low)
        above, *_ = channels.upper_clipping_noise(scale, top)
        below, *_ = channels.lower_clipping_noise(scale, bottom)
        rounding = np.bincount(channels.tensor_index, channels.rounding_noise(scale, top + bottom)).tolist()
        clipping = np.bincount(channels.tensor_index, above + below).tolist()
        by_name = {
            t.name: PredictedNoise(rounding=r, clipping=c)
            for t, r, c in zip(self.tensors, rounding, clipping, strict=True)
        }
        for w in self.weights:
            noise = by_name.get(w.name, PredictedNoise())
            by_name[w.name] = replace(noise, weights=noise.weights + float(w.noise(scales)[0].sum()))
        return by_name

    @cached_property
    def _channels(self) -> ChannelTerms:
        return ChannelTerms.of(self.tensors)


def _snapped(end: Array, exact: Array) -> Array:
    """The exact end where the logarithm and back has moved it by a rounding error alone."""
    return np.where(np.isclose(end, exact, rtol=1e-9, atol=0.0), exact, end)

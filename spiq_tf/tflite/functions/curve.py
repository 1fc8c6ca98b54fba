"""Curves: functions with a few parameters that a chain of int8 operators computes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from spiq_tf.distributions.values import Array
from spiq_tf.quantization.bit_width import INT8
from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.tflite.functions.integer_tensor import (
    LARGEST_REACH,
    IntegerTensor,
    covering,
    elu,
    grid,
    logistic,
    magnitude,
    mirrored,
    product,
    scaled,
    shifted,
    total,
)

Mask: TypeAlias = npt.NDArray[np.bool_]

Finish: TypeAlias = Callable[[float, float, QuantizationParameters | None], IntegerTensor]
"""factor * curve + addend, with parameters that are given or that suit the curve."""

_LARGEST_LOGIT = 5.6
"""From here on LOGISTIC gives its lowest or highest integer."""

_LARGEST_EXPONENT = 60.0
"""Keeps fits finite."""

_SMALLEST_EXPONENT = 1e-6
"""An exponent that varies less is a constant."""

_STEEPNESS = 16
"""Of a clip that one ADD does not compute: how much of that a MUL does."""


def _elu(h: Array) -> Array:
    return np.where(h > 0, h, np.expm1(np.minimum(h, 0.0)))


_VARIABLES: dict[str, tuple[Callable[[Array], Array], Callable[[IntegerTensor], IntegerTensor]]] = {
    "x": (lambda x: x, lambda x: x),
    "magnitude": (np.abs, magnitude),
    "negative": (lambda x: np.minimum(x, 0.0), lambda x: scaled(x, 1.0, grid(x.scale, INT8.qmax))),
}
"""What a curve is of: real values, and integers."""

_OUTER: dict[str, Callable[[Array], Array]] = {
    "exponential": lambda h: np.exp(np.clip(h - h.max(), -_LARGEST_EXPONENT, 0.0)),
    "logistic": lambda h: 1 / (1 + np.exp(np.clip(-h, -_LARGEST_EXPONENT, _LARGEST_EXPONENT))),
    "elu": _elu,
    "clip": lambda h: np.clip(h, 0.0, 1.0),
    "square": lambda h: np.clip(h, 0.0, 1.0) ** 2,
}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """outer(h) of h = weight exp(rate v) + slope v + offset, where v is x, |x| or min(x, 0).

    Attributes:
        variable: v: "x", "magnitude" or "negative".
        outer: "exponential" (relative to its largest value), "logistic", "elu", "clip" to [0, 1], or "square" of that.
        rate, weight, slope, offset: the parameters; what is 0 stays 0 when the curve is fitted.
    """

    variable: str
    outer: str
    rate: float = 0.0
    weight: float = 0.0
    slope: float = 0.0
    offset: float = 0.0

    @property
    def parameters(self) -> dict[str, float]:
        """Those that are not 0, by name."""
        every = {name: getattr(self, name) for name in ("rate", "weight", "slope", "offset")}
        return {name: value for name, value in every.items() if value != 0}

    def varied(self, factors: Array) -> "Curve":
        """With its parameters times factors."""
        parameters = self.parameters.items()
        others: dict[str, Any] = {name: float(v * f) for (name, v), f in zip(parameters, factors, strict=True)}
        return replace(self, **others)

    def of_multiple(self, factor: float) -> "Curve":
        """The curve of factor * v."""
        return replace(self, rate=self.rate * factor, slope=self.slope * factor)

    def values(self, x: Array) -> Array:
        """Its real values."""
        return _OUTER[self.outer](self._inner(x))

    def is_bounded(self, x: Array) -> bool:
        """Whether the inner exponential is that, and not cut short to keep a fit finite."""
        return float(np.abs(self.rate * x).max()) < _LARGEST_EXPONENT

    def _inner(self, x: Array) -> Array:
        v = _VARIABLES[self.variable][0](x)
        exponent = np.clip(self.rate * v, -_LARGEST_EXPONENT, _LARGEST_EXPONENT)
        return self.weight * np.exp(exponent) + self.slope * v + self.offset

    def built(self, x: IntegerTensor, matters: Mask, coarseness: float = 1.0) -> tuple[Array, Finish]:
        """The curve by integer operators: its values before the last rounding, and what applies a factor and an addend.

        Args:
            x: the tensor that it is of.
            matters: for which of its integers the curve matters.
            coarseness: scale of the inner exponential over the finest that holds it; about that of a sum with it too.
        """
        v = _VARIABLES[self.variable][1](x)
        if self.outer in ("clip", "square"):
            part = self._clipped(v)
            return _relabeled(part if self.outer == "clip" else product(part, part, part.parameters))
        if self.outer == "logistic":
            seen = matters & (np.abs(self._inner(x.values)) < _LARGEST_LOGIT)
            return _relabeled(logistic(self._built_inner(v, seen if seen.any() else matters, coarseness)))
        inner = self._built_inner(v, matters, coarseness)
        if self.outer == "elu":
            return _elu(inner.values), _Elu(inner, _elu(inner.values), at_top=False)
        exponent = shifted(inner, -inner.values[matters].max())
        values = np.exp(np.minimum(exponent.values, 0.0))
        return values, _Elu(exponent, values, at_top=True)

    def _clipped(self, v: IntegerTensor) -> IntegerTensor:
        """h, clipped to [0, 1] by a grid of that range; where it is steep, clipped twice."""
        h, unit = scaled(v, self.slope), grid(1 / INT8.levels, INT8.qmin)
        if np.abs(h.values + self.offset).max() / unit.scale < LARGEST_REACH:
            return shifted(h, self.offset, unit)
        return scaled(shifted(h, self.offset, grid(_STEEPNESS * unit.scale, INT8.qmin)), 1.0, unit)

    def _built_inner(self, v: IntegerTensor, matters: Mask, coarseness: float) -> IntegerTensor:
        """h, which may be off by a constant where it is an exponent."""
        if self.weight == 0:
            return shifted(scaled(v, self.slope), self.offset)
        exponent = scaled(v, self.rate)
        if (top := exponent.values[matters].max()) > 0:
            exponent = shifted(exponent, -top)
        weight = float(self.weight * np.exp(self.rate * v.values - exponent.values)[0])
        lowest = np.expm1(min(exponent.values[matters].min(), -_SMALLEST_EXPONENT))
        power = elu(exponent, grid(-lowest * coarseness / INT8.levels, INT8.qmax))  # less 1
        if self.slope == 0:
            return shifted(scaled(power, weight), weight + self.offset)
        part = scaled(power, weight / self.slope)
        reached = coarseness**2 * (part.values + v.values)[matters]  # squared: the two grids vary apart
        both = total(part, v, covering(reached))
        return shifted(scaled(both, self.slope), weight + self.offset)


@dataclass(frozen=True)
class _Elu:
    """Ends a curve with an ELU: as its output may have any scale, its rounding is that of the result.

    Attributes:
        exponent: what it reads.
        values: of the curve.
        at_top: whether the curve is the exponential, of exponents up to 0, or the whole ELU.
    """

    exponent: IntegerTensor
    values: Array
    at_top: bool

    def __call__(self, factor: float, addend: float, parameters: QuantizationParameters | None) -> IntegerTensor:
        result = parameters or covering(factor * self.values + addend)
        zero = result.zero_point if factor > 0 else mirrored(result.zero_point)
        if self.at_top:  # 0 of the ELU becomes a whole number of steps, and the values far below stay right
            end = result.scale * np.rint((factor + addend) / result.scale)
            factor, zero = end - addend, INT8.qmax
        else:
            end = addend
        rounded = elu(self.exponent, grid(result.scale / abs(factor), zero))
        return shifted(scaled(rounded, factor), end, result)


def _relabeled(curve: IntegerTensor) -> tuple[Array, Finish]:
    """Ends a curve whose integers stay what they are, whatever the factor."""
    return curve.values, lambda factor, addend, parameters: shifted(scaled(curve, factor), addend, parameters)

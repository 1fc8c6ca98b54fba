"""Elementwise functions by a few int8 operators, found by value: any function that a curve fits, whatever its name.

A curve alone, times x or with x added is a chain of operators that read one another and x alone: of that XNNPACK makes
one table (since 2026). Where the curve is added to max(x, 0) or min(x, 0), which are exact, or multiplied by the sign,
there are two chains and an operator of two tensors: a sixth of a GATHER's time.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import least_squares

from spiq_tf.distributions.values import Array
from spiq_tf.quantization.bit_width import INT8
from spiq_tf.tflite.functions.curve import Curve, Finish
from spiq_tf.tflite.functions.function_table import FunctionTable
from spiq_tf.tflite.functions.integer_tensor import LARGEST_REACH, IntegerTensor, grid, mirrored, product, scaled, total

_LARGEST_GROWTH = 10**0.03
"""Of the noise at a function's output, that of what it reads included: 0.3 dB. As a file's noise is a sum over its
tensors, it does not grow more than that."""

_LARGEST_UNEXPECTED_GROWTH = 2.0
"""The same where all integers that the function reads are equally frequent: moments are predictions."""

_UNEXPECTED = 0.05
"""Share of the values that a fit takes to lie anywhere."""

_HOPELESS = 10.0
"""Mean square error, in steps, from which no fit begins."""

_MULTIPLES = (1.0, 0.5, 2.0, 0.25, 4.0)
"""Of x, with which a fit may begin."""

_FARTHEST = 100.0
"""Factor by which a fit may change a parameter."""

_SMALLEST = 1e-6
"""Below this a slope is 0: there is no such part."""

_COARSENESS = np.linspace(1.0, 1.15, 12)
"""Which integers an inner exponential rounds up and which down is chance: the best of these adds about half as much
noise as the first."""


@dataclass(frozen=True)
class _Frame:
    """What is done with a curve.

    Attributes:
        columns: of x and the curve: what the curve's factor and addend, and another coefficient, are the factors of.
        assembled: the sum of the columns in integers, from the table, what finishes the curve, and the coefficients.
    """

    columns: Callable[[Array, Array], tuple[Array, ...]]
    assembled: Callable[..., IntegerTensor]


def _alone(table: FunctionTable, finish: Finish, factor: float, addend: float) -> IntegerTensor:
    return finish(factor, addend, table.parameters)


def _times_x(table: FunctionTable, finish: Finish, factor: float, addend: float) -> IntegerTensor:
    return product(table.x, finish(factor, addend, None), table.parameters)


def _times_sign(table: FunctionTable, finish: Finish, factor: float, addend: float) -> IntegerTensor:
    unit = 1 / INT8.qmax
    clipped = scaled(table.x, 1 / table.x.scale, grid(unit, 0))
    sign = scaled(clipped, 1.0, grid(unit, -1))  # there is one integer more below 0 than above
    return product(sign, finish(factor, addend, grid(table.parameters.scale, INT8.qmin)), table.parameters)


def _plus_x(table: FunctionTable, finish: Finish, factor: float, addend: float, slope: float) -> IntegerTensor:
    zero = table.parameters.zero_point if slope > 0 else mirrored(table.parameters.zero_point)
    both = total(finish(factor / slope, addend / slope, None), table.x, grid(table.parameters.scale / abs(slope), zero))
    return scaled(both, slope, table.parameters)


def _plus_half(
    above: bool, table: FunctionTable, finish: Finish, factor: float, addend: float, slope: float
) -> IntegerTensor:
    end = INT8.qmin if above == (slope > 0) else INT8.qmax
    half = scaled(table.x, slope, grid(abs(slope) * table.x.scale, end))
    return total(half, finish(factor, addend, None), table.parameters)


_ALONE = _Frame(lambda x, curve: (curve, np.ones_like(x)), _alone)
_TIMES_X = _Frame(lambda x, curve: (curve * x, x), _times_x)
_TIMES_SIGN = _Frame(lambda x, curve: (curve * np.sign(x), np.sign(x)), _times_sign)
_PLUS_X = _Frame(lambda x, curve: (curve, np.ones_like(x), x), _plus_x)
_PLUS_UPPER_HALF = _Frame(lambda x, curve: (curve, np.ones_like(x), np.maximum(x, 0.0)), partial(_plus_half, True))
_PLUS_LOWER_HALF = _Frame(lambda x, curve: (curve, np.ones_like(x), np.minimum(x, 0.0)), partial(_plus_half, False))
_HALVES = (_PLUS_UPPER_HALF, _PLUS_LOWER_HALF)

_BEGINNINGS = (
    *((_ALONE, Curve(variable="x", outer="elu", slope=sign)) for sign in (1.0, -1.0)),  # CELU
    *((_ALONE, Curve(variable="x", outer="exponential", slope=sign)) for sign in (1.0, -1.0)),
    (_TIMES_X, Curve(variable="x", outer="logistic", rate=0.14, weight=9.57, offset=-9.132)),  # mish
    *((f, Curve(variable="negative", outer="exponential", slope=1.0)) for f in _HALVES),  # SELU
    *((f, Curve(variable="magnitude", outer="exponential", rate=-0.964, weight=-0.601)) for f in _HALVES),  # softplus
    *((f, Curve(variable="magnitude", outer="exponential", slope=-0.68)) for f in _HALVES),  # squareplus
    *((f, Curve(variable="magnitude", outer="square", slope=-1.0, offset=1.0)) for f in _HALVES),  # sparse_plus
    *(
        (f, Curve(variable="magnitude", outer="exponential", rate=-0.879, weight=0.753, slope=-0.332))
        for f in (_TIMES_SIGN, _TIMES_X)  # softsign
    ),
)
"""Where fits begin, those of few operators first: at best fits to the functions named beside, for x from -6 to 6."""


@np.errstate(all="ignore")  # fits try everything
def approximation(table: FunctionTable) -> IntegerTensor | None:
    """The function by int8 operators, or None where no form of these is good enough."""
    if np.count_nonzero(table.held) < 2 or not np.isfinite(table.values).all():
        return None
    everywhere = table.held / np.count_nonzero(table.held)
    for frame, curve in _candidates(table):
        form = _best(table, _forms(table, frame, curve))
        if form is not None and table.growth(form, everywhere) < _LARGEST_UNEXPECTED_GROWTH:
            return form
    return None


def _best(table: FunctionTable, forms: Iterable[IntegerTensor]) -> IntegerTensor | None:
    """That of the least noise, if it is little enough; where one has far too much, the others are no better."""
    best, least = None, _LARGEST_GROWTH
    for form in forms:
        growth = table.growth(form, table.shares)
        if growth < least:
            best, least = form, growth
        if growth > _LARGEST_GROWTH**4:
            break
    return best


def _forms(table: FunctionTable, frame: _Frame, curve: Curve) -> Iterator[IntegerTensor]:
    """One form, with several grids inside."""
    for coarseness in _COARSENESS if curve.weight else (1.0,):
        values, finish = curve.built(table.x, table.held, float(coarseness))
        coefficients, _ = _solved(table, frame, values)
        factor, _, *slopes = coefficients
        if abs(factor) > table.parameters.scale and all(abs(slope) > _SMALLEST for slope in slopes):
            form = frame.assembled(table, finish, *coefficients.tolist())
            if form.kind and all(step.reach < LARGEST_REACH for step in form.ancestors()):
                yield form


def _candidates(table: FunctionTable) -> Iterator[tuple[_Frame, Curve]]:
    """Frames and curves whose real values come near the function, those of fewer operators first."""
    x = table.x.values
    ratios = np.interp(x, x[x != 0], table.values[x != 0] / x[x != 0])
    clips = [
        *((frame, _clip(table, table.values, "x")) for frame in (_ALONE, _PLUS_X)),
        *((_TIMES_X, _clip(table, ratios, variable)) for variable in ("x", "magnitude")),
    ]
    yield from ((frame, curve) for frame, curve in clips if curve is not None)
    for frame, beginning in _BEGINNINGS:
        if (curve := _fitted(table, frame, beginning)) is not None:
            yield frame, curve


def _clip(table: FunctionTable, values: Array, variable: str) -> Curve | None:
    """The clip between the two knots of values that are linear between them, and have equal slopes outside."""
    x = table.x.values
    seen = table.held & ((x >= 0) | (variable == "x"))
    if np.count_nonzero(seen) < 2:
        return None
    x, values = x[seen], values[seen]
    slopes = np.diff(values) / table.x.scale
    inner = np.flatnonzero(~np.isclose(slopes, slopes[0], rtol=0, atol=1e-6 * np.abs(slopes).max()))
    middle = (inner[0] + inner[-1]) // 2 if len(inner) else 0
    knots = []
    for end in (0, -1):
        turn = slopes[end] - slopes[middle]
        line = values[middle] - values[end] + slopes[end] * x[end] - slopes[middle] * x[middle]
        knots.append(line / turn if abs(turn) > 1e-6 * np.abs(slopes).max() else x[end])
    width = knots[1] - knots[0]
    if not width > table.x.scale / 2:
        return None
    return Curve(variable=variable, outer="clip", slope=1 / width, offset=-knots[0] / width)


def _fitted(table: FunctionTable, frame: _Frame, beginning: Curve) -> Curve | None:
    """The curve with the parameters of the least error, or None where that is far from good enough."""

    def errors(curve: Curve) -> Array:
        return _solved(table, frame, curve.values(table.x.values))[1]

    curves = [beginning.of_multiple(multiple) for multiple in _MULTIPLES]
    powers = [float(np.sum(errors(curve) ** 2)) for curve in curves]
    curve = curves[int(np.argmin(powers))]
    if min(powers) > _HOPELESS:
        return None
    ones = np.ones(len(curve.parameters))
    fit = least_squares(lambda factors: errors(curve.varied(factors)), ones, method="lm", max_nfev=20 * len(ones))
    room = (_LARGEST_GROWTH - 1) * table.noise(table.shares) / table.parameters.scale**2
    fitted, plausible = curve.varied(fit.x), np.abs(np.log(np.abs(fit.x))).max() < np.log(_FARTHEST)
    return fitted if plausible and fitted.is_bounded(table.x.values) and fit.cost < room else None


def _solved(table: FunctionTable, frame: _Frame, curve: Array) -> tuple[Array, Array]:
    """The coefficients of the least error, and the errors in steps, weighted: the mean square is the sum of squares."""
    weights = np.sqrt(((1 - _UNEXPECTED) * table.shares + _UNEXPECTED / len(table.shares)) * table.held)
    columns = np.nan_to_num(np.stack(frame.columns(table.x.values, curve), axis=1) * weights[:, np.newaxis])
    target = table.values * weights
    coefficients = np.asarray(np.linalg.lstsq(columns, target, rcond=None)[0], np.float64)
    return coefficients, (columns @ coefficients - target) / table.parameters.scale

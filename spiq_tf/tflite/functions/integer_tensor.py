"""Int8 tensors that are computed from one of them value for value, as the runtimes' integer kernels do it.

A kernel computes the real value of its output and rounds it once (halves differ between kernels). Where the scale of
the output is a multiple of the input's, integers stay what they are: a factor, a sign or a shift by whole steps costs
no accuracy, and a zero point at the end of the integers clips at 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spiq_tf.distributions.values import Array
from spiq_tf.quantization.bit_width import INT8
from spiq_tf.quantization.parameters import QuantizationParameters

LARGEST_REACH = 2.0**15 - 2**9
"""LiteRT's own ADD computes the integer in 16 bits before it clips it (NEON, AVX2)."""

_NO_STEP = 0.02
"""A shift by less than this, in steps, changes nothing."""


@dataclass(frozen=True, eq=False, kw_only=True)
class IntegerTensor:
    """What a tensor is for each integer of the first one.

    Attributes:
        integers: its own, shape (levels + 1,).
        parameters: its scale and zero point.
        kind: the operator that computes it, by its name in the schema; "" of the first tensor.
        operands: the tensors that the operator reads.
        constant: its second operand where it reads one tensor and a scalar; the slope of a LEAKY_RELU.
        reach: how many steps its values are away from 0 at most, before they are clipped to what there is.
    """

    integers: npt.NDArray[np.integer]
    parameters: QuantizationParameters
    kind: str = ""
    operands: tuple["IntegerTensor", ...] = ()
    constant: float = 0.0
    reach: float = 0.0

    @property
    def values(self) -> Array:
        """The real values of the integers."""
        return self.parameters.dequantize(self.integers, np.float64)

    @property
    def scale(self) -> float:
        """Real value of one step."""
        return self.parameters.scale

    def ancestors(self) -> Iterator["IntegerTensor"]:
        """The tensors that it is computed from, operands first, and itself, each once."""
        seen: dict[int, IntegerTensor] = {}
        for operand in self.operands:
            seen.update({id(t): t for t in operand.ancestors()})
        yield from seen.values()
        yield self


def grid(scale: float, zero_point: int) -> QuantizationParameters:
    """Of int8, with the scale that a file can hold."""
    return QuantizationParameters(float(np.float32(scale)), zero_point, INT8)


def covering(values: Array) -> QuantizationParameters:
    """The finest grid that holds real values, and 0."""
    return QuantizationParameters.from_range(float(values.min()), float(values.max()), INT8)


def mirrored(zero_point: int) -> int:
    """The zero point with which integers stand for the opposite values."""
    return INT8.qmin + INT8.qmax - zero_point


def scaled(x: IntegerTensor, factor: float, parameters: QuantizationParameters | None = None) -> IntegerTensor:
    """factor * x; exact unless the output's parameters are given."""
    if factor == 1 and parameters is None:
        return x
    zero = x.parameters.zero_point if factor > 0 else mirrored(x.parameters.zero_point)
    return _computed("MUL", (x,), factor * x.values, parameters or grid(abs(factor) * x.scale, zero), factor)


def shifted(x: IntegerTensor, addend: float, parameters: QuantizationParameters | None = None) -> IntegerTensor:
    """x + addend; where no parameters are given, the zero point moves by whole steps, if it can."""
    steps = round(addend / x.scale)
    zero = x.parameters.zero_point - steps
    if parameters is None and INT8.qmin <= zero <= INT8.qmax:
        parameters, addend = grid(x.scale, zero), steps * x.scale
    parameters = parameters or covering(x.values + addend)
    same_scale = np.isclose(parameters.scale, x.scale, rtol=_NO_STEP / INT8.levels, atol=0)
    same = parameters.zero_point == x.parameters.zero_point and same_scale
    if same and abs(addend) < _NO_STEP * parameters.scale:
        return replace(x, parameters=parameters) if x.kind else x
    return _computed("ADD", (x,), x.values + addend, parameters, addend)


def magnitude(x: IntegerTensor) -> IntegerTensor:
    """|x|, exact."""
    return _computed("LEAKY_RELU", (x,), np.abs(x.values), grid(x.scale, INT8.qmin), -1.0)


def elu(x: IntegerTensor, parameters: QuantizationParameters) -> IntegerTensor:
    """x above 0, exp(x) - 1 below."""
    return _computed("ELU", (x,), np.where(x.values > 0, x.values, np.expm1(np.minimum(x.values, 0.0))), parameters)


def logistic(x: IntegerTensor) -> IntegerTensor:
    """1 / (1 + exp(-x)), with the parameters that the specification fixes."""
    return _computed("LOGISTIC", (x,), 1 / (1 + np.exp(-x.values)), grid(1 / (INT8.levels + 1), INT8.qmin))


def total(x: IntegerTensor, y: IntegerTensor, parameters: QuantizationParameters) -> IntegerTensor:
    """x + y."""
    return _computed("ADD", (x, y), x.values + y.values, parameters)


def product(x: IntegerTensor, y: IntegerTensor, parameters: QuantizationParameters) -> IntegerTensor:
    """x * y."""
    return _computed("MUL", (x, y), x.values * y.values, parameters)


def _computed(
    kind: str,
    operands: tuple[IntegerTensor, ...],
    values: Array,
    parameters: QuantizationParameters,
    constant: float = 0.0,
) -> IntegerTensor:
    return IntegerTensor(
        integers=parameters.quantize(values),
        parameters=parameters,
        kind=kind,
        operands=operands,
        constant=constant,
        reach=float(np.abs(values).max()) / parameters.scale,
    )

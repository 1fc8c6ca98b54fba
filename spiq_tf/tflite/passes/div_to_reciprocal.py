"""Division, whose int8 kernel ignores scales -> a product with the reciprocal, which a lookup table computes.

A divisor is mostly a norm or a sum, of few values. Its reciprocal needs a range, so the divisor's has to exclude 0;
where it does not, the division stays float.
"""

from functools import partial
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf import priors
from spiq_tf.distributions.values import Array, ChannelRanges
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.passes.elementwise_to_lut import LOOKUP
from spiq_tf.tflite.state import FileState


def div_to_reciprocal(state: FileState) -> None:
    """Replaces, in place, divisions by tensors whose range has one sign.

    Given:
        y = DIV(a, b)

    Result:
        r = GELU(b), and state.lookup_tables[r] = 1 / b, in file units; one for all divisions by b
        y = MUL(a, r)

    Where a is a constant scalar, y = GELU(b) and its table is that of a / b. Left alone where y stays float.
    """
    flat, result = state.flat, []
    reciprocals: dict[int, int] = {}  # by divisor
    for operator in flat.operators:
        reciprocal = _reciprocal_range(state, operator)
        if reciprocal is None:
            result.append(operator)
            continue
        constant = _constant_dividend(flat, operator)
        if constant is not None:  # its table has steps of the quotient, not of the reciprocal
            divisor, output = int(operator.inputs[1]), int(operator.outputs[0])
            state.lookup_tables[output] = partial(_quotient, constant, reciprocal)
            result.append(flat.operator(LOOKUP, [divisor], output, schema.GeluOptionsT()))
        else:
            result += _product(state, operator, reciprocal, reciprocals)
    flat.subgraph.operators = result


def _reciprocal_range(state: FileState, operator: Any) -> ChannelRanges | None:
    """The range of a divisor's reciprocal; None where the operator is no division that becomes int8."""
    flat, output = state.flat, int(operator.outputs[0])
    if flat.kind(operator) != "DIV" or output in state.float_outputs or flat.dtype(output) != np.float32:
        return None
    divisor = _divisor_range(state, int(operator.inputs[1]))
    if divisor is None or not (divisor.low.min() > 0 or divisor.high.max() < 0):
        return None
    # the reciprocal of an epsilon can be thousands of times those of all divisors that int8 tells from 0
    smallest = TensorRange(0.0, float(divisor.amplitude.max())).scale
    low, high = (np.sign(end) * np.maximum(np.abs(end), smallest) for end in (divisor.low, divisor.high))
    return ChannelRanges(1 / high, 1 / low, divisor.source)


def _divisor_range(state: FileState, index: int) -> ChannelRanges | None:
    """What a divisor keeps to, in file units: a tensor of the graph to what its distribution reaches, since the range
    that was chosen for it holds 0. Its scale is pinned to 1."""
    origin = state.provenance.get(index)
    if origin is None:
        return state.ranges.get(index)
    return state.distributions[origin.name].range(priors.NEAR_SIGMAS.value).scaled_by(origin.factor)


def _constant_dividend(flat: FlatModel, operator: Any) -> float | None:
    """The constant scalar that is divided, if there is no more to the operator."""
    dividend, divisor = map(int, operator.inputs)
    same_shape = flat.shape(divisor) == flat.shape(int(operator.outputs[0]))
    if not flat.is_constant(dividend) or not same_shape or operator.builtinOptions.fusedActivationFunction:
        return None
    value = flat.value(dividend)
    return float(value.ravel()[0]) if value.size == 1 else None


def _product(state: FileState, operator: Any, reciprocal: ChannelRanges, reciprocals: dict[int, int]) -> list[Any]:
    """The operators that multiply with the reciprocal, that of its table the first time.

    Args:
        state: gets the tensor of the reciprocal, its range and its function.
        operator: the division.
        reciprocal: its range, in file units.
        reciprocals: the tensors of those that are there already, by divisor; extended.
    """
    flat, result = state.flat, []
    dividend, divisor = map(int, operator.inputs)
    if divisor not in reciprocals:
        reciprocals[divisor] = index = state.flat.add_activation("reciprocal", divisor)
        state.lookup_tables[index], state.ranges[index] = partial(_quotient, 1.0, reciprocal), reciprocal
        result.append(flat.operator(LOOKUP, [divisor], index, schema.GeluOptionsT()))
    options = schema.MulOptionsT(operator.builtinOptions.fusedActivationFunction)
    inputs, output = [dividend, reciprocals[divisor]], int(operator.outputs[0])
    return [*result, flat.operator(schema.BuiltinOperator.MUL, inputs, output, options)]


def _quotient(constant: float, reciprocal: ChannelRanges, x: Array) -> Array:
    """constant / x; of integers outside the divisor's range, 0 above all, the quotient at its end."""
    values = 1 / np.where(x == 0, np.finfo(np.float32).tiny, x)
    return constant * np.clip(values, reciprocal.low.min(), reciprocal.high.max())

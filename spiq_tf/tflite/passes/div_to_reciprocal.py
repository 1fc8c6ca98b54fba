"""Division, whose int8 kernel ignores scales -> a product with the reciprocal, which is looked up in a table.

What divides is mostly a norm or a sum, of few values. Its reciprocal needs a range, and so what divides has to keep
away from 0; where it does not, the division stays float.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.distributions.values import Array, ChannelRanges
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.passes.elementwise_to_lut import LOOKUP, Function


@dataclass(frozen=True)
class Reciprocals:
    """The tensors that hold reciprocals, by index.

    Attributes:
        functions: that the tables compute.
        ranges: of the reciprocals.
    """

    functions: Mapping[int, Function]
    ranges: Mapping[int, ChannelRanges]


def div_to_reciprocal(
    flat: FlatModel, known: Mapping[int, ChannelRanges], float_outputs: Collection[int]
) -> Reciprocals:
    """Replaces, in place, divisions by tensors whose range has one sign.

    Args:
        flat: the float file.
        known: ranges of its tensors, as far as they are known.
        kept: outputs of the operators that stay float.
    """
    functions: dict[int, Function] = {}
    made: dict[int, int] = {}  # the reciprocal of each divisor
    ranges: dict[int, ChannelRanges] = {}
    operators = []
    for operator in flat.operators:
        output = int(operator.outputs[0])
        found = None
        if flat.kind(operator) == "DIV" and output not in float_outputs and flat.dtype(output) == np.float32:
            found = _reciprocal_range(known.get(int(operator.inputs[1])))
        if found is None:
            operators.append(operator)
            continue
        divided, divisor = map(int, operator.inputs)
        activation = operator.builtinOptions.fusedActivationFunction
        if flat.is_constant(divided) and flat.shape(divisor) == flat.shape(output) and not activation:
            constant = flat.value(divided)
            if constant.size == 1:  # the table has steps of the quotient, not of the reciprocal
                functions[output] = partial(_quotient, float(constant.ravel()[0]), found)
                operators.append(flat.operator(LOOKUP, [divisor], output, schema.GeluOptionsT()))
                continue
        if divisor not in made:
            made[divisor] = reciprocal = flat.add_activation("reciprocal", divisor)
            functions[reciprocal], ranges[reciprocal] = partial(_quotient, 1.0, found), found
            operators.append(flat.operator(LOOKUP, [divisor], reciprocal, schema.GeluOptionsT()))
        options = schema.MulOptionsT(activation)
        operators.append(flat.operator(schema.BuiltinOperator.MUL, [divided, made[divisor]], output, options))
    flat.subgraph.operators = operators
    return Reciprocals(functions, ranges)


def _reciprocal_range(divisor: ChannelRanges | None) -> ChannelRanges | None:
    if divisor is None or not (divisor.low.min() > 0 or divisor.high.max() < 0):
        return None
    # an epsilon's reciprocal can be thousands of times those of all divisors that int8 tells from 0
    least = TensorRange(0.0, float(divisor.amplitude.max())).scale
    low, high = (np.sign(end) * np.maximum(np.abs(end), least) for end in (divisor.low, divisor.high))
    return ChannelRanges(1 / high, 1 / low, divisor.source)


def _quotient(constant: float, reciprocal: ChannelRanges, x: Array) -> Array:
    """Of what an integer stands for that the divisor's range does not reach, 0 above all, that of the range's end."""
    made = 1 / np.where(x == 0, np.finfo(np.float32).tiny, x)
    return constant * np.clip(made, reciprocal.low.min(), reciprocal.high.max())

"""CONCATENATION of many tensors -> concatenations of at most five, which XNNPACK takes.

All have one scale, so integers are copied, those of some operands twice. On x86 that takes as long as LiteRT's own
kernel and the cut through the graph that it makes: 0.97 to 1.02 of the time for feature maps, with a delegated operator
before and after, 0.73 to 0.87 for vectors and short sequences. XNNPACK's copies are split over threads, LiteRT's are
not; on ARM both are plain copies too.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.quantization.bit_width import INT8
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.state import IntegerState

_MOST_OPERANDS = 5


def nest_concatenations(state: IntegerState) -> None:
    """Concatenates, in place, neighbors among more than five int8 operands first, those with the fewest values.

    Given:
        y = CONCATENATION(a, b, c, d, e, f)

    Result:
        n = CONCATENATION(b, c), if these are the smallest neighbors
        y = CONCATENATION(a, n, d, e, f)
    """
    flat, result = state.flat, []
    for operator in flat.operators:
        if flat.kind(operator) == "CONCATENATION" and flat.dtype(int(operator.outputs[0])) == INT8.dtype:
            result += _nested(flat, operator)
        result.append(operator)
    flat.subgraph.operators = result


def _nested(flat: FlatModel, operator: Any) -> list[Any]:
    """The operators that go before a concatenation, which is left with five operands at most."""
    operands, inner = [int(i) for i in operator.inputs], []
    while len(operands) > _MOST_OPERANDS:
        first, count = _smallest_neighbors(flat, operands)
        joined = _joined(flat, operator, operands[first : first + count])
        inner.append(joined)
        operands[first : first + count] = [int(joined.outputs[0])]
    operator.inputs = np.array(operands, np.int32)
    return inner


def _smallest_neighbors(flat: FlatModel, operands: Sequence[int]) -> tuple[int, int]:
    """Place of the first and number of the neighbors that have the fewest values: no more of them than are too many."""
    count = min(_MOST_OPERANDS, len(operands) - _MOST_OPERANDS + 1)
    sizes = [math.prod(flat.shape(index)) for index in operands]
    return min(range(len(sizes) - count + 1), key=lambda first: sum(sizes[first : first + count])), count


def _joined(flat: FlatModel, operator: Any, operands: Sequence[int]) -> Any:
    """The concatenation of some operands of another, with the scale of its output."""
    output, axis = int(operator.outputs[0]), operator.builtinOptions.axis
    parameters = flat.quantization(output)
    assert parameters is not None, flat.name(output)  # int8
    shape = [*flat.shape(output)]
    shape[axis] = sum(flat.shape(index)[axis] for index in operands)
    index = flat.add_activation("joined", output, shape=shape)
    flat.set_quantization(index, parameters)
    options = schema.ConcatenationOptionsT(axis=axis)
    return flat.operator(schema.BuiltinOperator.CONCATENATION, operands, index, options)

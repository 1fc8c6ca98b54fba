"""Means and sums of squares, in a variance or a norm -> products of vectors with themselves.

Of a tensor of squares 8 bits resolve only the largest: in a LayerNormalization all squares of a patch without contrast
are rounded to 0, and its deviation with them. A product of vectors sums squares in 32 bits, and is several times as
fast as SQUARED_DIFFERENCE and MEAN. Large MULs and MEANs, which XNNPACK takes, are left alone.
"""

import itertools
import math
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.quantization.bit_width import INT8, INT32
from spiq_tf.targets.target import Target
from spiq_tf.tflite.flatbuffer import FlatModel

_LARGEST_SUM = 2 ** (INT32.bits - 1 - 2 * INT8.bits)
"""Squares of one sum, 2^15: the accumulator holds them even if all values are at the far end from the zero point."""


def sum_of_squares_to_matmul(flat: FlatModel, largest_product: int = Target.largest_squared_product) -> None:
    """Replaces, in place, every mean and sum of squares that have no other consumer.

    Given:
        s = MUL(x, x), or SQUARED_DIFFERENCE(a, b) with x = a - b
        y = MEAN(s, axes), or SUM

    Result:
        v = RESHAPE(TRANSPOSE(x)) of shape (sums, 1, squares of one sum)
        y = RESHAPE(BATCH_MATMUL(v, v)), for MEAN times 1 / squares of one sum

    Args:
        flat: the float file.
        largest_product: how many squares a MUL may compute, at most, to be replaced (of a GroupNormalization).
    """
    producers, consumers = flat.producers(), flat.consumer_counts()
    replaced: dict[int, list[Any]] = {}
    for operator in flat.operators:
        squares = producers.get(int(operator.inputs[0])) if flat.kind(operator) in ("MEAN", "SUM") else None
        if squares is None or not _is_square(flat, squares, largest_product) or consumers[int(squares.outputs[0])] != 1:
            continue
        axes = _reduced(flat, operator)
        if 1 < math.prod(size for size, reduced in axes if reduced) <= _LARGEST_SUM:
            replaced[id(squares)] = []
            replaced[id(operator)] = _product_of_vectors(flat, squares, operator, axes)
    flat.subgraph.operators = [new for o in flat.operators for new in replaced.get(id(o), [o])]


def _is_square(flat: FlatModel, operator: Any, largest_product: int) -> bool:
    if flat.dtype(int(operator.outputs[0])) != np.float32:
        return False
    options = operator.builtinOptions
    if getattr(options, "fusedActivationFunction", 0) != schema.ActivationFunctionType.NONE:
        return False
    small = math.prod(flat.shape(int(operator.outputs[0]))) <= largest_product
    return flat.kind(operator) == "SQUARED_DIFFERENCE" or (small and flat.is_square(operator))


def _reduced(flat: FlatModel, operator: Any) -> list[tuple[int, bool]]:
    """Size of each axis of the input of a mean or a sum, and whether it is reduced; adjacent ones of a kind are one."""
    shape = flat.shape(int(operator.inputs[0]))
    gone = {int(axis) % len(shape) for axis in flat.channels(operator, 1)}
    sizes = [(size, axis in gone) for axis, size in enumerate(shape) if size > 1]
    runs = itertools.groupby(sizes, key=lambda each: each[1])
    return [(math.prod(size for size, _ in run), reduced) for reduced, run in runs]


def _product_of_vectors(flat: FlatModel, squares: Any, operator: Any, axes: list[tuple[int, bool]]) -> list[Any]:
    """The operators that compute from what is squared what the mean or sum computed from the squares."""
    output = int(operator.outputs[0])
    summed = math.prod(size for size, reduced in axes if reduced)
    count = math.prod(flat.shape(output))
    value, result = _squared(flat, squares, output)
    value, transposed = _summed_axes_last(flat, value, output, axes)
    vectors = flat.add_activation("vectors", output, shape=(count, 1, summed))
    product = flat.add_activation("product", output, shape=(count, 1, 1))
    options = schema.BatchMatMulOptionsT(adjY=True)
    result += [*transposed, flat.reshape(value, vectors)]
    result.append(flat.operator(schema.BuiltinOperator.BATCH_MATMUL, [vectors, vectors], product, options))
    if flat.kind(operator) == "SUM":
        return [*result, flat.reshape(product, output)]
    total = flat.add_activation("total", output)
    share = flat.add_constant(
        f"{flat.name(output)}/share", np.full([1] * len(flat.shape(output)), 1 / summed, np.float32)
    )
    mean = flat.operator(schema.BuiltinOperator.MUL, [total, share], output, schema.MulOptionsT())
    return [*result, flat.reshape(product, total), mean]


def _squared(flat: FlatModel, squares: Any, output: int) -> tuple[int, list[Any]]:
    """The tensor that is squared, and the operators that compute it: the difference of a SQUARED_DIFFERENCE."""
    value = int(squares.inputs[0])
    if flat.kind(squares) != "SQUARED_DIFFERENCE":
        return value, []
    difference = flat.add_activation("difference", output, shape=flat.shape(int(squares.outputs[0])))
    inputs = [value, int(squares.inputs[1])]
    return difference, [flat.operator(schema.BuiltinOperator.SUB, inputs, difference, schema.SubOptionsT())]


def _summed_axes_last(flat: FlatModel, value: int, output: int, axes: list[tuple[int, bool]]) -> tuple[int, list[Any]]:
    """The tensor with the axes that are summed last, and the operators that transpose it, if it takes any."""
    order = sorted(range(len(axes)), key=lambda axis: axes[axis][1])
    if order == sorted(order):
        return value, []
    joined = flat.add_activation("joined", output, shape=[size for size, _ in axes])
    moved = flat.add_activation("moved", output, shape=[axes[axis][0] for axis in order])
    permutation = flat.add_constant(f"{flat.name(moved)}/order", np.array(order, np.int32))
    transpose = schema.BuiltinOperator.TRANSPOSE
    return moved, [
        flat.reshape(value, joined),
        flat.operator(transpose, [joined, permutation], moved, schema.TransposeOptionsT()),
    ]

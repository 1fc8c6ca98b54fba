"""Means and sums of squares, in a variance or a norm -> products of vectors with themselves.

Of a tensor of squares 8 bits hold those of the largest values: in a LayerNormalization all squares of a patch without
contrast are rounded to 0, and its deviation with them. A product of vectors sums squares in 32 bits, and is several
times as fast as SQUARED_DIFFERENCE and MEAN. Large MULs and MEANs, which the CPU delegate takes, are left alone.
"""

import itertools
import math
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.flatbuffer import FlatModel

_MOST = 2**15
"""Values of one sum: 32 bits hold their squares, even if all lie 255 steps from the zero point."""

_MOST_OF_PRODUCTS = 2**14
"""Squares that a MUL makes, of a GroupNormalization: with more a product of vectors takes 4 to 10 times as long."""


def sum_of_squares_to_matmul(flat: FlatModel) -> None:
    """Replaces, in place, every mean and sum of squares that nothing else reads."""
    producers, consumers = flat.producers(), flat.consumer_counts()
    replaced: dict[int, list[Any]] = {}
    for operator in flat.operators:
        squares = producers.get(int(operator.inputs[0])) if flat.kind(operator) in ("MEAN", "SUM") else None
        if squares is None or not _is_square(flat, squares) or consumers[int(squares.outputs[0])] != 1:
            continue
        axes = _reduced(flat, operator)
        if 1 < math.prod(size for size, reduced in axes if reduced) <= _MOST:
            replaced[id(squares)] = []
            replaced[id(operator)] = _product(flat, squares, operator, axes)
    flat.subgraph.operators = [new for o in flat.operators for new in replaced.get(id(o), [o])]


def _is_square(flat: FlatModel, operator: Any) -> bool:
    if flat.dtype(int(operator.outputs[0])) != np.float32:
        return False
    options = operator.builtinOptions
    if getattr(options, "fusedActivationFunction", 0) != schema.ActivationFunctionType.NONE:
        return False
    small = math.prod(flat.shape(int(operator.outputs[0]))) <= _MOST_OF_PRODUCTS
    return flat.kind(operator) == "SQUARED_DIFFERENCE" or (small and flat.is_square(operator))


def _reduced(flat: FlatModel, operator: Any) -> list[tuple[int, bool]]:
    """Size of each axis of what a mean or a sum reads, and whether it is reduced; neighbours alike are joined."""
    shape = flat.shape(int(operator.inputs[0]))
    gone = {int(axis) % len(shape) for axis in flat.channels(operator, 1)}
    sizes = [(size, axis in gone) for axis, size in enumerate(shape) if size > 1]
    runs = itertools.groupby(sizes, key=lambda each: each[1])
    return [(math.prod(size for size, _ in run), reduced) for reduced, run in runs]


def _product(flat: FlatModel, squares: Any, operator: Any, axes: list[tuple[int, bool]]) -> list[Any]:
    """The operators that make of what is squared what the mean or sum made of the squares."""
    output, result = int(operator.outputs[0]), []
    value = int(squares.inputs[0])
    if flat.kind(squares) == "SQUARED_DIFFERENCE":
        difference = flat.add_activation("difference", output, shape=flat.shape(int(squares.outputs[0])))
        inputs = [value, int(squares.inputs[1])]
        result.append(flat.operator(schema.BuiltinOperator.SUB, inputs, difference, schema.SubOptionsT()))
        value = difference
    order = sorted(range(len(axes)), key=lambda place: axes[place][1])  # what is summed comes last
    if order != sorted(order):
        joined = flat.add_activation("joined", output, shape=[size for size, _ in axes])
        moved = flat.add_activation("moved", output, shape=[axes[place][0] for place in order])
        permutation = flat.add_constant(f"{flat.name(moved)}/order", np.array(order, np.int32))
        transpose = schema.BuiltinOperator.TRANSPOSE
        result.append(flat.reshape(value, joined))
        result.append(flat.operator(transpose, [joined, permutation], moved, schema.TransposeOptionsT()))
        value = moved
    summed = math.prod(size for size, reduced in axes if reduced)
    count = math.prod(flat.shape(output))
    vectors = flat.add_activation("vectors", output, shape=(count, 1, summed))
    product = flat.add_activation("product", output, shape=(count, 1, 1))
    options = schema.BatchMatMulOptionsT(adjY=True)
    result.append(flat.reshape(value, vectors))
    result.append(flat.operator(schema.BuiltinOperator.BATCH_MATMUL, [vectors, vectors], product, options))
    if flat.kind(operator) == "SUM":
        return [*result, flat.reshape(product, output)]
    total = flat.add_activation("total", output)
    share = flat.add_constant(
        f"{flat.name(output)}/share", np.full([1] * len(flat.shape(output)), 1 / summed, np.float32)
    )
    mean = flat.operator(schema.BuiltinOperator.MUL, [total, share], output, schema.MulOptionsT())
    return [*result, flat.reshape(product, total), mean]

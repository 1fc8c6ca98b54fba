"""Elementwise functions for which the runtimes have no int8 operator -> a table of 256 values.

Softplus, mish, SELU and the like are lowered to exponentials, logarithms, comparisons and selections: float islands, or
values of which 8 bits hold too little. Of an int8 tensor every function is a table, which is exact but for the rounding
of its output: the value is cast to an index, 128 is added, and the index is looked up. Of these operators all runtimes
have integer kernels.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.graph import LayerGraph, Node
from spiq_tf.primitives.values import Array
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.matching import Held

_INTEGER = {
    *("ADD", "DEPTHWISE_CONV_2D", "ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL"),
    *("RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "RESHAPE", "SUB", "TANH"),
}
"""Operators that become int8 one by one."""

_LOOKUP = schema.BuiltinOperator.GELU
"""Stands in the float file for a table: the quantizer takes it for any function of one tensor."""


@dataclass(frozen=True)
class Table:
    """One function that is looked up.

    Attributes:
        function: elementwise, of the values that the file holds.
    """

    function: Callable[[Array], Array]


def place_tables(
    flat: FlatModel, graph: LayerGraph, tensors: Mapping[int, Held], kept: Collection[int]
) -> dict[int, Table]:
    """Replaces, in place, the operators of each function that has no int8 form by one that stands for its table.

    Args:
        flat: the float file.
        graph: the model.
        tensors: which of its tensors each of the file's holds.
        kept: outputs of the operators that stay float.

    Returns:
        The tables by the index of the tensor that they make.
    """
    tables = {}
    for node in graph.nodes:
        function, ends = node.rule.function_of_values, _ends(flat, tensors, node)
        if function is None or ends is None:
            continue
        (x, before), (y, behind) = ends
        between = _between(flat, x, y)
        if between is None or y in kept or {flat.kind(o) for o in between} <= _INTEGER:
            continue
        tables[y] = Table(_in_units(function, before, behind))
        placed = []
        if flat.shape(x) != flat.shape(y):  # a reshape that stood between
            placed, x = [_reshape(flat, x, y)], len(flat.subgraph.tensors) - 1
        placed.append(_operator(flat, _LOOKUP, 1, [x], y, schema.GeluOptionsT()))
        remaining = [o for o in flat.operators if all(o is not other for other in between[1:])]
        flat.subgraph.operators = [new for o in remaining for new in (placed if o is between[0] else [o])]
    return tables


def _reshape(flat: FlatModel, x: int, like: int) -> Any:
    """An operator that gives a tensor another one's shape; what it makes is the last of the file's tensors."""
    shape = flat.add_constant(f"{flat.name(like)}/shape", np.array(flat.shape(like), np.int32))
    tensor = schema.TensorT()
    tensor.name, tensor.shape = f"{flat.name(like)}/reshaped".encode(), flat.tensor(like).shape
    tensor.type, tensor.buffer = schema.TensorType.FLOAT32, 0
    options = schema.ReshapeOptionsT(newShape=list(flat.shape(like)))
    return _operator(flat, schema.BuiltinOperator.RESHAPE, 1, [x, shape], flat.add_tensor(tensor), options)


def _ends(flat: FlatModel, tensors: Mapping[int, Held], node: Node) -> tuple[tuple[int, float], ...] | None:
    """Indices and factors of the tensors that hold what a node reads and makes, of one shape if there are such."""
    read, made = (
        [(index, held.factor) for index, held in tensors.items() if held.name == tensor.name]
        for tensor in (node.inputs[0], node.output)
    )
    pairs = [(x, y) for y in made for x in read]
    return next((p for p in pairs if flat.shape(p[0][0]) == flat.shape(p[1][0])), pairs[0] if pairs else None)


def _in_units(function: Callable[[Array], Array], before: float, behind: float) -> Callable[[Array], Array]:
    return lambda values: behind * function(values / before)


def _between(flat: FlatModel, x: int, y: int) -> list[Any] | None:
    """The operators that make y of x and constants alone, the last one first; None if others read what they make."""
    makers = {int(i): operator for operator in flat.operators for i in operator.outputs}
    found: list[Any] = []
    waiting = [y]
    while waiting:
        index = waiting.pop()
        operator = makers.get(index)
        if index == x or flat.is_constant(index) or any(operator is o for o in found):
            continue
        if operator is None:
            return None
        found.append(operator)
        waiting += [int(i) for i in operator.inputs if i >= 0]
    inside = {int(i) for operator in found for i in operator.outputs} - {y}
    read = {int(i) for o in flat.operators if all(o is not f for f in found) for i in o.inputs}
    return None if inside & (read | set(map(int, flat.subgraph.outputs))) else found


def fill_tables(flat: FlatModel, tables: Mapping[int, Table]) -> None:
    """Replaces, in place, what stands for the tables in a quantized file by their look-up."""
    result: list[Any] = []
    for operator in flat.operators:
        output = int(operator.outputs[0])
        if output in tables:
            result += _lookup(flat, int(operator.inputs[0]), output, tables[output].function)
        else:
            result.append(operator)
    flat.subgraph.operators = result


def _lookup(flat: FlatModel, x: int, y: int, function: Callable[[Array], Array]) -> Iterable[Any]:
    ((step, zero), (scale, zero_point)) = (_known(flat, index) for index in (x, y))
    steps = np.arange(-128.0, 128.0)
    values = np.clip(np.rint(function((steps - zero) * step) / scale) + zero_point, -128, 127)
    table = flat.add_constant(f"{flat.name(y)}/table", values.astype(np.int8))
    flat.make_int8(table, scale, zero_point)
    offset = flat.add_constant(f"{flat.name(y)}/offset", np.array(128, np.int32))
    number, index = (_integers(flat, y, name) for name in ("number", "index"))
    types = {"inDataType": schema.TensorType.INT8, "outDataType": schema.TensorType.INT32}
    # the lowest versions that take these types (op_version.cc of TensorFlow Lite)
    return (
        _operator(flat, schema.BuiltinOperator.CAST, 3, [x], number, schema.CastOptionsT(**types)),
        _operator(flat, schema.BuiltinOperator.ADD, 1, [number, offset], index, schema.AddOptionsT()),
        _operator(flat, schema.BuiltinOperator.GATHER, 2, [table, index], y, schema.GatherOptionsT()),
    )


def _known(flat: FlatModel, index: int) -> tuple[float, int]:
    found = flat.quantization(index)
    assert found is not None, flat.name(index)  # both ends of the operator that stood here are int8
    return found


def _integers(flat: FlatModel, like: int, name: str) -> int:
    tensor = schema.TensorT()
    tensor.name = f"{flat.name(like)}/{name}".encode()
    tensor.shape, tensor.type, tensor.buffer = flat.tensor(like).shape, schema.TensorType.INT32, 0
    return flat.add_tensor(tensor)


def _operator(flat: FlatModel, kind: int, version: int, inputs: list[int], output: int, options: Any = None) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex = flat.operator_code(kind, version)
    operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
    if options is not None:
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    return operator

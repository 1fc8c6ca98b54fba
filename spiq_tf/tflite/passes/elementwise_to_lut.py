"""Elementwise functions without an int8 operator in the runtimes -> a lookup table of one entry for each integer.

Softplus, mish, SELU and the like are lowered to exponentials, logarithms, comparisons and selections: float operators,
or values of which 8 bits resolve too little. Of an int8 tensor every function is a table of 256 entries, which is exact
but for the rounding of its output: the value is cast to an index, 128 is added, and the index is looked up. Of these
operators all runtimes have integer kernels.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.graph.layer_graph import LayerGraph, Node, Tensor
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.functions.function_table import FunctionTable
from spiq_tf.tflite.state import ElementwiseFunction, FileState, IntegerState

LOOKUP = schema.BuiltinOperator.GELU
"""Stands in the float file for a table: the quantizer takes it for any function of one tensor."""


def elementwise_to_lut(state: FileState) -> None:
    """Replaces, in place, the operators of each elementwise function without an int8 form by one that stands for its
    lookup table, which `fill_lookup_tables` writes once scales are known.

    Given:
        e = EXP(x)
        s = ADD(e, 1)
        y = LOG(s)

    Result:
        y = GELU(x), and state.lookup_tables[y] = log(exp(x) + 1), in file units

    Left alone where y stays float, where it depends on other tensors too, and where all operators become int8 alone.
    """
    flat = state.flat
    names = {origin.name for origin in state.provenance.values()}
    for node in state.graph.nodes:
        function, x = _of_materialized(state.graph, node, names)
        ends = None if function is None else _ends(state, x, node.output)
        if function is None or ends is None:
            continue
        (before, factor_before), (after, factor_after) = ends
        operators = _operators_between(flat, before, after)
        is_int8 = operators is not None and all(flat.row(o).int8_elementwise for o in operators)
        if operators is None or after in state.float_outputs or is_int8:
            continue
        state.lookup_tables[after] = _in_file_units(function, factor_before, factor_after)
        _replace(flat, operators, before, after)


def _of_materialized(
    graph: LayerGraph, node: Node, names: Collection[str]
) -> tuple[ElementwiseFunction | None, Tensor]:
    """A node's elementwise function, and the materialized tensor that it is one of: the converter may fuse it with
    those before it; of log(x + 1) the addition bears the logarithm's name.

    Args:
        graph: the model.
        node: of it.
        names: of the tensors that the file holds.
    """
    function, x = node.primitive.elementwise_function, node.inputs[0]
    while function is not None and x.name not in names and x.name in graph.producers:
        producer = graph.producers[x.name]
        function, x = _composed(function, producer.primitive.elementwise_function), producer.inputs[0]
    return function, x


def _composed(outer: ElementwiseFunction, inner: ElementwiseFunction | None) -> ElementwiseFunction | None:
    return None if inner is None else lambda values: outer(inner(values))


def _ends(state: FileState, x: Tensor, y: Tensor) -> tuple[tuple[int, float], ...] | None:
    """Indices and factors of the file's tensors that hold two of the graph's, of one shape if there are such."""
    flat, provenance = state.flat, state.provenance
    before, after = ([(i, provenance[i].factor) for i in state.holding({tensor.name})] for tensor in (x, y))
    pairs = [(x, y) for y in after for x in before]
    return next((p for p in pairs if flat.shape(p[0][0]) == flat.shape(p[1][0])), pairs[0] if pairs else None)


def _in_file_units(function: ElementwiseFunction, before: float, after: float) -> ElementwiseFunction:
    return lambda values: after * function(values / before)


def _operators_between(flat: FlatModel, x: int, y: int) -> list[Any] | None:
    """The operators that compute y from x and constants alone, consumers before producers; None if it depends on other
    tensors too."""
    producers = flat.producers()
    operators: list[Any] = []
    waiting = [y]
    while waiting:
        index = waiting.pop()
        operator = producers.get(index)
        if index == x or flat.is_constant(index) or any(operator is o for o in operators):
            continue
        if operator is None:
            return None
        operators.append(operator)
        waiting += [int(i) for i in operator.inputs if i >= 0]
    return [o for o in reversed(flat.operators) if any(o is other for other in operators)]


def _replace(flat: FlatModel, operators: Sequence[Any], x: int, y: int) -> None:
    """Puts what stands for the table of y in the place of the operators that compute it from x."""
    removed = _without_other_consumers(flat, operators)
    placed = []
    if flat.shape(x) != flat.shape(y):  # one of the operators was a reshape
        reshaped = flat.add_activation("reshaped", y)
        placed, x = [flat.reshape(x, reshaped)], reshaped
    placed.append(flat.operator(LOOKUP, [x], y, schema.GeluOptionsT()))
    remaining = [o for o in flat.operators if all(o is not other for other in removed[1:])]
    flat.subgraph.operators = [new for o in remaining for new in (placed if o is removed[0] else [o])]


def _without_other_consumers(flat: FlatModel, operators: Sequence[Any]) -> list[Any]:
    """Those of a function's operators whose outputs nothing else reads: of softplus and exp of one tensor the converter
    computes the exponential once."""
    removed = [operators[0]]
    outputs = set(map(int, flat.subgraph.outputs))
    for operator in operators[1:]:
        indices = {int(i) for i in operator.outputs}
        consumers = [o for o in flat.operators if not indices.isdisjoint(map(int, o.inputs))]
        if indices.isdisjoint(outputs) and all(any(o is r for r in removed) for o in consumers):
            removed.append(operator)
    return removed


def fill_lookup_tables(state: IntegerState) -> None:
    """Replaces, in place, what stands for lookup tables in the quantized file by the tables.

    Given:
        y = GELU(x), x and y int8, a function of its own in state.lookup_tables[y], in file units

    Result:
        y = GATHER(table, ADD(CAST(x), 128))
    """
    flat, tables = state.flat, state.lookup_tables
    result: list[Any] = []
    for operator in flat.operators:
        output = int(operator.outputs[0])
        if output in tables:
            result += _lookup(
                flat, int(operator.inputs[0]), output, FunctionTable.of(state, int(operator.inputs[0]), output)
            )
        else:
            result.append(operator)
    flat.subgraph.operators = result


def _lookup(flat: FlatModel, x: int, y: int, function: FunctionTable) -> Iterable[Any]:
    table = flat.add_constant(f"{flat.name(y)}/table", function.entries)
    flat.set_quantization(table, function.parameters)
    lowest = function.x.parameters.bit_width.qmin
    offset = flat.add_constant(f"{flat.name(y)}/offset", np.array(-lowest, np.int32))
    number, index = (flat.add_activation(name, y, np.int32) for name in ("number", "index"))
    types = schema.CastOptionsT(inDataType=schema.TensorType.INT8, outDataType=schema.TensorType.INT32)
    return (
        flat.operator(schema.BuiltinOperator.CAST, [x], number, types),
        flat.operator(schema.BuiltinOperator.ADD, [number, offset], index, schema.AddOptionsT()),
        flat.operator(schema.BuiltinOperator.GATHER, [table, index], y, schema.GatherOptionsT()),
    )

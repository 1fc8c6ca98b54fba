"""Elementwise functions for which the runtimes have no int8 operator -> a table of 256 values.

Softplus, mish, SELU and the like are lowered to exponentials, logarithms, comparisons and selections: float islands, or
values of which 8 bits hold too little. Of an int8 tensor every function is a table, which is exact but for the rounding
of its output: the value is cast to an index, 128 is added, and the index is looked up. Of these operators all runtimes
have integer kernels.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.distributions.values import Array
from spiq_tf.graph.layer_graph import LayerGraph, Node, Tensor
from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.lowering.correspondence import TensorProvenance

Function: TypeAlias = Callable[[Array], Array]
"""Elementwise."""

LOOKUP = schema.BuiltinOperator.GELU
"""Stands in the float file for a table: the quantizer takes it for any function of one tensor."""


def place_lookup_tables(
    flat: FlatModel, graph: LayerGraph, tensors: Mapping[int, TensorProvenance], float_outputs: Collection[int]
) -> dict[int, Function]:
    """Replaces, in place, the operators of each function that has no int8 form by one that stands for its table.

    Args:
        flat: the float file.
        graph: the model.
        tensors: which of its tensors each of the file's holds.
        kept: outputs of the operators that stay float.

    Returns:
        The functions of the values that the file holds, by the index of the tensor that they make.
    """
    tables = {}
    for node in graph.nodes:
        function, read = _of_held(graph, node, {held.name for held in tensors.values()})
        ends = None if function is None else _ends(flat, tensors, read, node.output)
        if function is None or ends is None:
            continue
        (x, before), (y, behind) = ends
        between = _between(flat, x, y)
        if between is None or y in float_outputs or all(flat.row(o).int8_elementwise for o in between):
            continue
        gone = _read_by_themselves(flat, between)
        tables[y] = _in_units(function, before, behind)
        placed = []
        if flat.shape(x) != flat.shape(y):  # a reshape that stood between
            reshaped = flat.add_activation("reshaped", y)
            placed, x = [flat.reshape(x, reshaped)], reshaped
        placed.append(flat.operator(LOOKUP, [x], y, schema.GeluOptionsT()))
        remaining = [o for o in flat.operators if all(o is not other for other in gone[1:])]
        flat.subgraph.operators = [new for o in remaining for new in (placed if o is gone[0] else [o])]
    return tables


def _of_held(graph: LayerGraph, node: Node, held: Collection[str]) -> tuple[Function | None, Tensor]:
    """A node's function of values, and the tensor that it is one of: the converter may fuse it with those in front, of
    log(x + 1) the addition bears the logarithm's name."""
    function, x = node.primitive.elementwise_function, node.inputs[0]
    while function is not None and x.name not in held and x.name in graph.producers:
        producer = graph.producers[x.name]
        function, x = _behind(function, producer.primitive.elementwise_function), producer.inputs[0]
    return function, x


def _behind(outer: Function, inner: Function | None) -> Function | None:
    return None if inner is None else lambda values: outer(inner(values))


def _ends(
    flat: FlatModel, tensors: Mapping[int, TensorProvenance], x: Tensor, y: Tensor
) -> tuple[tuple[int, float], ...] | None:
    """Indices and factors of the file's tensors that hold two of the graph's, of one shape if there are such."""
    read, made = (
        [(index, held.factor) for index, held in tensors.items() if held.name == tensor.name] for tensor in (x, y)
    )
    pairs = [(x, y) for y in made for x in read]
    return next((p for p in pairs if flat.shape(p[0][0]) == flat.shape(p[1][0])), pairs[0] if pairs else None)


def _in_units(function: Function, before: float, behind: float) -> Function:
    return lambda values: behind * function(values / before)


def _between(flat: FlatModel, x: int, y: int) -> list[Any] | None:
    """The operators that make y of x and constants alone, each behind those that read what it makes; None if it is made
    of other tensors too."""
    producers = flat.producers()
    found: list[Any] = []
    waiting = [y]
    while waiting:
        index = waiting.pop()
        operator = producers.get(index)
        if index == x or flat.is_constant(index) or any(operator is o for o in found):
            continue
        if operator is None:
            return None
        found.append(operator)
        waiting += [int(i) for i in operator.inputs if i >= 0]
    return [o for o in reversed(flat.operators) if any(o is f for f in found)]


def _read_by_themselves(flat: FlatModel, between: Sequence[Any]) -> list[Any]:
    """Those of a function's operators that nothing else reads: of softplus and exp of one tensor the converter makes
    the exponential once."""
    gone = [between[0]]
    leaving = set(map(int, flat.subgraph.outputs))
    for operator in between[1:]:
        made = {int(i) for i in operator.outputs}
        consumers = [o for o in flat.operators if not made.isdisjoint(map(int, o.inputs))]
        if made.isdisjoint(leaving) and all(any(o is g for g in gone) for o in consumers):
            gone.append(operator)
    return gone


def fill_lookup_tables(flat: FlatModel, tables: Mapping[int, Function]) -> None:
    """Replaces, in place, what stands for the tables in a quantized file by their look-up."""
    result: list[Any] = []
    for operator in flat.operators:
        output = int(operator.outputs[0])
        if output in tables:
            result += _lookup(flat, int(operator.inputs[0]), output, tables[output])
        else:
            result.append(operator)
    flat.subgraph.operators = result


def _lookup(flat: FlatModel, x: int, y: int, function: Function) -> Iterable[Any]:
    before, after = (_known(flat, index) for index in (x, y))
    integers = before.bit_width.integers
    made = function(before.dequantize(integers, np.float64))
    within = ~np.isnan(made)  # its domain; what lies beyond has the value at its end
    entries = after.quantize(np.interp(integers, integers[within], made[within]))
    table = flat.add_constant(f"{flat.name(y)}/table", entries)
    flat.set_quantization(table, after)
    offset = flat.add_constant(f"{flat.name(y)}/offset", np.array(-before.bit_width.qmin, np.int32))
    number, index = (flat.add_activation(name, y, np.int32) for name in ("number", "index"))
    types = schema.CastOptionsT(inDataType=schema.TensorType.INT8, outDataType=schema.TensorType.INT32)
    return (
        flat.operator(schema.BuiltinOperator.CAST, [x], number, types),
        flat.operator(schema.BuiltinOperator.ADD, [number, offset], index, schema.AddOptionsT()),
        flat.operator(schema.BuiltinOperator.GATHER, [table, index], y, schema.GatherOptionsT()),
    )


def _known(flat: FlatModel, index: int) -> QuantizationParameters:
    found = flat.quantization(index)
    assert found is not None, flat.name(index)  # both ends of the operator that stood here are int8
    return found

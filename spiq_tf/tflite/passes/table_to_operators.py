"""Lookup tables -> int8 operators that are as good and that XNNPACK takes.

A GATHER takes 3.3 ns a value and interrupts the delegate; one table that XNNPACK makes of a chain of elementwise
operators takes 0.1 ns, two chains and an addition 0.6 ns (x86, one thread, LiteRT 2.3). Where XNNPACK does not fuse
them (before 2026), each operator takes 0.1 ns. By LiteRT's own kernels, which the targets of this pass do not use, a
GATHER would be three times as fast.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.quantization.bit_width import INT8
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.functions.approximation import approximation
from spiq_tf.tflite.functions.function_table import FunctionTable
from spiq_tf.tflite.functions.integer_tensor import IntegerTensor, grid
from spiq_tf.tflite.state import IntegerState

_FEWEST_VALUES = 2**10
"""Of fewer a lookup takes less than 4 us."""


_OPTIONS: Mapping[str, Callable[[IntegerTensor], Any]] = {
    "ADD": lambda step: schema.AddOptionsT(),
    "MUL": lambda step: schema.MulOptionsT(),
    "LEAKY_RELU": lambda step: schema.LeakyReluOptionsT(alpha=step.constant),
}


def table_to_operators(state: IntegerState) -> None:
    """Replaces, in place, what stands for lookup tables in the quantized file by int8 operators that compute nearly the
    same.

    Given:
        y = GELU(x), x and y int8, and state.lookup_tables[y] = 1.05 max(x, 0) + 1.76 (exp(min(x, 0)) - 1), SELU

    Result:
        e = MUL(ELU(MUL(x, 1) <= 0), 1.76)
        y = ADD(MUL(x, 1.05) >= 0, e), where zero points at an end of the integers clip at 0

    Left alone where no form is good enough (see `approximation`), which `fill_lookup_tables` makes tables of.
    """
    flat = state.flat
    solved: dict[bytes, IntegerTensor | None] = {}
    result: list[Any] = []
    for operator in flat.operators:
        x, y = int(operator.inputs[0]), int(operator.outputs[0])
        form = None
        if y in state.lookup_tables and np.prod(flat.shape(y)) >= _FEWEST_VALUES:
            table = FunctionTable.of(state, x, y)
            if table.key not in solved:
                solved[table.key] = approximation(table)
            form = solved[table.key]
        if form is None:
            result.append(operator)
        else:
            del state.lookup_tables[y]
            result += _operators(flat, form, x, y)
    flat.subgraph.operators = result


def _operators(flat: FlatModel, form: IntegerTensor, x: int, y: int) -> list[Any]:
    """The operators of a form, from x to y."""
    result: list[Any] = []
    indices: dict[int, int] = {}
    for step in form.ancestors():
        if not step.kind:
            indices[id(step)] = x
            continue
        index = y if step is form else flat.add_activation(f"{step.kind.lower()}{len(result)}", y, INT8.dtype)
        flat.set_quantization(index, step.parameters)
        inputs = [indices[id(operand)] for operand in step.operands]
        if step.kind in ("ADD", "MUL") and len(inputs) == 1:
            steps = step.constant / step.scale if step.kind == "ADD" else INT8.qmax
            inputs.append(_scalar(flat, f"{flat.name(index)}/constant", step.constant, steps))
        kind, options = getattr(schema.BuiltinOperator, step.kind), _OPTIONS.get(step.kind)
        result.append(flat.operator(kind, inputs, index, options and options(step)))
        indices[id(step)] = index
    return result


def _scalar(flat: FlatModel, name: str, value: float, steps: float) -> int:
    """A constant of one value, exact but for the float32 of its scale, as about so many steps: XNNPACK leaves additions
    to others whose operands have scales far apart."""
    integer = int(np.clip(round(abs(steps)), 1, INT8.qmax))
    index = flat.add_constant(name, np.array([np.copysign(integer, value)], INT8.dtype))
    flat.set_quantization(index, grid(abs(value) / integer, 0))
    return index

"""int8 RELU, RELU6, MINIMUM and MAXIMUM with a constant -> QUANTIZE, whose output's range clips.

XNNPACK leaves all of them to kernels that take some 4 ns a value and cut the graph in two (six RELU between additions:
11 ms and seven pieces for 1.4 ms and one). It takes a QUANTIZE from int8 to int8, at 0.1 ns a value, and that does the
same wherever the output's integers reach no farther than the clamp does. The same kernels exist on ARM (an int8 clamp
and a table), so the choice does not depend on the machine.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.quantization.bit_width import INT8
from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.targets.xnnpack import RESCALING_RATIOS
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.state import IntegerState

_BOUNDS: Mapping[str, tuple[float, float]] = {
    "RELU": (0.0, np.inf),
    "RELU6": (0.0, 6.0),
    "RELU_0_TO_1": (0.0, 1.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}


def clamp_to_requantize(state: IntegerState) -> None:
    """Replaces, in place, operators that clip an int8 tensor between two numbers.

    Given:
        y = RELU(x), x and y int8

    Result:
        y = QUANTIZE(x), where the integers of y do not reach below 0; else
        c = QUANTIZE(x) with the range of what the clamp lets through; y = QUANTIZE(c)

    Left alone where y would differ, or by way of c differ by more than one, and where scales are too far apart for
    XNNPACK.
    """
    flat, result = state.flat, []
    for operator in flat.operators:
        bounds = _bounds(flat, operator)
        replacement = None if bounds is None else _requantized(flat, operator, *bounds)
        result += [operator] if replacement is None else replacement
    flat.subgraph.operators = result


def _bounds(flat: FlatModel, operator: Any) -> tuple[float, float] | None:
    """What the operator clips its one int8 tensor to; None where it does something else."""
    kind, read = flat.kind(operator), flat.activation_inputs(operator)
    if kind in _BOUNDS:
        bounds = _BOUNDS[kind]
    elif kind in ("MINIMUM", "MAXIMUM") and len(read) == 1:
        (constant,) = (int(i) for i in operator.inputs if int(i) not in read)
        parameters = flat.quantization(constant)
        values = flat.value(constant) if parameters is None else parameters.dequantize(flat.value(constant), np.float64)
        if np.ptp(values) > 0 or flat.shape(read[0]) != flat.shape(int(operator.outputs[0])):
            return None
        bounds = (-np.inf, float(values.max())) if kind == "MINIMUM" else (float(values.max()), np.inf)
    else:
        return None
    return bounds if all(flat.dtype(i) == INT8.dtype for i in (read[0], int(operator.outputs[0]))) else None


def _requantized(flat: FlatModel, operator: Any, low: float, high: float) -> list[Any] | None:
    """One or two QUANTIZE in place of a clamp; None where they would compute something else."""
    (x,), y = flat.activation_inputs(operator), int(operator.outputs[0])
    before, after = flat.quantization(x), flat.quantization(y)
    if before is None or after is None:
        return None
    values = before.dequantize(INT8.integers, np.float64)
    expected = after.quantize(np.clip(values, low, high)).astype(np.int64)
    if _taken(before, after) and np.array_equal(after.quantize(values), expected):
        return [_quantize(flat, x, y)]
    clipped = QuantizationParameters.from_range(max(low, before.low), min(high, before.high), INT8)
    found = after.quantize(clipped.dequantize(clipped.quantize(values), np.float64))
    if not (_taken(before, clipped) and _taken(clipped, after)) or np.abs(found - expected).max() > 1:
        return None
    between = flat.add_quantized_activation("clipped", y, clipped)
    return [_quantize(flat, x, between), _quantize(flat, between, y)]


def _taken(before: QuantizationParameters, after: QuantizationParameters) -> bool:
    return before.scale / after.scale in RESCALING_RATIOS


def _quantize(flat: FlatModel, x: int, y: int) -> Any:
    return flat.operator(schema.BuiltinOperator.QUANTIZE, [x], y, schema.QuantizeOptionsT())

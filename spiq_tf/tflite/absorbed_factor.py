"""A factor of an int8 tensor, absorbed into the scales of what reads it: no integer of the file changes.

A tensor that holds f times its values has f times its scale and the same integers. Weights that meet it are divided by
f, which is their scales alone; what passes values on, or multiplies them, passes the factor on.
"""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from spiq_tf.quantization.bit_width import INT8
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.operators.operator import Scales
from spiq_tf.tflite.provenance import TensorProvenance
from spiq_tf.tflite.state import IntegerState


def absorb_factor(state: IntegerState, tensor: int, factor: float) -> bool:
    """Makes a tensor hold a multiple of its values, in place, and takes that back in the weights that read it.

    Args:
        state: the quantized file; the operator that computes the tensor is the caller's to change.
        tensor: its index.
        factor: above 0.

    Returns:
        Whether that was done: everything that the factor reaches ends in weights. Else nothing is changed.
    """
    flat = state.flat
    factors = {tensor: factor}
    absorbing: list[tuple[Any, float]] = []
    for operator in flat.operators:
        read = [int(i) for i in operator.inputs if int(i) in factors]
        if not read:
            continue
        if flat.weights(operator) is not None and flat.data(operator) in factors:
            absorbing.append((operator, factors[flat.data(operator)]))
        elif (passed := _passed_on(flat, operator, factors)) is not None:
            factors[int(operator.outputs[0])] = passed
        else:
            return False
    outputs = set(map(int, flat.subgraph.outputs))
    if not absorbing or outputs & factors.keys() or any(flat.dtype(i) != INT8.dtype for i in factors):
        return False
    for index, by in factors.items():
        _scale(flat, index, by)
        state.multiples[index] = by * state.multiples.get(index, 1.0)
        if index in state.provenance:
            origin = state.provenance[index]
            state.provenance[index] = TensorProvenance(origin.name, origin.factor * by)
    for operator, by in absorbing:
        _divide_weights(flat, operator, by)
    return True


def _passed_on(flat: FlatModel, operator: Any, factors: Mapping[int, float]) -> float | None:
    """The factor of an operator's output; None where it is no product of those of what it reads."""
    read = flat.activation_inputs(operator)
    unfused = not getattr(operator.builtinOptions, "fusedActivationFunction", 0)
    if flat.kind(operator) == "MUL" and unfused:
        return float(np.prod([factors.get(int(i), 1.0) for i in operator.inputs]))
    homogeneous = flat.row(operator).scales is Scales.SAME or flat.kind(operator) in ("MEAN", "SUM")
    if homogeneous and unfused and len(read) == 1 and len(operator.outputs) == 1 and _reads_no_numbers(flat, operator):
        return factors[read[0]]
    return None


def _reads_no_numbers(flat: FlatModel, operator: Any) -> bool:
    """Whether constants are axes and shapes alone, rather than int8 numbers beside the tensor."""
    return all(flat.dtype(int(i)) != INT8.dtype for i in operator.inputs if i >= 0 and flat.is_constant(int(i)))


def _scale(flat: FlatModel, index: int, factor: float) -> None:
    quantization = copy.copy(flat.tensor(index).quantization)
    quantization.scale = np.asarray(quantization.scale, np.float32) * np.float32(factor)
    flat.tensor(index).quantization = quantization


def _divide_weights(flat: FlatModel, operator: Any, factor: float) -> None:
    """Gives the operator weights of its own, of the same integers."""
    operand = flat.row(operator).weights_operand
    assert operand is not None, flat.kind(operator)
    index = flat.add_tensor(copy.copy(flat.tensor(int(operator.inputs[operand]))))
    _scale(flat, index, 1 / factor)
    operator.inputs = np.array(operator.inputs, np.int32)
    operator.inputs[operand] = index

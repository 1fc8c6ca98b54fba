"""Keeps the ratios of scales within what the runtimes' fixed-point multipliers can hold.

XNNPACK refuses to start where a convolution's input x weight / output scale is 256 or more, and leaves an
addition or multiplication to slower kernels outside its own limits. A dead channel (weights of any size behind a
variance of zero) gets there easily.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.targets.target import RequantizationLimits
from spiq_tf.tflite.flatbuffer import WEIGHTED_OPERATORS, FlatModel
from spiq_tf.tflite.weights.rounding import BIAS_LIMIT, LIMIT

# room for rounding, inside the target's limits
_OF_LARGEST = 250 / 256
_OF_SMALLEST_ADDEND = 1.1
_OF_SMALLEST_HARD_SWISH = 1.01
_ROUNDS = 8  # widening one tensor can ask for another; a chain of so many is not met


def widened_to_requantization_limits(
    flat: FlatModel,
    intervals: Mapping[int, TensorRange],
    groups: DisjointSet,
    fixed: Collection[int],
    limits: RequantizationLimits,
) -> dict[int, TensorRange]:
    """The intervals, those of too fine a scale widened together with their groups.

    Args:
        flat: the float file.
        intervals: of the activations, by tensor index.
        groups: tensors that share a scale.
        fixed: tensors that have the scales that operators give them, whatever stands here.
        limits: the target's.
    """
    result = dict(intervals)
    for _ in range(_ROUNDS):
        changed = False
        for operator in flat.operators:
            for index, scale in _least_scales(flat, operator, result, limits):
                if result[index].scale < scale and index not in fixed:
                    wide = result[index].widened_to(scale * (1 + 1e-6))
                    result |= dict.fromkeys(groups.subset(index), wide)
                    changed = True
        if not changed:
            break
    return result


def _least_scales(
    flat: FlatModel, operator: Any, known: Mapping[int, TensorRange], limits: RequantizationLimits
) -> Iterator[tuple[int, float]]:
    """Tensors of an operator with the smallest scale that each may have."""
    kind, output = flat.kind(operator), int(operator.outputs[0])
    inputs = [int(i) for i in operator.inputs if int(i) in known]
    largest = _OF_LARGEST * limits.largest
    if output not in known:
        return
    if kind in WEIGHTED_OPERATORS and flat.is_constant(int(operator.inputs[1])):
        weight = float(np.abs(flat.value(int(operator.inputs[1]))).max()) / LIMIT
        yield output, known[inputs[0]].scale * weight / largest
        yield output, _largest_bias(flat, operator) / BIAS_LIMIT / largest
    elif kind in ("ADD", "SUB"):
        for index in inputs:
            yield index, known[output].scale * (_OF_SMALLEST_ADDEND * limits.smallest_addend)
        yield output, max(_operands(flat, operator, known)) / largest
    elif kind == "MUL":
        yield output, math.prod(_operands(flat, operator, known)) / largest
    elif kind == "HARD_SWISH":
        yield output, known[inputs[0]].scale * (_OF_SMALLEST_HARD_SWISH * limits.smallest_hard_swish)


def _largest_bias(flat: FlatModel, operator: Any) -> float:
    """Which the scale of the weights must be able to hold, however small they are themselves."""
    place = flat.bias_operand(operator)
    bias = int(operator.inputs[place]) if len(operator.inputs) > place else -1
    return float(np.abs(flat.value(bias)).max()) if bias >= 0 and flat.is_constant(bias) else 0.0


def _operands(flat: FlatModel, operator: Any, known: Mapping[int, TensorRange]) -> list[float]:
    """The scales of what an operator reads, constants among them."""
    indices = [int(i) for i in operator.inputs]
    return [float(np.abs(flat.value(i)).max()) / LIMIT if flat.is_constant(i) else known[i].scale for i in indices]

"""Keeps the ratios of scales within what the runtimes' fixed-point multipliers can hold.

XNNPACK refuses to start where a convolution's input x weight / output scale is 256 or more, and leaves an
addition or multiplication to slower kernels outside its own limits. A dead channel (weights of any size after a
variance of zero) gets there easily.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from spiq_tf.quantization.bit_width import INT8_WEIGHT
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.targets.target import RequantizationLimits
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.weights.kernel_rounding import BIAS_LIMIT

# room for rounding, inside the target's limits
_OF_LARGEST = 0.9765625
_OF_SMALLEST_ADDEND = 1.1
_OF_SMALLEST_HARD_SWISH = 1.01
_ROUNDS = 8  # widening one tensor can ask for another; a chain of so many is not met


def widened_to_requantization_limits(
    flat: FlatModel,
    tensor_ranges: Mapping[int, TensorRange],
    groups: DisjointSet,
    fixed: Collection[int],
    limits: RequantizationLimits,
) -> dict[int, TensorRange]:
    """The tensor ranges, those of too fine a scale widened together with their groups.

    Args:
        flat: the float file.
        tensor_ranges: of the activations, by tensor index, in file units.
        groups: tensors that share a scale.
        fixed: tensors whose scales operators fix, whatever stands here.
        limits: the target's.
    """
    result = dict(tensor_ranges)
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
    flat: FlatModel, operator: Any, tensor_ranges: Mapping[int, TensorRange], limits: RequantizationLimits
) -> Iterator[tuple[int, float]]:
    """Tensors of an operator with the smallest scale that each may have, in file units."""
    kind, output = flat.kind(operator), int(operator.outputs[0])
    inputs = [int(i) for i in operator.inputs if int(i) in tensor_ranges]
    largest = _OF_LARGEST * limits.largest
    if output not in tensor_ranges:
        return
    weights = flat.weights(operator)
    if weights is not None:
        yield output, tensor_ranges[inputs[0]].scale * _constant_scale(flat, weights) / largest
        # the scale of the weights must be able to hold the bias, however small they are themselves
        yield output, _largest_bias(flat, operator) / BIAS_LIMIT / largest
    elif kind in ("ADD", "SUB"):
        for index in inputs:
            yield index, tensor_ranges[output].scale * (_OF_SMALLEST_ADDEND * limits.smallest_addend)
        yield output, max(_operand_scales(flat, operator, tensor_ranges)) / largest
    elif kind == "MUL":
        yield output, math.prod(_operand_scales(flat, operator, tensor_ranges)) / largest
    elif kind == "HARD_SWISH":
        yield output, tensor_ranges[inputs[0]].scale * (_OF_SMALLEST_HARD_SWISH * limits.smallest_hard_swish)


def _largest_bias(flat: FlatModel, operator: Any) -> float:
    """Magnitude of the largest bias; 0 where it is none or computed."""
    bias = flat.bias(operator)
    return 0.0 if bias is None or not flat.is_constant(bias) else float(np.abs(flat.value(bias)).max())


def _operand_scales(flat: FlatModel, operator: Any, tensor_ranges: Mapping[int, TensorRange]) -> list[float]:
    """The scales of an operator's operands, constants among them."""
    indices = [int(i) for i in operator.inputs]
    return [_constant_scale(flat, i) if flat.is_constant(i) else tensor_ranges[i].scale for i in indices]


def _constant_scale(flat: FlatModel, index: int) -> float:
    """The scale of a symmetric constant with one scale."""
    return float(np.abs(flat.value(index)).max()) / INT8_WEIGHT.qmax

"""Operators of two tensors, and reductions and pools of one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from spiq_tf.tflite.operators import delegate_conditions as conditions
from spiq_tf.tflite.operators import range_rules as rules
from spiq_tf.tflite.operators.delegate_support import EVERY_RANK, FLOATS, INTEGERS, DelegateSupport
from spiq_tf.tflite.operators.operator import SAMPLED, Operator, Quantizer, Scales, int8, no_ceiling

_SAME = Scales.SAME
_LITERT, _OURS = Quantizer.LITERT_QUANTIZER, Quantizer.COMPLETE_INT8


_SUM = DelegateSupport(
    inputs=(2, 2),
    ranks=EVERY_RANK,
    conditions=(conditions.same_type, conditions.addends, conditions.fused_activation),
)
_FLOATS_COMPARED = DelegateSupport(types=FLOATS, inputs=(2, 2), ranks=EVERY_RANK)
_REDUCTION = DelegateSupport(inputs=(2, 2), parameters=(1,), conditions=(conditions.reduced_axes,))
_POOL = (conditions.overlapping_windows, conditions.fused_activation)


def _largest_constant(constants: Sequence[npt.NDArray[Any]]) -> float:
    return float(constants[0].max()) if constants else no_ceiling(constants)


ARITHMETIC: Mapping[str, Operator] = {
    "ADD": Operator(range_rule=rules.total, quantizer=_LITERT, versions=int8(2), int8_elementwise=True, xnnpack=_SUM),
    "ADD_N": Operator(range_rule=SAMPLED),
    "ARG_MAX": Operator(range_rule=SAMPLED, versions=int8(2)),
    "ARG_MIN": Operator(range_rule=SAMPLED, versions=int8(2)),
    "AVERAGE_POOL_2D": Operator(
        scales=_SAME,
        range_rule=rules.same,
        quantizer=_LITERT,
        versions=int8(2),
        xnnpack=DelegateSupport(types=FLOATS, conditions=_POOL),
    ),
    "CUMSUM": Operator(range_rule=SAMPLED),
    # no version: LiteRT's int8 kernel does not regard the scales. litert-quantizer would write it all the same
    "DIV": Operator(
        range_rule=SAMPLED,
        xnnpack=DelegateSupport(
            types=FLOATS, inputs=(2, 2), ranks=EVERY_RANK, conditions=(conditions.fused_activation,)
        ),
    ),
    "FLOOR_DIV": Operator(range_rule=SAMPLED),
    "FLOOR_MOD": Operator(range_rule=SAMPLED),
    "L2_POOL_2D": Operator(range_rule=SAMPLED),
    "MAXIMUM": Operator(
        scales=_SAME,
        range_rule=rules.maximum,
        quantizer=_LITERT,
        versions=int8(2),
        special_version=lambda use: 3 * use.broadcasts_five_axes,
        int8_elementwise=True,
        xnnpack=_FLOATS_COMPARED,
    ),
    "MAX_POOL_2D": Operator(
        scales=_SAME,
        range_rule=rules.same,
        quantizer=_LITERT,
        versions=int8(2),
        xnnpack=DelegateSupport(types=("FLOAT32", *INTEGERS), conditions=_POOL),
    ),
    "MEAN": Operator(range_rule=rules.whole, quantizer=_LITERT, versions=int8(2), xnnpack=_REDUCTION),
    "MINIMUM": Operator(
        scales=_SAME,
        range_rule=rules.minimum,
        input_ceiling=_largest_constant,
        quantizer=_OURS,
        versions=int8(2),
        special_version=lambda use: 3 * use.broadcasts_five_axes,
        int8_elementwise=True,
        xnnpack=_FLOATS_COMPARED,
    ),
    "MUL": Operator(
        range_rule=rules.product,
        quantizer=_LITERT,
        versions=int8(2),
        special_version=lambda use: 3 * use.enlarges,
        int8_elementwise=True,
        xnnpack=DelegateSupport(
            inputs=(2, 2),
            ranks=EVERY_RANK,
            conditions=(conditions.same_type, conditions.product, conditions.fused_activation),
        ),
    ),
    "POW": Operator(range_rule=SAMPLED),
    "REDUCE_MAX": Operator(scales=_SAME, range_rule=rules.whole, quantizer=_OURS, versions=int8(2), xnnpack=_REDUCTION),
    "REDUCE_MIN": Operator(
        scales=_SAME, range_rule=rules.whole, quantizer=_LITERT, versions=int8(2), xnnpack=_REDUCTION
    ),
    "SQUARED_DIFFERENCE": Operator(range_rule=SAMPLED, quantizer=_LITERT, versions=int8(2), xnnpack=_FLOATS_COMPARED),
    "SUB": Operator(
        range_rule=rules.difference,
        quantizer=_LITERT,
        versions=int8(2),
        special_version=lambda use: 3 * use.broadcasts_five_axes,
        int8_elementwise=True,
        xnnpack=_SUM,
    ),
    "SUM": Operator(range_rule=SAMPLED, quantizer=_LITERT, versions=int8(2), xnnpack=_REDUCTION),
    "EQUAL": Operator(range_rule=SAMPLED, quantizer=_LITERT, versions=int8(2)),
    "GREATER": Operator(range_rule=SAMPLED, versions=int8(2)),
    "GREATER_EQUAL": Operator(range_rule=SAMPLED, versions=int8(2)),
    "LESS": Operator(range_rule=SAMPLED, versions=int8(2)),
    "LESS_EQUAL": Operator(range_rule=SAMPLED, versions=int8(2)),
    "NOT_EQUAL": Operator(range_rule=SAMPLED, quantizer=_LITERT, versions=int8(2)),
    "LOGICAL_AND": Operator(range_rule=SAMPLED),
    "LOGICAL_NOT": Operator(range_rule=SAMPLED),
    "LOGICAL_OR": Operator(range_rule=SAMPLED),
}

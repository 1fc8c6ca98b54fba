"""All that is known of operators: one row each."""

from collections.abc import Mapping

from spiq_tf.tflite.operators.arithmetic import ARITHMETIC
from spiq_tf.tflite.operators.data_movement import DATA_MOVEMENT
from spiq_tf.tflite.operators.elementwise import CONVERSIONS, ELEMENTWISE
from spiq_tf.tflite.operators.linear import LINEAR
from spiq_tf.tflite.operators.operator import SAMPLED, Operator

OPERATORS: Mapping[str, Operator] = {**LINEAR, **ELEMENTWISE, **ARITHMETIC, **DATA_MOVEMENT, **CONVERSIONS}
"""By name in the schema."""

WEIGHTED_OPERATORS = tuple(kind for kind, row in OPERATORS.items() if row.weights_operand is not None)
"""Operators with weights."""

UNKNOWN = Operator(range_rule=SAMPLED)
"""The row of operators that are not in the table: no scales are shared, nothing is known."""


def operator_row(kind: str) -> Operator:
    """The row of an operator by its name in the schema; `UNKNOWN` where there is none."""
    return OPERATORS.get(kind, UNKNOWN)

"""Functions of the values of one tensor, normalizations, and conversions."""

from collections.abc import Mapping

import numpy as np

from spiq_tf.distributions.values import Array
from spiq_tf.quantization.bit_width import INT8
from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.tflite.operators import delegate_conditions as conditions
from spiq_tf.tflite.operators import range_rules as rules
from spiq_tf.tflite.operators.delegate_support import (
    EVERY_RANK,
    FLOAT_FUNCTION,
    FLOATS,
    INTEGERS,
    DelegateSupport,
)
from spiq_tf.tflite.operators.operator import SAMPLED, Operator, Quantizer, Scales, int8

_FIXED = Scales.FIXED
_LITERT, _OURS = Quantizer.LITERT_QUANTIZER, Quantizer.COMPLETE_INT8

_ALL_INTEGERS = INT8.levels + 1
_ZERO_TO_ONE = {INT8: QuantizationParameters(1 / _ALL_INTEGERS, INT8.qmin, INT8)}
_MINUS_ONE_TO_ONE = {INT8: QuantizationParameters(2 / _ALL_INTEGERS, 0, INT8)}
_MINUS_SIXTEEN_TO_ZERO = {INT8: QuantizationParameters(16 / _ALL_INTEGERS, INT8.qmax, INT8)}


def _elu(values: Array) -> Array:
    return np.where(values > 0, values, np.expm1(np.minimum(values, 0.0)))


ELEMENTWISE: Mapping[str, Operator] = {
    "ABS": Operator(range_rule=SAMPLED, versions=int8(2), xnnpack=FLOAT_FUNCTION),
    "CEIL": Operator(range_rule=SAMPLED, xnnpack=FLOAT_FUNCTION),
    "COS": Operator(range_rule=SAMPLED, xnnpack=FLOAT_FUNCTION),
    "ELU": Operator(
        range_rule=rules.monotonic(_elu),
        quantizer=_OURS,
        versions=int8(1),
        int8_elementwise=True,
        xnnpack=DelegateSupport(types=(*FLOATS, "INT8"), ranks=EVERY_RANK),
    ),
    "EXP": Operator(range_rule=SAMPLED, versions=int8(2), xnnpack=FLOAT_FUNCTION),
    "FLOOR": Operator(range_rule=SAMPLED, xnnpack=FLOAT_FUNCTION),
    # no rule: it stands for any function of one tensor while a lookup table has its place (elementwise_to_lut.py)
    "GELU": Operator(
        range_rule=SAMPLED, quantizer=_LITERT, versions=int8(2), int8_elementwise=True, xnnpack=FLOAT_FUNCTION
    ),
    "HARD_SWISH": Operator(
        range_rule=SAMPLED, quantizer=_LITERT, versions=int8(1), int8_elementwise=True, xnnpack=FLOAT_FUNCTION
    ),
    "L2_NORMALIZATION": Operator(
        scales=_FIXED,
        fixed_output=_MINUS_ONE_TO_ONE,
        range_rule=rules.between(-1.0, 1.0),
        quantizer=_OURS,
        versions=int8(2),
    ),
    "LEAKY_RELU": Operator(
        range_rule=rules.leaky_relu,
        quantizer=_OURS,
        versions=int8(1),
        int8_elementwise=True,
        xnnpack=DelegateSupport(ranks=EVERY_RANK, conditions=(conditions.leaky_slope,)),
    ),
    "LOG": Operator(range_rule=SAMPLED, versions=int8(2), xnnpack=FLOAT_FUNCTION),
    "LOGISTIC": Operator(
        scales=_FIXED,
        fixed_output=_ZERO_TO_ONE,
        range_rule=rules.between(0.0, 1.0),
        quantizer=_LITERT,
        versions=int8(2),
        int8_elementwise=True,
        xnnpack=DelegateSupport(ranks=EVERY_RANK),
    ),
    # what lies below is rounded to the lowest integer
    "LOG_SOFTMAX": Operator(
        scales=_FIXED,
        fixed_output=_MINUS_SIXTEEN_TO_ZERO,
        range_rule=rules.between(-16.0, 0.0),
        quantizer=_OURS,
        versions=int8(2),
    ),
    "NEG": Operator(range_rule=SAMPLED, xnnpack=FLOAT_FUNCTION),
    "PRELU": Operator(
        range_rule=rules.prelu,
        quantizer=_OURS,
        versions=int8(1),
        xnnpack=DelegateSupport(
            types=FLOATS, inputs=(2, 2), weights=(1,), ranks=EVERY_RANK, conditions=(conditions.float_slopes,)
        ),
    ),
    "RELU": Operator(
        range_rule=rules.monotonic(lambda v: np.maximum(v, 0.0)),
        quantizer=_LITERT,
        versions=int8(2),
        int8_elementwise=True,
        xnnpack=FLOAT_FUNCTION,
    ),
    "RELU6": Operator(
        range_rule=rules.monotonic(lambda v: np.clip(v, 0.0, 6.0)),
        input_ceiling=lambda constants: 6.0,
        quantizer=_OURS,
        versions=int8(2),
        int8_elementwise=True,
        xnnpack=FLOAT_FUNCTION,
    ),
    "RELU_0_TO_1": Operator(
        range_rule=rules.monotonic(lambda v: np.clip(v, 0.0, 1.0)),
        input_ceiling=lambda constants: 1.0,
        quantizer=_OURS,
        versions=int8(1),
        int8_elementwise=True,
    ),
    "RELU_N1_TO_1": Operator(
        range_rule=rules.monotonic(lambda v: np.clip(v, -1.0, 1.0)),
        input_ceiling=lambda constants: 1.0,
        versions=int8(1),
        int8_elementwise=True,
        xnnpack=FLOAT_FUNCTION,
    ),
    "ROUND": Operator(range_rule=SAMPLED, xnnpack=FLOAT_FUNCTION),
    "RSQRT": Operator(range_rule=SAMPLED, quantizer=_LITERT, versions=int8(2), xnnpack=FLOAT_FUNCTION),
    "SIN": Operator(range_rule=SAMPLED, xnnpack=FLOAT_FUNCTION),
    "SOFTMAX": Operator(
        scales=_FIXED,
        fixed_output=_ZERO_TO_ONE,
        range_rule=rules.between(0.0, 1.0),
        quantizer=_LITERT,
        versions=int8(2),
        xnnpack=DelegateSupport(types=FLOATS, conditions=(conditions.unit_beta,)),
    ),
    # litert-quantizer would write it; which runtimes have the kernel is not known
    "SQRT": Operator(range_rule=SAMPLED, quantizer=_LITERT, xnnpack=FLOAT_FUNCTION),
    "SQUARE": Operator(range_rule=SAMPLED, xnnpack=FLOAT_FUNCTION),
    "TANH": Operator(
        scales=_FIXED,
        fixed_output=_MINUS_ONE_TO_ONE,
        range_rule=rules.between(-1.0, 1.0),
        quantizer=_LITERT,
        versions=int8(2),
        int8_elementwise=True,
        xnnpack=DelegateSupport(ranks=EVERY_RANK),
    ),
}

CONVERSIONS: Mapping[str, Operator] = {
    "BROADCAST_ARGS": Operator(range_rule=SAMPLED),
    "CAST": Operator(range_rule=SAMPLED, versions=int8(3)),
    "DEQUANTIZE": Operator(
        range_rule=SAMPLED,
        versions=int8(2),
        xnnpack=DelegateSupport(types=INTEGERS, output_types=FLOATS, ranks=EVERY_RANK),
    ),
    "FILL": Operator(range_rule=SAMPLED),
    "QUANTIZE": Operator(
        range_rule=SAMPLED,
        versions=int8(1),
        xnnpack=DelegateSupport(ranks=EVERY_RANK, conditions=(conditions.requantization,)),
    ),
    "SHAPE": Operator(range_rule=SAMPLED),
    "ZEROS_LIKE": Operator(range_rule=SAMPLED),
}

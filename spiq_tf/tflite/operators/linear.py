"""Operators with weights, and products of matrices."""

from collections.abc import Mapping

from spiq_tf.tflite.operators.operator import SAMPLED, Operator, Quantizer, int8
from spiq_tf.tflite.operators.use import OperatorUse
from spiq_tf.tflite.operators.weight_layouts import Convolution, Dense, Depthwise, Transposed

_LITERT = Quantizer.LITERT_QUANTIZER


def _dense_version(use: OperatorUse) -> int:
    return 6 if use.listed == 2 else 5 * use.has("keepNumDims")


def _transposed_version(use: OperatorUse) -> int:
    return 4 if use.has("fusedActivationFunction") else len(use.shapes) - 1


LINEAR: Mapping[str, Operator] = {
    "BATCH_MATMUL": Operator(range_rule=SAMPLED, quantizer=_LITERT, versions=int8(2), tensorwise_constant=True),
    "CONV_2D": Operator(
        range_rule=SAMPLED,
        quantizer=_LITERT,
        versions=int8(3),
        special_version=lambda use: 6 * use.is_grouped,
        weights_operand=1,
        bias_operand=2,
        quantized_dimension=0,
        layout=Convolution(),
    ),
    # of one tap it is factor x + offset, for which ranges/interval_arithmetic.py has a rule
    "DEPTHWISE_CONV_2D": Operator(
        range_rule=SAMPLED,
        quantizer=_LITERT,
        versions=int8(3),
        weights_operand=1,
        bias_operand=2,
        quantized_dimension=3,
        layout=Depthwise(),
        int8_elementwise=True,
    ),
    "FULLY_CONNECTED": Operator(
        range_rule=SAMPLED,
        quantizer=_LITERT,
        versions=int8(4),
        special_version=_dense_version,
        weights_operand=1,
        bias_operand=2,
        quantized_dimension=0,
        optional_channel_scales=True,
        layout=Dense(),
    ),
    "TRANSPOSE_CONV": Operator(
        range_rule=SAMPLED,
        quantizer=_LITERT,
        versions=int8(1),
        special_version=_transposed_version,
        data_operand=2,
        weights_operand=1,
        bias_operand=3,
        quantized_dimension=0,
        layout=Transposed(),
    ),
}

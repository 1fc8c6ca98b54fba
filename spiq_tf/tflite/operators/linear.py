"""Operators with weights, and products of matrices."""

from collections.abc import Mapping

from spiq_tf.tflite.operators import delegate_conditions as conditions
from spiq_tf.tflite.operators.delegate_support import FOUR_AXES, FROM_TWO_AXES, INTEGERS, DelegateSupport
from spiq_tf.tflite.operators.operator import SAMPLED, Operator, Quantizer, int8
from spiq_tf.tflite.operators.use import OperatorUse
from spiq_tf.tflite.operators.weight_layouts import Convolution, Dense, Depthwise, Transposed

_LITERT = Quantizer.LITERT_QUANTIZER


def _dense_version(use: OperatorUse) -> int:
    return 6 if len(use.operands) == 2 else 5 * use.has("keepNumDims")


def _transposed_version(use: OperatorUse) -> int:
    return 4 if use.has("fusedActivationFunction") else len(use.shapes) - 1


LINEAR: Mapping[str, Operator] = {
    "BATCH_MATMUL": Operator(
        range_rule=SAMPLED,
        quantizer=_LITERT,
        versions=int8(2),
        tensorwise_constant=True,
        xnnpack=DelegateSupport(
            inputs=(2, 2), special=(1,), ranks=FROM_TWO_AXES, conditions=(conditions.matrix_operands,)
        ),
    ),
    "CONV_2D": Operator(
        range_rule=SAMPLED,
        quantizer=_LITERT,
        versions=int8(3),
        special_version=lambda use: 6 * use.is_grouped,
        weights_operand=1,
        bias_operand=2,
        quantized_dimension=0,
        layout=Convolution(),
        xnnpack=DelegateSupport(
            inputs=(3, 3),
            weights=(1, 2),
            ranks=FOUR_AXES,
            output_ranks=FOUR_AXES,
            conditions=(
                conditions.positive_strides,
                conditions.convolution_weights(axis=0, on_floats=True),
                conditions.vector_bias(2),
                conditions.fused_activation,
            ),
        ),
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
        xnnpack=DelegateSupport(
            inputs=(3, 3),
            weights=(1, 2),
            ranks=FOUR_AXES,
            output_ranks=FOUR_AXES,
            conditions=(
                conditions.convolution_weights(axis=3, on_floats=False),
                conditions.vector_bias(2),
                conditions.positive_strides,
                conditions.whole_depth_multiplier,
                conditions.fused_activation,
            ),
        ),
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
        xnnpack=DelegateSupport(
            inputs=(2, 3),
            weights=(1, 2),
            conditions=(
                conditions.not_sparse,
                conditions.dense_weights,
                conditions.dense_bias,
                conditions.fused_activation,
            ),
        ),
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
        xnnpack=DelegateSupport(
            types=("FLOAT32", *INTEGERS),
            inputs=(3, 4),
            parameters=(0,),
            weights=(1, 3),
            ranks=FOUR_AXES,
            output_ranks=FOUR_AXES,
            conditions=(
                conditions.convolution_weights(axis=0, on_floats=True, data=2),
                conditions.vector_bias(3),
                conditions.transposed_padding,
                conditions.fused_activation,
            ),
        ),
    ),
}

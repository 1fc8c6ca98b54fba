"""Operators that move, repeat or select values."""

from collections.abc import Mapping

from spiq_tf.tflite.operators import delegate_conditions as conditions
from spiq_tf.tflite.operators import range_rules as rules
from spiq_tf.tflite.operators.delegate_support import (
    EVERY_RANK,
    FOUR_AXES,
    FROM_ONE_AXIS,
    INTEGERS,
    DelegateSupport,
)
from spiq_tf.tflite.operators.operator import SAMPLED, Operator, Quantizer, Scales, int8

_SAME = Scales.SAME
_LITERT, _OURS = Quantizer.LITERT_QUANTIZER, Quantizer.COMPLETE_INT8

DATA_MOVEMENT: Mapping[str, Operator] = {
    "BATCH_TO_SPACE_ND": Operator(
        scales=_SAME,
        range_rule=rules.same,
        quantizer=_OURS,
        versions=int8(2),
        special_version=lambda use: 3 * (use.rank != 4),
    ),
    "BROADCAST_TO": Operator(scales=_SAME, range_rule=rules.whole, quantizer=_LITERT, versions=int8(3)),
    "CONCATENATION": Operator(
        scales=_SAME,
        range_rule=rules.hull,
        quantizer=_LITERT,
        versions=int8(2),
        xnnpack=DelegateSupport(inputs=(2, 5), conditions=(conditions.existing_axis,)),
    ),
    "DEPTH_TO_SPACE": Operator(
        scales=_SAME,
        range_rule=rules.whole,
        quantizer=_OURS,
        versions=int8(2),
        xnnpack=DelegateSupport(conditions=(conditions.blocks,)),
    ),
    # stays float where nothing makes it int8: the converter writes RESHAPE
    "EXPAND_DIMS": Operator(scales=_SAME, range_rule=rules.whole, versions=int8(1)),
    "GATHER": Operator(
        scales=_SAME,
        range_rule=rules.whole,
        quantizer=_LITERT,
        versions=int8(2),
        special_version=lambda use: 5 * use.has("batchDims"),
    ),
    "GATHER_ND": Operator(scales=_SAME, range_rule=rules.whole, quantizer=_LITERT, versions=int8(1)),
    "MIRROR_PAD": Operator(scales=_SAME, range_rule=rules.whole, quantizer=_LITERT, versions=int8(2)),
    "PACK": Operator(scales=_SAME, range_rule=rules.hull, quantizer=_LITERT, versions=int8(2)),
    "PAD": Operator(
        scales=_SAME,
        range_rule=rules.with_zero,
        quantizer=_LITERT,
        versions=int8(2),
        special_version=lambda use: 4 * (use.rank > 4),
        xnnpack=DelegateSupport(
            inputs=(2, 2),
            parameters=(1,),
            ranks=FROM_ONE_AXIS,
            output_ranks=FROM_ONE_AXIS,
            conditions=(conditions.paddings,),
        ),
    ),
    "PADV2": Operator(
        scales=_SAME,
        range_rule=rules.padded,
        quantizer=_LITERT,
        versions=int8(2),
        special_version=lambda use: 4 * (use.rank > 4),
    ),
    "RESHAPE": Operator(
        scales=_SAME,
        range_rule=rules.whole,
        quantizer=_LITERT,
        versions=int8(1),
        int8_elementwise=True,
        xnnpack=DelegateSupport(
            inputs=(1, 2),
            parameters=(1,),
            ranks=EVERY_RANK,
            output_ranks=EVERY_RANK,
            conditions=(conditions.kept_scale, conditions.plain_shape),
        ),
    ),
    "RESIZE_BILINEAR": Operator(
        scales=_SAME,
        range_rule=rules.same,
        quantizer=_LITERT,
        versions=int8(2),
        special_version=lambda use: 3 * use.has("halfPixelCenters"),
        xnnpack=DelegateSupport(
            types=("FLOAT32", *INTEGERS),
            inputs=(2, 2),
            parameters=(1,),
            ranks=FOUR_AXES,
            output_ranks=FOUR_AXES,
            conditions=(conditions.target_size,),
        ),
    ),
    "RESIZE_NEAREST_NEIGHBOR": Operator(
        scales=_SAME,
        range_rule=rules.same,
        quantizer=_LITERT,
        versions=int8(2),
        special_version=lambda use: 3 * (use.has("halfPixelCenters") or use.has("alignCorners")),
    ),
    "REVERSE_V2": Operator(scales=_SAME, range_rule=rules.whole, quantizer=_OURS, versions=int8(3)),
    "SELECT": Operator(range_rule=SAMPLED, quantizer=_LITERT, versions=int8(2)),
    "SELECT_V2": Operator(range_rule=SAMPLED, quantizer=_LITERT, versions=int8(1)),
    "SLICE": Operator(
        scales=_SAME,
        range_rule=rules.whole,
        quantizer=_LITERT,
        versions=int8(2),
        special_version=lambda use: 5 * (use.rank > 4),
        xnnpack=DelegateSupport(inputs=(3, 3), parameters=(1, 2), conditions=(conditions.slice_sizes,)),
    ),
    "SPACE_TO_BATCH_ND": Operator(
        scales=_SAME,
        range_rule=rules.with_zero,
        quantizer=_OURS,
        versions=int8(2),
        special_version=lambda use: 3 * (use.rank != 4),
    ),
    "SPACE_TO_DEPTH": Operator(
        scales=_SAME,
        range_rule=rules.whole,
        quantizer=_LITERT,
        versions=int8(2),
        xnnpack=DelegateSupport(types=("FLOAT32", *INTEGERS), conditions=(conditions.whole_blocks,)),
    ),
    "SPLIT": Operator(
        scales=_SAME,
        range_rule=rules.whole,
        quantizer=_LITERT,
        versions=int8(2),
        data_operand=1,
        xnnpack=DelegateSupport(inputs=(2, 2), outputs=(2, 4), parameters=(0,), conditions=(conditions.int32_axis,)),
    ),
    # becomes SLICE before it is quantized (passes/split_v_to_slice.py)
    "SPLIT_V": Operator(scales=_SAME, range_rule=rules.whole, versions=int8(2)),
    # as EXPAND_DIMS
    "SQUEEZE": Operator(scales=_SAME, range_rule=rules.whole, versions=int8(1)),
    "STRIDED_SLICE": Operator(
        scales=_SAME,
        range_rule=rules.whole,
        quantizer=_LITERT,
        versions=int8(2),
        special_version=lambda use: 6 if use.has("ellipsisMask") or use.has("newAxisMask") else 4 * (use.rank > 4),
        xnnpack=DelegateSupport(inputs=(4, 4), parameters=(1, 2, 3), conditions=(conditions.plain_slice,)),
    ),
    "TILE": Operator(scales=_SAME, range_rule=rules.whole, quantizer=_OURS, versions=int8(3)),
    "TRANSPOSE": Operator(
        scales=_SAME,
        range_rule=rules.whole,
        quantizer=_LITERT,
        versions=int8(2),
        special_version=lambda use: 4 * (use.rank > 4) + 2 * (use.rank > 5),
        xnnpack=DelegateSupport(inputs=(2, 2), parameters=(1,), ranks=FROM_ONE_AXIS),
    ),
    "UNPACK": Operator(scales=_SAME, range_rule=rules.whole, quantizer=_LITERT, versions=int8(2)),
}

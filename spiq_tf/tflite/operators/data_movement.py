"""Operators that move, repeat or select values."""

from collections.abc import Mapping

from spiq_tf.tflite.operators import range_rules as rules
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
    "CONCATENATION": Operator(scales=_SAME, range_rule=rules.hull, quantizer=_LITERT, versions=int8(2)),
    "DEPTH_TO_SPACE": Operator(scales=_SAME, range_rule=rules.whole, quantizer=_OURS, versions=int8(2)),
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
    ),
    "PADV2": Operator(
        scales=_SAME,
        range_rule=rules.padded,
        quantizer=_LITERT,
        versions=int8(2),
        special_version=lambda use: 4 * (use.rank > 4),
    ),
    "RESHAPE": Operator(
        scales=_SAME, range_rule=rules.whole, quantizer=_LITERT, versions=int8(1), int8_elementwise=True
    ),
    "RESIZE_BILINEAR": Operator(
        scales=_SAME,
        range_rule=rules.same,
        quantizer=_LITERT,
        versions=int8(2),
        special_version=lambda use: 3 * use.has("halfPixelCenters"),
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
    ),
    "SPACE_TO_BATCH_ND": Operator(
        scales=_SAME,
        range_rule=rules.with_zero,
        quantizer=_OURS,
        versions=int8(2),
        special_version=lambda use: 3 * (use.rank != 4),
    ),
    "SPACE_TO_DEPTH": Operator(scales=_SAME, range_rule=rules.whole, quantizer=_LITERT, versions=int8(2)),
    "SPLIT": Operator(scales=_SAME, range_rule=rules.whole, quantizer=_LITERT, versions=int8(2), data_operand=1),
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
    ),
    "TILE": Operator(scales=_SAME, range_rule=rules.whole, quantizer=_OURS, versions=int8(3)),
    "TRANSPOSE": Operator(
        scales=_SAME,
        range_rule=rules.whole,
        quantizer=_LITERT,
        versions=int8(2),
        special_version=lambda use: 4 * (use.rank > 4) + 2 * (use.rank > 5),
    ),
    "UNPACK": Operator(scales=_SAME, range_rule=rules.whole, quantizer=_LITERT, versions=int8(2)),
}

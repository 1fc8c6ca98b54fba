"""What the LiteRT 8-bit quantization specification fixes of operators on int8 tensors."""

from collections.abc import Mapping

SHARED_SCALE = (
    "AVERAGE_POOL_2D",
    "BATCH_TO_SPACE_ND",
    "BROADCAST_TO",
    "CONCATENATION",
    "DEPTH_TO_SPACE",
    "EXPAND_DIMS",
    "GATHER",
    "GATHER_ND",
    "MAXIMUM",
    "MAX_POOL_2D",
    "MINIMUM",
    "MIRROR_PAD",
    "PACK",
    "PAD",
    "PADV2",
    "REDUCE_MAX",
    "REDUCE_MIN",
    "RESHAPE",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "REVERSE_V2",
    "SLICE",
    "SPACE_TO_BATCH_ND",
    "SPACE_TO_DEPTH",
    "SPLIT",
    "SPLIT_V",
    "SQUEEZE",
    "STRIDED_SLICE",
    "TILE",
    "TRANSPOSE",
    "UNPACK",
)
"""Operators whose inputs and outputs have one scale and zero point."""

FIXED_OUTPUT: Mapping[str, tuple[float, int]] = {
    "L2_NORMALIZATION": (1 / 128, 0),
    "LOGISTIC": (1 / 256, -128),
    "LOG_SOFTMAX": (16 / 256, 127),
    "SOFTMAX": (1 / 256, -128),
    "TANH": (1 / 128, 0),
}
"""Operators whose output has one scale and zero point whatever its range."""

QUANTIZED_DIMENSION = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0, "FULLY_CONNECTED": 0}
"""The axis of the weights along which scales may differ."""

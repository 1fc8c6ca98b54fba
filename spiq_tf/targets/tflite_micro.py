"""TensorFlow Lite for Microcontrollers.

Operators are those that it registers (October 2026) and that a file of int8 can hold.

A PRELU is decomposed although it is registered: as one operator it costs ESPNet 1.1 dB.
"""

from spiq_tf.targets.target import Target

_OPERATORS = (
    *("ABS", "ADD", "ADD_N", "ARG_MAX", "ARG_MIN", "AVERAGE_POOL_2D", "BATCH_MATMUL", "BATCH_TO_SPACE_ND"),
    *("BROADCAST_ARGS", "BROADCAST_TO", "CAST", "CONCATENATION", "CONV_2D", "CUMSUM", "DEPTHWISE_CONV_2D"),
    *("DEPTH_TO_SPACE", "DEQUANTIZE", "ELU", "EQUAL", "EXP", "EXPAND_DIMS", "FILL", "FLOOR_DIV", "FLOOR_MOD"),
    *("FULLY_CONNECTED", "GATHER", "GATHER_ND", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "L2_NORMALIZATION"),
    *("L2_POOL_2D", "LEAKY_RELU", "LESS", "LESS_EQUAL", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "LOGISTIC"),
    *("LOG_SOFTMAX", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "NEG", "NOT_EQUAL", "PACK"),
    *("PAD", "PADV2", "PRELU", "QUANTIZE", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RESHAPE", "RESIZE_BILINEAR"),
    *("RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "RSQRT", "SELECT_V2", "SHAPE", "SLICE", "SOFTMAX", "SPACE_TO_BATCH_ND"),
    *("SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "SQUEEZE", "STRIDED_SLICE", "SUB"),
    *("SUM", "TANH", "TRANSPOSE", "TRANSPOSE_CONV", "UNPACK", "ZEROS_LIKE"),
)

TARGET = Target(
    name="tflite-micro",
    operators=dict.fromkeys(_OPERATORS),
    aligned=True,
)

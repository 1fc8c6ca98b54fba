"""Arm Ethos-U55 and U65, compiled by Vela.

Operators are those that `vela --supported-ops-report` of version 5.2 lists; Vela does not look at versions.

A PRELU is decomposed although it is listed: Vela makes several operators of it, whose constants lie off-chip. On ESPNet
one takes 245 million cycles instead of 165 on U55-128, 92.6 instead of 88.5 on U65-256, and 18.9 dB are left of 20.0.
"""

from spiq_tf.targets.target import Target

_OPERATORS = (
    *("ABS", "ADD", "ARG_MAX", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D"),
    *("ELU", "EXP", "EXPAND_DIMS", "FULLY_CONNECTED", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "MAXIMUM"),
    *("MAX_POOL_2D", "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "NEG", "PACK", "PAD", "PADV2", "PRELU", "QUANTIZE"),
    *("REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR"),
    *("RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "RSQRT", "SLICE", "SOFTMAX", "SPLIT", "SPLIT_V", "SQUARED_DIFFERENCE"),
    *("SQUEEZE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TILE", "TRANSPOSE", "TRANSPOSE_CONV", "UNPACK"),
)

TARGET = Target(
    name="ethos-u",
    operators=dict.fromkeys(_OPERATORS),
    per_channel_dense=True,
)

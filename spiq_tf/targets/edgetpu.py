"""The Edge TPU compiler, version 16.

Operators and requirements are those of "TensorFlow models on the Edge TPU" (coral.ai/docs/edgetpu/models-intro).
Versions are the highest that public issues show its compiler to parse; where none is known, that of plain int8 tensors.

A PRELU is decomposed although it is mapped: as one operator it costs ESPNet 1.1 dB.
"""

from spiq_tf.targets.target import Target

_OPERATORS = {
    "ADD": 3,
    "AVERAGE_POOL_2D": 3,
    "CONCATENATION": 3,
    "CONV_2D": 5,
    "DEPTHWISE_CONV_2D": 6,
    "EXPAND_DIMS": 1,
    "FULLY_CONNECTED": 9,
    "L2_NORMALIZATION": 2,
    "LOGISTIC": 3,
    "MAXIMUM": 2,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MINIMUM": 2,
    "MUL": 4,
    "PACK": 2,
    "PAD": 3,
    "PRELU": 1,
    "QUANTIZE": 2,
    "REDUCE_MAX": 2,
    "REDUCE_MIN": 2,
    "RELU": 3,
    "RELU6": 3,
    "RELU_N1_TO_1": 1,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 4,
    "RESIZE_NEAREST_NEIGHBOR": 4,
    "RSQRT": 2,
    "SLICE": 3,
    "SOFTMAX": 3,
    "SPACE_TO_DEPTH": 2,
    "SPLIT": 3,
    "SQUEEZE": 1,
    "STRIDED_SLICE": 5,
    "SUB": 5,
    "SUM": 2,
    "SQUARED_DIFFERENCE": 2,
    "TANH": 3,
    "TRANSPOSE": 2,
    "TRANSPOSE_CONV": 3,
}

TARGET = Target(
    name="edgetpu",
    operators=_OPERATORS,
    dynamic_batch=False,
    largest_batch=1,
    largest_rank=3,
    pools_fuse=False,
    channel_slopes=True,
)

"""The lowest version of each operator that does what the file asks of it: older runtimes and compilers take the file.

The numbers are those of TensorFlow Lite's op_version.cc.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spiq_tf.tflite.flatbuffer import FlatModel

_INT8 = {
    **dict.fromkeys(("CAST", "CONV_2D", "DEPTHWISE_CONV_2D", "REVERSE_V2", "TILE", "BROADCAST_TO"), 3),
    **dict.fromkeys(
        (
            *("ABS", "ADD", "ARG_MAX", "ARG_MIN", "AVERAGE_POOL_2D", "BATCH_MATMUL", "BATCH_TO_SPACE_ND"),
            *("CONCATENATION", "DEPTH_TO_SPACE", "DEQUANTIZE", "EQUAL", "EXP", "GATHER", "GELU", "GREATER"),
            *("GREATER_EQUAL", "L2_NORMALIZATION", "LESS", "LESS_EQUAL", "LOG", "NOT_EQUAL", "SELECT"),
            *("LOGISTIC", "LOG_SOFTMAX", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "PACK"),
            *("PAD", "PADV2", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RESIZE_BILINEAR"),
            *("RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SLICE", "SOFTMAX", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT"),
            *("SPLIT_V", "SQUARED_DIFFERENCE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TRANSPOSE", "UNPACK"),
        ),
        2,
    ),
    "FULLY_CONNECTED": 4,
}
"""Of plain uses on int8 tensors; 1 for all others."""


@dataclass(frozen=True)
class _Use:
    """An operator's inputs but for those left out, its output, its options, and how many inputs it lists."""

    flat: FlatModel
    inputs: Sequence[int]
    output: int
    options: Any
    listed: int

    def channels(self, place: int) -> int:
        return self.flat.shape(self.inputs[place])[-1]

    @property
    def rank(self) -> int:
        return len(self.flat.shape(self.inputs[0]))

    @property
    def broadcasts_five_axes(self) -> bool:
        return self.rank > 4 and len({self.flat.shape(index) for index in self.inputs}) > 1

    @property
    def enlarges(self) -> bool:
        """Of a product: whether the scales of what it reads make more than that of the output."""
        scales = [self.flat.quantization(index) for index in (*self.inputs, self.output)]
        first, second, output = (1.0 if found is None else found.scale for found in scales)
        return first * second >= output

    def has(self, option: str) -> bool:
        return bool(getattr(self.options, option, 0))


_SPECIAL: Mapping[str, Callable[[_Use], int]] = {
    "BATCH_TO_SPACE_ND": lambda use: 3 * (use.rank != 4),
    "CONV_2D": lambda use: 6 * (use.channels(0) != use.channels(1)),  # grouped
    "FULLY_CONNECTED": lambda use: 6 if use.listed == 2 else 5 * use.has("keepNumDims"),
    "GATHER": lambda use: 5 * use.has("batchDims"),
    "MAXIMUM": lambda use: 3 * use.broadcasts_five_axes,
    "MINIMUM": lambda use: 3 * use.broadcasts_five_axes,
    "MUL": lambda use: 3 * use.enlarges,
    "PAD": lambda use: 4 * (use.rank > 4),
    "PADV2": lambda use: 4 * (use.rank > 4),
    "RESIZE_BILINEAR": lambda use: 3 * use.has("halfPixelCenters"),
    "RESIZE_NEAREST_NEIGHBOR": lambda use: 3 * (use.has("halfPixelCenters") or use.has("alignCorners")),
    "SLICE": lambda use: 5 * (use.rank > 4),
    "SPACE_TO_BATCH_ND": lambda use: 3 * (use.rank != 4),
    "STRIDED_SLICE": lambda use: 6 if use.has("ellipsisMask") or use.has("newAxisMask") else 4 * (use.rank > 4),
    "SUB": lambda use: 3 * use.broadcasts_five_axes,
    "TRANSPOSE": lambda use: 4 * (use.rank > 4) + 2 * (use.rank > 5),
    "TRANSPOSE_CONV": lambda use: 4 if use.has("fusedActivationFunction") else 1 + (len(use.inputs) - 2),
}
"""The version that a special use asks for; 0 where there is nothing special, so that the plain one counts."""


def set_lowest_versions(flat: FlatModel) -> None:
    """Gives, in place, every operator on integers its lowest version, and drops the versions that none has."""
    for operator in flat.operators:
        code = flat.model.operatorCodes[operator.opcodeIndex]
        operator.opcodeIndex = flat.operator_code(code.builtinCode, lowest_version(flat, operator))
    used = sorted({operator.opcodeIndex for operator in flat.operators})
    for operator in flat.operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)
    flat.model.operatorCodes = [flat.model.operatorCodes[index] for index in used]


def lowest_version(flat: FlatModel, operator: Any) -> int:
    """The lowest version of an operator that does what it is asked; of one on floats the version that it has."""
    kind, inputs = flat.kind(operator), [int(i) for i in operator.inputs if i >= 0]
    data = flat.dtype(inputs[flat.data_operand(operator)])
    if data == np.float32 and kind != "QUANTIZE":
        return int(flat.model.operatorCodes[operator.opcodeIndex].version)
    use = _Use(flat, inputs, int(operator.outputs[0]), operator.builtinOptions, len(operator.inputs))
    plain = _INT8.get(kind, 1) if data == np.int8 else 1
    return max(plain, _SPECIAL[kind](use)) if kind in _SPECIAL else plain

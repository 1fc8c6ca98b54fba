"""What each target takes, as tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spiq_tf.errors import InvalidArgumentError


@dataclass(frozen=True)
class Target:
    """A runtime, or a compiler for an accelerator.

    Attributes:
        name: as users write it.
        operators: the operators that it maps, each with the highest version that it parses; None where every built-in
            operator runs.
        per_channel_dense: whether a fully connected operator's weights may have a scale for each output.
        largest_multiplier: what input scale x weight scale / output scale must stay below, or None.
        dynamic_batch: whether the batch may be left open in the shapes' signatures.
        largest_batch: of the model's inputs, or None.
        largest_rank: how many axes of a tensor, counted from the last, may be longer than 1, or None.
        pools_fuse: whether pools and concatenations may end with an activation.
        aligned: whether constants are read in place, at multiples of 16 bytes.
        channel_slopes: whether the slopes of PRELU may not differ along other axes than the last.
    """

    name: str
    operators: Mapping[str, int] | None = None
    per_channel_dense: bool = False
    largest_multiplier: float | None = None
    dynamic_batch: bool = True
    largest_batch: int | None = None
    largest_rank: int | None = None
    pools_fuse: bool = True
    aligned: bool = False
    channel_slopes: bool = False

    def runs(self, kind: str) -> bool:
        """Whether it has an operator, by its name in the schema."""
        return self.operators is None or kind in self.operators


# Operators and versions of the Edge TPU compiler 16: the table and the requirements of "TensorFlow models on the Edge
# TPU" (coral.ai/docs/edgetpu/models-intro). Versions are the highest that public issues show its compiler to parse;
# where none is known, that of plain int8 tensors.
_EDGE_TPU = {
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

# Ethos-U55 and U65, as `vela --supported-ops-report` of version 5.2 lists them; Vela does not look at versions.
_ETHOS_U = (
    *("ABS", "ADD", "ARG_MAX", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D"),
    *("ELU", "EXP", "EXPAND_DIMS", "FULLY_CONNECTED", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "MAXIMUM"),
    *("MAX_POOL_2D", "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "NEG", "PACK", "PAD", "PADV2", "PRELU", "QUANTIZE"),
    *("REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR"),
    *("RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "RSQRT", "SLICE", "SOFTMAX", "SPLIT", "SPLIT_V", "SQUARED_DIFFERENCE"),
    *("SQUEEZE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TILE", "TRANSPOSE", "TRANSPOSE_CONV", "UNPACK"),
)

# Those that TensorFlow Lite for Microcontrollers registers (October 2026) and that a file of int8 can hold.
_MICRO = (
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

_ANY_VERSION = 1000

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        # XNNPACK refuses to start where a multiplier is 256 or more (XNNPACK's checks of requantization scales);
        # per-channel Dense weights give wrong numbers on runtimes before 2024; microcontrollers read in place.
        Target("portable", largest_multiplier=256.0, aligned=True),
        Target("xnnpack", per_channel_dense=True, largest_multiplier=256.0),
        Target(
            "edgetpu",
            _EDGE_TPU,
            dynamic_batch=False,
            largest_batch=1,
            largest_rank=3,
            pools_fuse=False,
            channel_slopes=True,
        ),
        Target("ethos-u", dict.fromkeys(_ETHOS_U, _ANY_VERSION), per_channel_dense=True),
        Target("tflite-micro", dict.fromkeys(_MICRO, _ANY_VERSION), aligned=True),
    )
}
"""By name. "portable" is LiteRT of any age, with XNNPACK or without; accelerators and microcontrollers may have no
kernel for an operator that it has."""


def target_named(name: Any) -> Target:
    """The target of a name that a user gave.

    Raises:
        InvalidArgumentError: there is none.
    """
    if not isinstance(name, str) or name not in TARGETS:
        raise InvalidArgumentError(f"target: expected one of {', '.join(map(repr, TARGETS))}, found {name!r}")
    return TARGETS[name]

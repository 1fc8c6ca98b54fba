"""The row of an operator: everything that the conversion and the check must know of it."""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from spiq_tf.distributions.values import Array, ChannelRanges
from spiq_tf.quantization.bit_width import INT8, BitWidth
from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.tflite.operators.delegate_support import DelegateSupport
from spiq_tf.tflite.operators.use import OperatorUse
from spiq_tf.tflite.operators.weight_layouts import Layout

RangeRule: TypeAlias = Callable[[Sequence[ChannelRanges], Any], tuple[Array, Array]]
"""Lows and highs of every output, of shape (channels,) or (1,), from the ranges of the operands (the data operand comes
first) and the operator's options in the schema, or None; before the fused activation."""

SAMPLED: RangeRule | None = None
"""No rule is known or none is worth its looseness: the range is observed on samples."""


class Scales(enum.Enum):
    """Whether inputs and outputs must have the same quantization parameters."""

    SAME = enum.auto()
    """Data operands and outputs have one scale and zero point: values are moved or compared, never computed."""
    FREE = enum.auto()
    """The kernel rescales: each tensor has its own."""
    FIXED = enum.auto()
    """The output's are those of the specification, whatever its range."""


class Quantizer(enum.Enum):
    """Who makes the operator an integer one."""

    LITERT_QUANTIZER = enum.auto()
    """litert-quantizer does, from the ranges that it is given."""
    COMPLETE_INT8 = enum.auto()
    """writing/complete_int8.py does: the runtimes have a kernel, and litert-quantizer leaves the operator float."""
    NOBODY = enum.auto()
    """It stays float, or works on integers already."""


def no_ceiling(constants: Sequence[npt.NDArray[Any]]) -> float:
    """Of operators that let every value through."""
    return np.inf


@dataclass(frozen=True, kw_only=True)
class Operator:
    """What is known of an operator.

    Attributes:
        range_rule: interval arithmetic, or `SAMPLED`.
        scales: whether inputs and outputs must share them.
        fixed_output: scale and zero point of the output where they are fixed, by the bit width of activations.
        input_ceiling: from the constant operands, the value above which the operator clips what it reads: its input
            need not hold more.
        quantizer: who makes it an integer operator.
        versions: by the bit width of activations for which LiteRT has a kernel that regards scales, the version that
            plain uses of it ask for (TensorFlow Lite's op_version.cc).
        special_version: the version that a special use asks for; 0 where there is nothing special.
        data_operand: index among the operands of what it works on.
        weights_operand, bias_operand: index of weights and bias; None where it has none. The bias may be left out.
        quantized_dimension: axis of the weights along which scales may differ.
        optional_channel_scales: whether runtimes before 2024 compute wrong numbers with a scale for each output.
        tensorwise_constant: whether its kernel knows one scale for a constant, though litert-quantizer would write one
            for each channel.
        layout: how its weights are read as canonical kernels.
        xnnpack: which uses of it XNNPACK takes, LiteRT's delegate for CPUs; None where it takes none.
        int8_elementwise: whether it is good in 8 bits as a part of an elementwise function: one of such operators alone
            needs no lookup table.
    """

    range_rule: RangeRule | None
    scales: Scales = Scales.FREE
    fixed_output: Mapping[BitWidth, QuantizationParameters] = field(default_factory=dict)
    input_ceiling: Callable[[Sequence[npt.NDArray[Any]]], float] = no_ceiling
    quantizer: Quantizer = Quantizer.NOBODY
    versions: Mapping[BitWidth, int] = field(default_factory=dict)
    special_version: Callable[[OperatorUse], int] = lambda use: 0
    data_operand: int = 0
    weights_operand: int | None = None
    bias_operand: int | None = None
    quantized_dimension: int | None = None
    optional_channel_scales: bool = False
    tensorwise_constant: bool = False
    layout: Layout | None = None
    xnnpack: DelegateSupport | None = None
    int8_elementwise: bool = False


def int8(version: int) -> Mapping[BitWidth, int]:
    """The versions of an operator that has a kernel for 8-bit activations."""
    return {INT8: version}

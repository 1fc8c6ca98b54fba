"""Which additions every runtime computes rightly and XNNPACK takes."""

from collections.abc import Sequence

from spiq_tf.quantization.bit_width import INT8, INT16
from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.targets.xnnpack import ADDEND_RATIOS


def is_addition_safe(addends: Sequence[QuantizationParameters], total: QuantizationParameters) -> bool:
    """Whether XNNPACK takes the scales of an int8 ADD, and its sum stays in 16 bits before it is clipped: LiteRT's own
    kernels narrow it to so many, and what is larger comes out as the lowest integer.

    Args:
        addends: of both operands, constants among them.
        total: of the output.
    """
    reach = sum(max(-addend.low, addend.high) for addend in addends) / total.scale
    return all(addend.scale / total.scale in ADDEND_RATIOS for addend in addends) and reach < INT16.qmax - INT8.levels

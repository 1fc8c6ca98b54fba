"""Scale and zero point, and the one place that computes them from a range."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spiq_tf.quantization.bit_width import BitWidth

SMALLEST_WIDTH = 1e-9
"""Real width below which a range is widened: litert-quantizer does so, and a scale must not be 0."""


@dataclass(frozen=True)
class QuantizationParameters:
    """Of a tensor with one scale: real = scale * (integer - zero_point).

    Attributes:
        scale: real value of one integer step; what the file holds, a float32.
        zero_point: the integer that stands for 0.
        bit_width: of the integers.
    """

    scale: float
    zero_point: int
    bit_width: BitWidth

    @classmethod
    def from_range(cls, low: float, high: float, bit_width: BitWidth) -> "QuantizationParameters":
        """Those whose integers reach from low to high; of a symmetric bit width as far to either side.

        Computed in float32 and in the order of litert-quantizer (`tensor_zp_scale_from_min_max`), so that both are
        equal to the last bit: runtimes compare scales exactly.

        Args:
            low, high: real ends; widened to hold 0, and to `SMALLEST_WIDTH`.
            bit_width: of the integers.
        """
        lowest, highest = np.float32(min(low, 0.0)), np.float32(max(high, 0.0))
        if bit_width.symmetric:
            scale = exact_scale(np.float32(0), max(-lowest, highest), bit_width)
            middle = 0 if bit_width.signed else (bit_width.levels + 1) // 2
            return cls(float(scale), middle, bit_width)
        scale = exact_scale(lowest, highest, bit_width)
        zero_point = int(np.rint(bit_width.qmin - lowest / scale))
        return cls(float(scale), int(np.clip(zero_point, bit_width.qmin, bit_width.qmax)), bit_width)

    @property
    def low(self) -> float:
        """The real value of the lowest integer."""
        return (self.bit_width.qmin - self.zero_point) * self.scale

    @property
    def high(self) -> float:
        """The real value of the highest integer."""
        return (self.bit_width.qmax - self.zero_point) * self.scale

    def quantize(self, values: npt.NDArray[Any]) -> npt.NDArray[np.integer[Any]]:
        """The nearest integers of real values, clipped to those that there are; halves go to the even one."""
        integers = np.rint(values / self.scale) + self.zero_point
        return np.clip(integers, self.bit_width.qmin, self.bit_width.qmax).astype(self.bit_width.dtype)

    def dequantize(self, integers: npt.NDArray[Any], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
        """The real values of integers, computed in a float type."""
        return (integers.astype(dtype) - self.zero_point) * self.scale


def exact_scale(low: Any, high: Any, bit_width: BitWidth) -> Any:
    """The scale of a range before it is rounded to what a file holds, in the precision of the range's ends.

    Args:
        low, high: real ends, low <= 0 <= high; floats of any precision or arrays of them. Of a symmetric bit width the
            larger magnitude counts.
        bit_width: of the integers.
    """
    if bit_width.symmetric:
        return np.maximum(np.maximum(-low, high), SMALLEST_WIDTH) / (bit_width.levels // 2)
    return np.maximum(high - low, SMALLEST_WIDTH) / bit_width.levels

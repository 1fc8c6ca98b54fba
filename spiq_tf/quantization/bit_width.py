"""Bit widths as values: the integers that a quantized tensor is made of.

The numbers of single bit widths (127, 255) stand here and nowhere else: everything else asks a `BitWidth`.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_SIGNED = (np.int8, np.int16, np.int32, np.int64)
_UNSIGNED = (np.uint8, np.uint16, np.uint32, np.uint64)


@dataclass(frozen=True)
class BitWidth:
    """The integers of a quantized tensor.

    Attributes:
        bits: of each integer.
        signed: whether they are in two's complement, rather than 0 and above.
        symmetric: whether the zero point is 0 (of unsigned ones: the middle), so that the scale follows from the
            largest magnitude alone.
        narrow: whether the lowest integer is left out, so that as many lie below 0 as above (-127 to 127).
    """

    bits: int
    _: KW_ONLY
    signed: bool = True
    symmetric: bool = False
    narrow: bool = False

    @property
    def qmin(self) -> int:
        """The lowest integer."""
        return self.narrow - (2 ** (self.bits - 1) if self.signed else 0)

    @property
    def qmax(self) -> int:
        """The highest integer."""
        return int(2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1)

    @property
    def levels(self) -> int:
        """How many steps there are from the lowest integer to the highest; the integers are one more."""
        return self.qmax - self.qmin

    @property
    def dtype(self) -> type[np.integer[Any]]:
        """The smallest numpy type that holds the integers, unpacked: int8 for 4 bits."""
        return next(t for t in (_SIGNED if self.signed else _UNSIGNED) if np.iinfo(t).bits >= self.bits)

    @property
    def integers(self) -> npt.NDArray[np.integer[Any]]:
        """All of them in ascending order, shape (levels + 1,): the entries of a lookup table."""
        return np.arange(self.qmin, self.qmax + 1).astype(self.dtype)


INT8 = BitWidth(8)
"""Activations (LiteRT 8-bit quantization specification)."""

UINT8 = BitWidth(8, signed=False)
"""Inputs and outputs, and 8-bit pixels."""

INT16 = BitWidth(16, symmetric=True)
"""Activations beside 8-bit weights (LiteRT's 16x8 scheme). No file has them yet: they begin where
tflite/scale_assignment/assign.py makes a TensorRange."""

INT8_WEIGHT = BitWidth(8, symmetric=True, narrow=True)
"""Weights (LiteRT 8-bit quantization specification)."""

INT4_WEIGHT = BitWidth(4, symmetric=True, narrow=True)
"""Weights of half the size. No file has them yet: they begin where tflite/weights/rounding.py calls
`round_kernel`."""

INT32 = BitWidth(32, symmetric=True)
"""Biases and accumulators of operators on 8-bit tensors. A bias must leave room in the accumulator for the products
that are added to it: `BIAS_LIMIT` in tflite/weights/kernel_rounding.py says how much."""

"""The range of a whole tensor, from which its scale and zero point follow."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spiq_tf.quantization.bit_width import INT8, UINT8, BitWidth
from spiq_tf.quantization.parameters import QuantizationParameters, exact_scale


@dataclass(frozen=True)
class TensorRange:
    """The range of a whole tensor of the file, in the file's units.

    Attributes:
        low, high: the ends, low <= 0 <= high.
        bit_width: of the integers that are spread over it.
    """

    low: float
    high: float
    bit_width: BitWidth = INT8

    @property
    def scale(self) -> float:
        """Real value of one integer step, before it is rounded to the float32 that the file holds."""
        return float(exact_scale(self.low, self.high, self.bit_width))

    @property
    def quantization(self) -> QuantizationParameters:
        """Scale and zero point as the file holds them."""
        return QuantizationParameters.from_range(self.low, self.high, self.bit_width)

    def widened_to(self, scale: float) -> "TensorRange":
        """The range stretched about 0 until its scale is at least the given one."""
        return self.stretched(max(scale / self.scale, 1.0))

    def stretched(self, factor: float) -> "TensorRange":
        """The range stretched about 0, with the same zero point; a tie, as of [-1, 1], may go to its other side."""
        return TensorRange(self.low * factor, self.high * factor, self.bit_width)

    def aligned_to_pixels(self) -> "TensorRange":
        """The range, a little wider if 8-bit pixels spread over it would fall between its integers.

        The grid of the integers passes through 0. Pixels in [-1, 1] lie half-way between its steps, so that each is
        rounded by half a step, three times the noise of errors that are spread evenly over a step.
        """
        pixels = np.linspace(self.low, self.high, UINT8.levels + 1)
        candidates = (self.widened_to(self.scale * (1 + steps / self.bit_width.levels)) for steps in _WIDENINGS)
        return min(candidates, key=lambda candidate: candidate._rounding_noise(pixels))

    def _rounding_noise(self, values: npt.NDArray[np.float64]) -> float:
        """Mean square error of real values on the grid."""
        return float(np.mean((np.rint(values / self.scale) * self.scale - values) ** 2))


_WIDENINGS = (0, 1, 2)
"""Steps by which a range may be wider: the first that brings pixels in [-1, 1] onto the grid, and one more."""

"""The range of a whole tensor, and the int8 scale that it makes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class TensorRange:
    """The range of a whole tensor, which has one scale; holds 0."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        """The width of one of 255 steps."""
        return (self.high - self.low) / 255

    @property
    def quantization(self) -> tuple[float, int]:
        """Scale and int8 zero point."""
        return self.scale, int(np.clip(np.rint(-128 - self.low / self.scale), -128, 127))

    def widened_to(self, scale: float) -> "TensorRange":
        """The interval stretched about 0 until its scale is at least the given one."""
        return self.stretched(max(scale / self.scale, 1.0))

    def stretched(self, factor: float) -> "TensorRange":
        """The interval stretched about 0, with the same zero point."""
        return TensorRange(self.low * factor, self.high * factor)

    def off_half_steps(self) -> "TensorRange":
        """The interval, a little wider if 8-bit pixels spread over it would fall between steps.

        The int8 grid passes through 0. Pixels in [-1, 1] lie half-way between its steps, so that each is rounded by
        half a step, three times the noise of errors that are spread evenly over a step.
        """
        pixels = np.linspace(self.low, self.high, 256)
        return min((self.widened_to(self.scale * f) for f in _WIDENINGS), key=lambda i: i._rounding_noise(pixels))

    def _rounding_noise(self, values: npt.NDArray[np.float64]) -> float:
        return float(np.mean((np.rint(values / self.scale) * self.scale - values) ** 2))


_WIDENINGS = (1.0, 1 + 1 / 255, 1 + 2 / 255)

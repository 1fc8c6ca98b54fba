"""The range of a whole tensor, and the int8 scale that it makes."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
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

    def widened_to(self, scale: float) -> "Interval":
        """The interval stretched about 0 until its scale is at least the given one."""
        factor = max(scale / self.scale, 1.0)
        return Interval(self.low * factor, self.high * factor)

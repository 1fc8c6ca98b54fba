"""An elementwise function at every integer of an int8 tensor, and how good another form of it is."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spiq_tf.distributions.values import Array, Moments
from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.tflite.functions.curve import Mask
from spiq_tf.tflite.functions.integer_tensor import IntegerTensor
from spiq_tf.tflite.state import IntegerState


@dataclass(frozen=True, kw_only=True)
class FunctionTable:
    """A function of a tensor x; all arrays of shape (levels + 1,).

    Attributes:
        x: the tensor, with all its integers.
        parameters: scale and zero point of the function's int8 values.
        values: the function's real values.
        shares: how often each integer of x occurs, with a sum of 1.
    """

    x: IntegerTensor
    parameters: QuantizationParameters
    values: Array
    shares: Array

    @classmethod
    def of(cls, state: IntegerState, x: int, y: int) -> "FunctionTable":
        """The table of state.lookup_tables[y] in the quantized file, where y is a function of x."""
        before, after = state.flat.quantization(x), state.flat.quantization(y)
        assert before is not None, state.flat.name(x)  # both ends of what stands for the table are int8
        assert after is not None, state.flat.name(y)
        integers = before.bit_width.integers
        tensor = IntegerTensor(integers=integers, parameters=before)
        values = state.lookup_tables[y](tensor.values)
        domain = ~np.isnan(values)  # beyond it stands the value at its end
        values = np.interp(integers, integers[domain], values[domain])
        return cls(x=tensor, parameters=after, values=values, shares=_shares(tensor, state.moments.get(x)))

    @property
    def key(self) -> bytes:
        """Equal for equal tables."""
        numbers = (self.x.scale, self.x.parameters.zero_point, self.parameters.scale, self.parameters.zero_point)
        return np.concatenate([numbers, self.values, self.shares]).tobytes()

    @property
    def entries(self) -> npt.NDArray[np.integer]:
        """The nearest integers."""
        return self.parameters.quantize(self.values)

    @property
    def held(self) -> Mask:
        """For which integers of x the function lies within the range of its output."""
        half = self.parameters.scale / 2
        return (self.values > self.parameters.low - half) & (self.values < self.parameters.high + half)

    def noise(self, shares: Array) -> float:
        """Variance that the rounding of x and of the function make, where x is distributed like that."""
        slopes = np.gradient(np.clip(self.values, self.parameters.low, self.parameters.high))
        error = self.parameters.dequantize(self.entries, np.float64) - self.values
        return float(shares @ (slopes**2 / 12 + error**2))

    def growth(self, y: IntegerTensor, shares: Array) -> float:
        """By which factor another form of the function has more noise."""
        exact = self.parameters.dequantize(self.entries, np.float64)
        more = (y.values - self.values) ** 2 - (exact - self.values) ** 2
        return 1 + float(shares @ more) / self.noise(shares)


def _shares(x: IntegerTensor, moments: Moments | None) -> Array:
    """Gaussian in each channel; even where nothing is known."""
    if moments is None:
        return np.full(len(x.values), 1 / len(x.values))
    deviation = np.sqrt(moments.variance + x.scale**2)
    density = np.exp(-0.5 * ((x.values[:, np.newaxis] - moments.mean) / deviation) ** 2) / deviation
    frequencies = density.sum(axis=1) + np.finfo(np.float64).tiny
    return frequencies / frequencies.sum()

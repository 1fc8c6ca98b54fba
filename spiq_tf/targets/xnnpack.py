"""LiteRT since 2024 with its CPU delegate, XNNPACK.

The delegate leaves PRELU to slower kernels: on ESPNet an int8 file with it takes 2.5 times as long as the float one. So
`native_prelu` stays False, the default.

Which operators the delegate takes, and in which uses, stands in the rows of the operator table
(tflite/operators/delegate_support.py); the ratios of scales that its kernels hold stand here.
"""

from dataclasses import dataclass

from spiq_tf.targets.target import EVERY_RUNTIME_LIMITS, Target


@dataclass(frozen=True, kw_only=True)
class ScaleRatios:
    """Which ratios of scales a kernel holds.

    Attributes:
        smallest: the least of them.
        largest: the greatest.
        closed: whether the greatest is among them.
    """

    smallest: float
    largest: float
    closed: bool = True

    def __contains__(self, ratio: float) -> bool:
        return self.smallest <= ratio <= self.largest and (self.closed or ratio < self.largest)

    def __str__(self) -> str:
        end = "at most" if self.closed else "below"
        return f"{self.smallest:.3g} at least and {end} {self.largest:.4g}"


ADDEND_RATIOS = ScaleRatios(
    smallest=EVERY_RUNTIME_LIMITS.smallest_addend, largest=EVERY_RUNTIME_LIMITS.largest, closed=False
)
"""The scale of each addend over that of the sum or difference."""

PRODUCT_RATIOS = ScaleRatios(smallest=2.0**-16, largest=EVERY_RUNTIME_LIMITS.largest, closed=False)
"""The product of the scales of two factors over that of the output."""

RESCALING_RATIOS = ScaleRatios(smallest=1 / 256, largest=128.0)
"""The scale of the input over that of the output, of QUANTIZE and LEAKY_RELU; of the latter also times its slope, if
that is positive."""

LEAKY_NEGATIVE_RATIOS = ScaleRatios(smallest=-127.99609375, largest=128.0)
"""Of LEAKY_RELU: the scale of the input over that of the output, times the slope."""

TARGET = Target(
    name="xnnpack",
    precisions=("w8a8", "float"),
    per_channel_dense=True,
    prefers_xnnpack=True,
    lists_slow_operators=True,
    largest_multiplier=EVERY_RUNTIME_LIMITS.largest,
)

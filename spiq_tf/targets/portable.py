"""LiteRT of any age, with XNNPACK or without.

Per-channel Dense weights give wrong numbers on runtimes before 2024; microcontrollers read constants in place.

Operators are those that XNNPACK takes, which LiteRT uses by default. Without it most of them take as long as those that
they replace; large depthwise kernels, which become convolutions in groups (TensorFlow Lite 2.9 or later), take longer.
"""

from spiq_tf.targets.target import EVERY_RUNTIME_LIMITS, Target

TARGET = Target(
    name="portable",
    precisions=("w8a8", "float"),
    prefers_xnnpack=True,
    largest_multiplier=EVERY_RUNTIME_LIMITS.largest,
    aligned=True,
)

"""LiteRT of any age, with XNNPACK or without.

Per-channel Dense weights give wrong numbers on runtimes before 2024; microcontrollers read constants in place.
"""

from spiq_tf.targets.target import EVERY_RUNTIME_LIMITS, Target

TARGET = Target(
    name="portable",
    precisions=("w8a8", "float"),
    runs_xnnpack=True,
    largest_multiplier=EVERY_RUNTIME_LIMITS.largest,
    aligned=True,
)

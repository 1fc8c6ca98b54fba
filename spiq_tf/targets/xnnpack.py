"""LiteRT since 2024 with its CPU delegate, XNNPACK.

The delegate leaves PRELU to slower kernels: on ESPNet an int8 file with it takes 2.5 times as long as the float one. So
`native_prelu` stays False, the default.
"""

from spiq_tf.targets.target import EVERY_RUNTIME_LIMITS, Target

TARGET = Target(
    name="xnnpack",
    precisions=("w8a8", "float"),
    per_channel_dense=True,
    runs_xnnpack=True,
    largest_multiplier=EVERY_RUNTIME_LIMITS.largest,
)

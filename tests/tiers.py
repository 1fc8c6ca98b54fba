"""The fast tier, `pytest -m fast`: at most two minutes on two cores, each room of the package once.

A module or a test of it carries the marker `fast` itself. Of tests that run over the layer table or over all small
networks the rows and networks below are fast: one for each way in which a layer is described or a network is built.
"""

import pytest

ROWS = frozenset(
    (
        *("conv_relu", "conv_groups", "depthwise", "separable", "dense", "batch_norm_alone", "relu6", "leaky_relu"),
        *("prelu", "sigmoid", "silu", "gelu", "softmax", "pad_value", "conv_transpose", "gate", "average", "add"),
        *("concatenate", "average_pool", "max_pool", "global_average", "split", "upsampling", "conv_multiplied"),
        *("square", "layer_norm", "divide", "unknown"),
    )
)
NETWORKS = frozenset(("residual", "depthwise", "concatenation", "two_outputs", "nested"))


def with_fast(values, fast):
    """Parameters of a test, those that are fast marked; each is a name or has one."""
    return [
        pytest.param(value, marks=pytest.mark.fast) if getattr(value, "name", value) in fast else value
        for value in values
    ]

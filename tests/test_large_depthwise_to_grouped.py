"""Depthwise convolutions of many taps become convolutions in groups, on files made by hand."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.passes.large_depthwise_to_grouped import large_depthwise_to_grouped
from tests.flat import RELU, FileBuilder, kinds
from tests.integer_files import check_left_alone, check_rewritten, integer_state

pytestmark = pytest.mark.fast


def depthwise(channels, kernel=(7, 7), multiplier=1, stride=1, dilation=1, padding=schema.Padding.SAME):
    """A file of one depthwise convolution with a fused ReLU."""
    random = np.random.default_rng(0)
    b = FileBuilder((1, 16, 16, channels))
    outputs = channels * multiplier
    weights, bias = b.constant(random.normal(size=(1, *kernel, outputs))), b.constant(random.normal(size=outputs))
    options = schema.DepthwiseConv2DOptionsT(
        padding=padding, strideH=stride, strideW=stride, depthMultiplier=multiplier
    )
    options.dilationHFactor = options.dilationWFactor = dilation
    options.fusedActivationFunction = RELU
    ends = [16 // stride if padding == schema.Padding.SAME else 16 - dilation * (k - 1) for k in kernel]
    y = b.op("DEPTHWISE_CONV_2D", [0, weights, bias], (1, *ends, outputs), table=options)
    return integer_state(b.file(y), {0: (-1.0, 2.0), y: (0.0, 20.0)})


@pytest.mark.parametrize(
    ("options", "group"),
    [
        ({"channels": 32}, 16),
        ({"channels": 88, "stride": 2}, 22),
        ({"channels": 11}, 11),
        ({"channels": 24, "kernel": (1, 27)}, 24),
        ({"channels": 16, "multiplier": 3}, 16),
        ({"channels": 32, "multiplier": 2, "stride": 2}, 16),
        ({"channels": 32, "dilation": 2, "padding": schema.Padding.VALID}, 16),
    ],
    ids=str,
)
def test_not_an_integer_changes(options, group):
    state = depthwise(**options)
    inputs = [np.random.default_rng(1).uniform(-1.0, 2.0, (1, 16, 16, options["channels"]))]
    # XNNPACK's own depthwise form and the groups are one kernel; LiteRT's own kernels round halves apart
    check_rewritten(state, large_depthwise_to_grouped, inputs, most=1)
    assert kinds(state.flat) == ["CONV_2D"]
    assert state.flat.shape(int(state.flat.operators[0].inputs[1]))[-1] == group


@pytest.mark.parametrize(
    "options",
    [{"channels": 32, "kernel": (5, 5)}, {"channels": 32, "kernel": (1, 25)}, {"channels": 53}],
    ids=["25 taps", "25 taps in a row", "a prime number of channels"],
)
def test_others_are_left_alone(options):
    check_left_alone(depthwise(**options), large_depthwise_to_grouped)

"""Convolutions in groups of few channels get larger groups, on files made by hand."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.passes.widen_channel_groups import widen_channel_groups
from tests.flat import RELU, FileBuilder, kinds
from tests.integer_files import check_left_alone, check_rewritten, integer_state

pytestmark = pytest.mark.fast


def convolution(kind, channels, weights_shape, stride=1, dilation=1, padding=schema.Padding.SAME):
    """A file of one convolution with a fused ReLU; the options are those of a depthwise one too."""
    random = np.random.default_rng(0)
    b = FileBuilder((1, 16, 16, channels))
    depthwise = kind == "DEPTHWISE_CONV_2D"
    outputs = weights_shape[-1 if depthwise else 0]
    weights, bias = b.constant(random.normal(size=weights_shape)), b.constant(random.normal(size=outputs))
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = padding, stride, stride
    options.dilationHFactor = options.dilationWFactor = dilation
    options.fusedActivationFunction = RELU
    if depthwise:
        options.depthMultiplier = outputs // channels
    ends = [16 // stride if padding == schema.Padding.SAME else 16 - dilation * (k - 1) for k in weights_shape[1:3]]
    y = b.op(kind, [0, weights, bias], (1, *ends, outputs), table=options)
    return integer_state(b.file(y), {0: (-1.0, 2.0), y: (0.0, 20.0)})


def check_widened(state, channels, group):
    inputs = [np.random.default_rng(1).uniform(-1.0, 2.0, (1, 16, 16, channels))]
    check_rewritten(state, widen_channel_groups, inputs, most=1)  # LiteRT's own kernels round halves apart
    assert kinds(state.flat) == ["CONV_2D"]
    assert state.flat.shape(int(state.flat.operators[0].inputs[1]))[-1] == group


@pytest.mark.parametrize(
    ("channels", "shape", "options", "group"),
    [
        (32, (1, 7, 7, 32), {}, 16),
        (88, (1, 7, 7, 88), {"stride": 2}, 22),
        (11, (1, 7, 7, 11), {}, 11),
        (24, (1, 1, 27, 24), {}, 24),
        (16, (1, 6, 5, 48), {}, 16),
        (32, (1, 7, 7, 64), {"stride": 2}, 16),
        (32, (1, 3, 3, 64), {}, 16),
        (32, (1, 7, 7, 32), {"dilation": 2, "padding": schema.Padding.VALID}, 16),
    ],
)
def test_a_depthwise_convolution_of_many_taps_or_outputs(channels, shape, options, group):
    check_widened(convolution("DEPTHWISE_CONV_2D", channels, shape, **options), channels, group)


@pytest.mark.parametrize(
    ("channels", "shape", "options", "group"),
    [
        (32, (32, 7, 7, 1), {}, 16),
        (32, (32, 3, 3, 4), {}, 16),
        (32, (64, 3, 3, 4), {"stride": 2}, 16),
        (24, (12, 3, 3, 2), {}, 24),
        (8, (8, 3, 3, 2), {"dilation": 2, "padding": schema.Padding.VALID}, 8),
    ],
)
def test_a_convolution_in_groups(channels, shape, options, group):
    check_widened(convolution("CONV_2D", channels, shape, **options), channels, group)


@pytest.mark.parametrize(
    ("kind", "channels", "shape"),
    [
        ("DEPTHWISE_CONV_2D", 32, (1, 5, 5, 32)),
        ("DEPTHWISE_CONV_2D", 32, (1, 1, 25, 32)),
        ("DEPTHWISE_CONV_2D", 67, (1, 7, 7, 67)),
        ("CONV_2D", 32, (32, 3, 3, 1)),
        ("CONV_2D", 32, (32, 3, 3, 16)),
        ("CONV_2D", 32, (32, 3, 3, 32)),
        ("CONV_2D", 32, (128, 3, 3, 4)),
    ],
    ids=[
        "25 taps",
        "25 taps in a row",
        "a prime number of channels",
        "depthwise",
        "groups of 16",
        "one",
        "many outputs",
    ],
)
def test_others_are_left_alone(kind, channels, shape):
    check_left_alone(convolution(kind, channels, shape), widen_channel_groups)

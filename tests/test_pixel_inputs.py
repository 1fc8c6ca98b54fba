"""Inputs that take pixels as they come, on files made by hand; test_uint8_inputs.py runs converted ones."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import spiq_tf
from spiq_tf.distributions.values import ChannelRanges, InputStatistics, Moments, Source
from spiq_tf.graph.layer_graph import Node, Tensor
from spiq_tf.primitives.affine import FixedAffine
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.tflite.passes.pixel_inputs import take_pixel_inputs
from spiq_tf.tflite.provenance import TensorProvenance
from tests.file_state import check_invariants, graph_of, state_of
from tests.flat import RELU, FileBuilder, kinds

MAP = (1, 4, 4, 3)
GRAPH_INPUT, RESCALED = Tensor("image", MAP), Tensor("rescaling", MAP)


def statistics(low, high):
    mean = (np.float64(low) + high) / 2 * np.ones(3)
    ends = ChannelRanges(low * np.ones(3), high * np.ones(3), Source.GIVEN)
    return InputStatistics(Moments(mean, np.ones(3)), ends)


def rescale(b, factor, offset, activation=0):
    weights = b.constant(np.reshape(np.float32(factor) * np.ones(3), (1, 1, 1, 3)))
    options = schema.DepthwiseConv2DOptionsT(
        padding=1, strideW=1, strideH=1, depthMultiplier=1, fusedActivationFunction=activation
    )
    inputs = [0, weights, b.constant(np.float32(offset) * np.ones(3))]
    return b.op("DEPTHWISE_CONV_2D", inputs, MAP, table=options, version=1)


def convolve(b, x, shape=MAP):
    weights = b.constant(np.ones((3, 1, 1, 3)))
    options = schema.Conv2DOptionsT(padding=1, strideW=1, strideH=1)
    return b.op("CONV_2D", [x, weights, b.constant(np.zeros(3))], shape, table=options)


def state_for(flat, low, high, rescaled=None, uint8=True):
    """Of a file whose input, and the output of a Rescaling of it if that is given, are known."""
    nodes = [Node(primitive=FixedAffine(np.ones(3), np.zeros(3)), inputs=(GRAPH_INPUT,), output=RESCALED, call=None)]
    provenance = {0: TensorProvenance("image")}
    provenance |= {} if rescaled is None else {rescaled: TensorProvenance("rescaling")}
    known = statistics(low, high)
    return state_of(
        flat,
        graph_of([GRAPH_INPUT], nodes=nodes),
        provenance=provenance,
        ranges=dict.fromkeys(flat.activations(), known.range),
        inputs=[known],
        uint8_inputs=uint8,
    )


def rescaled_file(factor=1 / 127.5, offset=-1.0):
    b = FileBuilder(MAP)
    entry = rescale(b, factor, offset)
    return b.file(convolve(b, entry)), entry


@pytest.mark.parametrize(
    ("factor", "offset", "zero_point"),
    [(1 / 127.5, -1.0, 127), (1 / 255, 0.0, 0), (1.0, -128.0, 128), (1 / 51, -0.5, 25)],
    ids=["signed", "unit", "integers", "half-way down"],
)
def test_a_rescaling_is_taken_into_scale_and_zero_point(factor, offset, zero_point):
    """Byte p stands for factor (p - zero point); the bias makes up for the rest, below one step."""
    flat, entry = rescaled_file(factor, offset)
    state = state_for(flat, 0.0, 255.0, entry)
    take_pixel_inputs(state)
    check_invariants(flat)
    assert kinds(flat) == ["CONV_2D"]
    assert list(flat.subgraph.inputs) == [entry]
    own = state.ranges[entry]
    assert own.low == pytest.approx(-zero_point * factor, abs=1e-5)
    assert own.high == pytest.approx((255 - zero_point) * factor, abs=1e-5)
    assert TensorRange(float(own.low[0]), float(own.high[0])).quantization.zero_point == zero_point - 128
    assert state.bias_offsets[entry] == pytest.approx(offset + zero_point * factor, abs=1e-5)
    assert abs(state.bias_offsets[entry]) <= 0.5 * factor + 1e-5
    np.testing.assert_allclose(state.inputs[0].range.low, offset, rtol=0, atol=1e-5)
    np.testing.assert_allclose(state.inputs[0].moments.mean, 127.5 * factor + offset, rtol=0, atol=1e-4)


def test_an_input_without_a_rescaling_has_the_scale_of_its_pixels():
    b = FileBuilder(MAP)
    flat = b.file(convolve(b, 0))
    state = state_for(flat, -1.0, 1.0)
    take_pixel_inputs(state)
    assert kinds(flat) == ["CONV_2D"]
    assert list(flat.subgraph.inputs) == [0]
    assert state.bias_offsets[0] == pytest.approx(-1 / 255)
    assert float(state.ranges[0].high[0] - state.ranges[0].low[0]) == pytest.approx(2.0)


def test_padded_copies_have_the_inputs_range():
    b = FileBuilder(MAP)
    pads = b.constant([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
    padded = b.op("PAD", [0, pads], (1, 6, 6, 3), table=schema.PadOptionsT())
    flat = b.file(convolve(b, padded, (1, 6, 6, 3)))
    state = state_for(flat, -1.0, 1.0)
    take_pixel_inputs(state)
    assert state.bias_offsets.keys() == {0, padded}
    assert state.ranges[padded] is state.ranges[0]


def unlike_channels(state):
    own = ChannelRanges(np.array([-1.0, -1.0, -1.0]), np.array([1.0, 1.0, 1.05]), Source.GIVEN)
    state.inputs[0] = InputStatistics(state.inputs[0].moments, own)
    state.ranges[0] = own


def unchanged(state):
    before = state.flat.content(), dict(state.ranges), list(state.inputs)
    take_pixel_inputs(state)
    return before == (state.flat.content(), state.ranges, state.inputs) and not state.bias_offsets


def test_int8_inputs_stay():
    flat, entry = rescaled_file()
    assert unchanged(state_for(flat, 0.0, 255.0, entry, uint8=False))


def test_vectors_stay():
    b = FileBuilder((1, 3))
    assert unchanged(state_for(b.file(b.op("RELU", [0], (1, 3))), -1.0, 1.0))


def test_channels_of_unlike_ranges_stay():
    b = FileBuilder(MAP)
    state = state_for(b.file(convolve(b, 0)), -1.0, 1.0)
    unlike_channels(state)
    with pytest.warns(spiq_tf.PixelBytesWarning, match="'image': copied as they are, .* up to 6 steps off"):
        assert unchanged(state)


def test_inputs_that_others_than_convolutions_read_stay():
    b = FileBuilder(MAP)
    first = convolve(b, 0)
    state = state_for(b.file(b.op("ADD", [first, 0], MAP)), -1.0, 1.0)
    assert unchanged(state)


@pytest.mark.parametrize("why", ["its own activation", "a negative factor", "no Rescaling of the model"])
def test_operators_that_are_no_rescaling_stay(why):
    """The input itself then has the scale of pixels: a depthwise convolution of one tap reads it."""
    b = FileBuilder(MAP)
    factor = -1 / 127.5 if why == "a negative factor" else 1 / 127.5
    entry = rescale(b, factor, -1.0, RELU if why == "its own activation" else 0)
    flat = b.file(convolve(b, entry))
    state = state_for(flat, 0.0, 255.0, None if why == "no Rescaling of the model" else entry)
    take_pixel_inputs(state)
    assert kinds(flat) == ["DEPTHWISE_CONV_2D", "CONV_2D"]
    assert list(flat.subgraph.inputs) == [0]
    assert state.bias_offsets == {0: 0.0}

"""PRELU becomes a depthwise convolution with a ReLU and an addition; after a BatchNorm both addends read its
input."""

import numpy as np
import pytest

from spiq_tf.distributions.values import ChannelRanges, Source
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.passes.affine_to_depthwise import affine_to_depthwise
from spiq_tf.tflite.passes.norm_into_prelu import fold_norm_into_prelu
from spiq_tf.tflite.passes.prelu_decomposition import decompose_prelu
from spiq_tf.tflite.ranges.interval_arithmetic import file_ranges
from tests.file_state import state_of
from tests.flat import FileBuilder, check_left_alone, check_rewritten, check_same_function

pytestmark = pytest.mark.fast

MAP = (1, 4, 5, 4)
SLOPES = {
    "at most 1": ([-0.7, 0.0, 0.3, 1.0], ["DEPTHWISE_CONV_2D", "ADD"]),
    "of both kinds": ([-0.7, 1.7, 0.3, 1.0], ["DEPTHWISE_CONV_2D", "DEPTHWISE_CONV_2D", "ADD"]),
    "at least 1": ([1.0, 1.7, 1.2, 3.0], ["DEPTHWISE_CONV_2D", "SUB"]),
}


def prelu(b, value, slopes):
    return b.op("PRELU", [value, b.constant(np.reshape(slopes, (1, 1, -1)))], MAP)


@pytest.mark.parametrize("name", SLOPES)
def test_rectified_parts_compute_the_same(name):
    slopes, operators = SLOPES[name]
    b = FileBuilder(MAP)
    flat = b.file(prelu(b, 0, slopes))
    check_rewritten(flat, decompose_prelu, operators)


@pytest.mark.parametrize(
    ("shapes", "build"),
    [
        ([MAP], lambda b: b.op("PRELU", [0, b.constant(np.full((4, 5, 4), 0.3))], MAP)),
        ([(1, 6, 4)], lambda b: b.op("PRELU", [0, b.constant(np.full((1, 4), 0.3))], (1, 6, 4))),
        ([MAP, (1, 1, 4)], lambda b: b.op("PRELU", [0, 1], MAP)),
        ([MAP], lambda b: b.op("LEAKY_RELU", [0], MAP)),
    ],
    ids=["a slope for each location", "no map", "computed slopes", "leaky"],
)
def test_others_stay(shapes, build):
    b = FileBuilder(*shapes)
    flat = b.file(build(b))
    check_left_alone(flat, decompose_prelu)


def after_a_norm(slopes, read_twice=False):
    """The state of a float file, x -> factor x + offset -> PRELU, with its ranges for x in [-2, 3]; and the norm's
    tensor."""
    b = FileBuilder(MAP)
    norm = b.op("MUL", [0, b.constant([0.5, -2.0, 3.0, 1.0])], MAP)
    norm = b.op("ADD", [norm, b.constant([1.0, 0.0, -4.0, 0.2])], MAP)
    flat = b.file(prelu(b, norm, slopes), *([norm] if read_twice else []))
    affine_to_depthwise(flat)
    decompose_prelu(flat)
    ends = ChannelRanges(np.full(4, -2.0), np.full(4, 3.0), Source.BATCH_NORM)
    return state_of(flat, ranges=file_ranges(flat, {0: ends})), norm


def test_addends_after_a_norm_compute_the_same_within_their_ranges():
    state, norm = after_a_norm(SLOPES["at most 1"][0])
    flat, known = state.flat, set(state.ranges)
    before, count = flat.content(), len(flat.operators)
    fold_norm_into_prelu(state)
    added = state.ranges.keys() - known
    assert len(added) == 2
    assert len(flat.operators) == count
    assert not flat.consumers(norm)
    check_same_function(before, flat)
    interpreter = Interpreter(flat.content(), keep_all=True)
    for _ in range(20):
        interpreter.run([np.random.default_rng(0).uniform(-2, 3, MAP)])
        for index in added:
            values = interpreter.value(index)
            assert np.all(values >= state.ranges[index].low - 1e-5)
            assert np.all(values <= state.ranges[index].high + 1e-5)


@pytest.mark.parametrize("why", ["of both kinds", "at least 1", "float", "given", "read twice"])
def test_addends_that_keep_to_the_norm(why):
    state, norm = after_a_norm(SLOPES.get(why, SLOPES["at most 1"])[0], read_twice=why == "read twice")
    state.float_outputs = frozenset([norm] if why == "float" else [])
    state.user_ranges = frozenset([norm] if why == "given" else [])
    before, ranges = state.flat.content(), dict(state.ranges)
    fold_norm_into_prelu(state)
    assert state.ranges == ranges
    assert state.flat.content() == before

"""int8 depthwise convolutions that treat all channels alike become MUL and ADD, on files made by hand."""

import numpy as np
import pytest

from spiq_tf.tflite.passes.affine_to_depthwise import depthwise
from spiq_tf.tflite.passes.uniform_depthwise_to_products import uniform_depthwise_to_products
from spiq_tf.tflite.state import IntegerState
from tests.flat import RELU, FileBuilder, kinds
from tests.integer_files import all_integers, check_left_alone, check_rewritten, integer_outputs, integer_state

pytestmark = pytest.mark.fast

SHAPE = (1, 8, 8, 4)
ONES = np.ones(4, np.float32)


def affine(factor, offset, given, result, activation=0):
    """A file of one depthwise convolution of one tap."""
    b = FileBuilder(SHAPE)
    y = b.op("RELU", [0], SHAPE)
    flat = b.file(y)
    flat.subgraph.operators = [depthwise(flat, 0, y, factor * ONES, offset * ONES, activation)]
    return integer_state(flat, {0: given, y: result}), y


@pytest.mark.parametrize(
    ("factor", "offset", "given", "result"),
    [
        (1 / 127.5, -1.0, (0.0, 255.0), (-1.0, 1.0)),
        (-0.5, 0.25, (-3.0, 5.0), (-2.3, 1.8)),
        (1.0, 2.0, (-1.0, 1.0), (0.0, 3.0)),
    ],
)
def test_it_is_factor_and_offset_within_a_step(factor, offset, given, result):
    state, y = affine(factor, offset, given, result)
    x = all_integers(state, SHAPE)
    check_rewritten(state, uniform_depthwise_to_products, [x], most=1)
    assert kinds(state.flat) == ["MUL", "ADD"]
    scale = state.flat.quantization(y).scale
    for (found,) in integer_outputs(state.flat.content(), [x]):
        np.testing.assert_allclose(found * scale, factor * x + offset, rtol=0, atol=0.51 * scale)


def test_without_an_offset_it_is_a_product():
    state, _ = affine(1 / 6, 0.0, (0.0, 6.0), (0.0, 1.0))
    check_rewritten(state, uniform_depthwise_to_products, [all_integers(state, SHAPE)], most=1)
    assert kinds(state.flat) == ["MUL"]


def test_a_fused_activation_stays():
    state, _ = affine(-1.0, 0.5, (-2.0, 2.0), (0.0, 2.5), RELU)
    check_rewritten(state, uniform_depthwise_to_products, [all_integers(state, SHAPE)], most=1)
    assert state.flat.operators[-1].builtinOptions.fusedActivationFunction == RELU


@pytest.mark.parametrize(
    ("factor", "offset"), [(np.float32([1, 2, 3, 4]), 0.5), (0.5, np.float32([1, 1, 1, 2])), (0.0, 1.0)]
)
def test_channels_of_their_own_are_left_alone(factor, offset):
    state, _ = affine(factor, offset, (-2.0, 2.0), (-8.0, 9.0))
    check_left_alone(state, uniform_depthwise_to_products)


@pytest.mark.parametrize(
    ("offset", "given", "result"),
    [(1.0, (0.0, 2500.0), (0.0, 6.0)), (1e-4, (-2.0, 2.0), (-1.0, 1.0))],
    ids=["a sum of more than 16 bits", "an offset that is too fine"],
)
def test_scales_that_additions_do_not_hold_are_left_alone(offset, given, result):
    state, _ = affine(0.5, offset, given, result)
    check_left_alone(state, uniform_depthwise_to_products)


def test_a_float_file_is_left_alone():
    b = FileBuilder(SHAPE)
    flat = b.file(b.op("RELU", [0], SHAPE))
    flat.subgraph.operators = [depthwise(flat, 0, int(flat.subgraph.outputs[0]), ONES, ONES)]
    check_left_alone(IntegerState(flat=flat), uniform_depthwise_to_products)

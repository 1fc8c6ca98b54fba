"""Clamps of int8 tensors become QUANTIZE, on files made by hand."""

import numpy as np
import pytest

from spiq_tf.tflite.passes.clamp_to_requantize import clamp_to_requantize
from tests.flat import FileBuilder, kinds
from tests.integer_files import all_integers, check_left_alone, check_rewritten, integer_outputs, integer_state

pytestmark = pytest.mark.fast

SHAPE = (1, 8, 8, 4)


def clamped(kind, given, result, constant=None):
    """A file with one clamp from one range to another."""
    b = FileBuilder(SHAPE)
    operands = [0] if constant is None else [0, b.constant(np.float32(constant))]
    y = b.op(kind, operands, SHAPE)
    return integer_state(b.file(y), {0: given, y: result}), y


@pytest.mark.parametrize("given", [(-5.0, 5.0), (-1.0, 9.0), (-7.0, 0.5), (0.0, 4.0)])
def test_a_relu_is_clipped_by_the_range_of_its_output(given):
    state, y = clamped("RELU", given, (0.0, 4.0))
    x = all_integers(state, SHAPE)
    check_rewritten(state, clamp_to_requantize, [x], most=1)  # halves
    assert kinds(state.flat) == ["QUANTIZE"]
    parameters = state.flat.quantization(y)
    for (found,) in integer_outputs(state.flat.content(), [x]):
        reached = found * parameters.scale
        np.testing.assert_allclose(reached, np.clip(x, 0, parameters.high), rtol=0, atol=0.51 * parameters.scale)


def test_one_whose_output_reaches_below_0_is_clipped_on_the_way():
    """It shares the scale of a concatenation: QUANTIZE alone would let -2 through."""
    state, _ = clamped("RELU", (-5.0, 5.0), (-3.0, 5.0))
    check_rewritten(state, clamp_to_requantize, [all_integers(state, SHAPE)], most=1)
    assert kinds(state.flat) == ["QUANTIZE", "QUANTIZE"]


@pytest.mark.parametrize(
    ("ceiling", "result"), [("RELU6", (0.0, 6.0)), ("RELU6", (0.0, 8.0)), ("RELU_0_TO_1", (0.0, 1.0))]
)
def test_a_ceiling_above_or_within_the_range(ceiling, result):
    state, _ = clamped(ceiling, (-8.0, 9.0), result)
    check_rewritten(state, clamp_to_requantize, [all_integers(state, SHAPE)], most=1)
    assert kinds(state.flat) == ["QUANTIZE"] * (2 if result == (0, 8) else 1)


@pytest.mark.parametrize(("kind", "number"), [("MINIMUM", 2.0), ("MAXIMUM", -1.0), ("MINIMUM", 9.0), ("MAXIMUM", -9.0)])
def test_the_smaller_or_larger_of_a_tensor_and_a_number(kind, number):
    """Both sides have one scale; a number beyond the range clips nothing."""
    state, _ = clamped(kind, (-4.0, 4.0), (-4.0, 4.0), number)
    check_rewritten(state, clamp_to_requantize, [all_integers(state, SHAPE)], most=1)
    assert set(kinds(state.flat)) == {"QUANTIZE"}


def test_what_no_range_with_0_in_it_clips_is_left_alone():
    """Scales reach from 0: none of them ends at 2 from below."""
    state, _ = clamped("MAXIMUM", (-4.0, 4.0), (-4.0, 4.0), 2.0)
    check_left_alone(state, clamp_to_requantize)


def test_numbers_that_differ_by_channel_are_left_alone():
    state, _ = clamped("MINIMUM", (-4.0, 4.0), (-4.0, 4.0), [1.0, 2.0, 3.0, 4.0])
    check_left_alone(state, clamp_to_requantize)


def test_the_smaller_of_two_tensors_is_left_alone():
    b = FileBuilder(SHAPE, SHAPE)
    y = b.op("MINIMUM", [0, 1], SHAPE)
    check_left_alone(integer_state(b.file(y), dict.fromkeys((0, 1, y), (-4.0, 4.0))), clamp_to_requantize)


def test_a_scale_beyond_what_a_quantize_takes_is_left_alone():
    """An input that is 300 times as fine as the output."""
    state, _ = clamped("RELU", (-0.005, 0.005), (0.0, 3.0))
    check_left_alone(state, clamp_to_requantize)

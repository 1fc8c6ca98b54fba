"""A factor of a tensor goes into the scales of what reads it, on files made by hand."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.absorbed_factor import absorb_factor
from spiq_tf.tflite.state import IntegerState
from tests.flat import RELU, FileBuilder, kinds
from tests.integer_files import integer_state

pytestmark = pytest.mark.fast

SHAPE = (1, 4, 4, 4)


def convolve(b, x, weights=None):
    weights = b.constant(np.linspace(-1, 1, 16).reshape(4, 1, 1, 4)) if weights is None else weights
    once = dict.fromkeys(("strideW", "strideH", "dilationWFactor", "dilationHFactor"), 1)
    options = schema.Conv2DOptionsT(padding=schema.Padding.VALID, **once)
    return b.op("CONV_2D", [x, weights, b.constant(np.zeros(4))], SHAPE, table=options)


def scales_of(state):
    """Of every tensor that has some, by index."""
    tensors = enumerate(state.flat.subgraph.tensors)
    return {index: np.array(t.quantization.scale) for index, t in tensors if t.quantization is not None}


def absorbed(b, *outputs):
    """The state of a file whose first operator's output is to hold six times its values; and whether that was done."""
    flat = b.file(*outputs)
    state = integer_state(flat, dict.fromkeys(flat.activations(), (-4.0, 4.0)))
    tensor = int(state.flat.operators[0].outputs[0])
    return state, tensor, scales_of(state), absorb_factor(state, tensor, 6.0)


def test_weights_that_two_operators_share_serve_the_other_as_before():
    b = FileBuilder(SHAPE, SHAPE)
    weights = b.constant(np.linspace(-1, 1, 16).reshape(4, 1, 1, 4))
    y = b.op("ADD", [0, 1], SHAPE)
    state, tensor, before, done = absorbed(b, convolve(b, y, weights), convolve(b, 0, weights))
    assert done
    first, second = (int(o.inputs[1]) for o in state.flat.operators[1:])
    assert first != second
    np.testing.assert_array_equal(state.flat.value(first), state.flat.value(second))
    np.testing.assert_allclose(scales_of(state)[first] * 6, before[second], rtol=1e-6)
    np.testing.assert_array_equal(scales_of(state)[second], before[second])
    assert state.multiples == {tensor: 6.0}


def test_a_square_has_the_factor_twice():
    b = FileBuilder(SHAPE, SHAPE)
    y = b.op("ADD", [0, 1], SHAPE)
    square = b.op("MUL", [y, y], SHAPE)
    state, tensor, before, done = absorbed(b, convolve(b, square))
    assert done
    assert state.multiples == {tensor: 6.0, square: 36.0}
    np.testing.assert_allclose(scales_of(state)[square], 36 * before[square], rtol=1e-6)


def product_with_a_fused_activation(b, y):
    return [convolve(b, b.op("MUL", [y, 0], SHAPE, fusedActivationFunction=RELU))]


def output_further_down(b, y):
    passed = b.op("MEAN", [y, b.constant([1, 2], np.int32)], (1, 1, 1, 4), keepDims=True)
    return [passed, convolve(b, y)]


def a_sum(b, y):
    return [convolve(b, b.op("ADD", [y, 0], SHAPE))]


def beside_another(b, y):
    return [convolve(b, b.op("MAXIMUM", [y, 0], SHAPE))]


def unread(b, y):
    return [y]


@pytest.mark.parametrize("rest", [product_with_a_fused_activation, output_further_down, a_sum, beside_another, unread])
def test_nothing_changes_where_the_factor_does_not_end_in_weights(rest):
    b = FileBuilder(SHAPE, SHAPE)
    y = b.op("SUB", [0, 1], SHAPE)
    state, _, before, done = absorbed(b, *rest(b, y))
    assert not done
    assert state.multiples == {}
    after = scales_of(state)
    assert all(np.array_equal(after[index], before[index]) for index in before)


def test_a_float_neighbor_keeps_its_values():
    b = FileBuilder(SHAPE, SHAPE)
    y = b.op("ADD", [0, 1], SHAPE)
    flat = b.file(convolve(b, y))
    assert not absorb_factor(IntegerState(flat=flat), y, 6.0)
    assert kinds(flat) == ["ADD", "CONV_2D"]

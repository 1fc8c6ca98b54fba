"""Operators that a target does not map become others, on files made by hand."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.targets import TARGETS
from spiq_tf.tflite.passes.legalize_for_target import legalize_for_target
from tests.file_state import check_invariants, ranges, state_of
from tests.flat import FileBuilder, check_same_function, kinds, noise, run

MAP, VECTOR = (1, 4, 4, 3), (1, 6)


def none(kind):
    """A target without operators."""
    return False


def leaky(shape, slope):
    b = FileBuilder(shape)
    return b.file(b.op("LEAKY_RELU", [0], shape, table=schema.LeakyReluOptionsT(slope)))


def swish(shape):
    b = FileBuilder(shape)
    return b.file(b.op("HARD_SWISH", [0], shape, table=schema.HardSwishOptionsT()))


@pytest.mark.parametrize("shape", [MAP, VECTOR], ids=["feature map", "vector"])
@pytest.mark.parametrize(("slope", "kind"), [(0.1, "MAXIMUM"), (1.0, "MAXIMUM"), (1.5, "MINIMUM"), (-0.5, "MAXIMUM")])
def test_a_leaky_relu_is_the_larger_of_two(shape, slope, kind):
    flat = leaky(shape, slope)
    before = flat.content()
    state = state_of(flat, ranges={0: ranges(-6.0, 6.0), 1: ranges(min(-6 * slope, 0), 6.0)})
    legalize_for_target(state, none)
    check_invariants(flat)
    assert kinds(flat) == ["MUL", kind]
    check_same_function(before, flat)


def test_the_scaled_copy_reaches_no_higher_than_what_is_chosen_of_it():
    """All three tensors share a scale: with a slope of 3 the copy would make it three times as coarse."""
    flat = leaky(VECTOR, 3.0)
    state = state_of(flat, ranges={0: ranges(-2.0, 5.0), 1: ranges(-6.0, 5.0)})
    legalize_for_target(state, none)
    (scaled,) = set(flat.activations()) - {0, 1}
    assert (state.ranges[scaled].low, state.ranges[scaled].high) == (-6.0, 5.0)


@pytest.mark.parametrize(
    ("shape", "expected"), [(MAP, ["DEPTHWISE_CONV_2D", "MUL"]), (VECTOR, ["MUL", "ADD", "MUL"])], ids=["map", "vector"]
)
def test_a_hard_swish_is_a_product_with_a_gate_that_its_range_clips(shape, expected):
    """x times x / 6 + 1 / 2, clipped to the gate's range, is x relu6(x + 3) / 6."""
    flat = swish(shape)
    b4 = flat.content()
    state = state_of(flat, ranges={0: ranges(-8.0, 8.0), 1: ranges(-0.375, 8.0)})
    legalize_for_target(state, none)
    check_invariants(flat)
    assert kinds(flat) == expected
    gate = int(flat.operators[-1].inputs[1])
    assert (state.ranges[gate].low, state.ranges[gate].high) == (0.0, 1.0)
    flat.subgraph.outputs = np.array([gate], np.int32)
    (x,) = noise(flat)
    (value,) = run(flat.content(), [x])
    np.testing.assert_allclose(x * np.clip(value, 0.0, 1.0), run(b4, [x])[0], rtol=0, atol=1e-5)


def test_every_new_tensor_has_a_range():
    for flat in (swish(MAP), swish(VECTOR), leaky(MAP, 0.1)):
        state = state_of(flat, ranges={0: ranges(-8.0, 8.0), 1: ranges(-0.8, 8.0)})
        legalize_for_target(state, none)
        assert state.ranges.keys() == set(flat.activations())


@pytest.mark.parametrize("make", [lambda: swish(MAP), lambda: leaky(VECTOR, 0.1)], ids=["swish", "leaky"])
@pytest.mark.parametrize("why", ["the target maps it", "it stays float"])
def test_what_stays(make, why):
    flat = make()
    before = flat.content()
    state = state_of(flat, ranges={0: ranges(-8.0, 8.0), 1: ranges(-0.8, 8.0)})
    state.float_outputs = frozenset({1} if why == "it stays float" else ())
    legalize_for_target(state, none if why == "it stays float" else TARGETS["ethos-u"].runs)
    assert flat.content() == before


def test_other_operators_that_a_target_does_not_map_stay():
    b = FileBuilder(VECTOR)
    flat = b.file(b.op("TANH", [0], VECTOR))
    before = flat.content()
    legalize_for_target(state_of(flat, ranges={0: ranges(-8.0, 8.0), 1: ranges(-1.0, 1.0)}), none)
    assert flat.content() == before

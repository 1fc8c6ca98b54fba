"""Divisions become products with reciprocals from a table, where the divisor keeps away from 0."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.distributions.tails import gaussian_distribution
from spiq_tf.distributions.values import Moments, Source
from spiq_tf.tflite.passes.div_to_reciprocal import div_to_reciprocal
from spiq_tf.tflite.provenance import TensorProvenance
from tests.file_state import check_invariants, ranges, state_of
from tests.flat import RELU, FileBuilder, kinds

SHAPE, ONE = (1, 6), (1, 1)
DIV = schema.DivOptionsT


def division(*shapes, activation=0):
    b = FileBuilder(*shapes)
    return b.file(b.op("DIV", [0, 1], shapes[0], table=DIV(activation)))


def test_a_division_becomes_a_product_with_the_reciprocal():
    state = state_of(division(SHAPE, ONE, activation=RELU), ranges={1: ranges(0.5, 8.0)})
    div_to_reciprocal(state)
    check_invariants(state.flat)
    assert kinds(state.flat) == ["GELU", "MUL"]
    table, product = state.flat.operators
    (reciprocal,) = map(int, table.outputs)
    assert list(table.inputs) == [1]
    assert list(product.inputs) == [0, reciprocal]
    assert product.builtinOptions.fusedActivationFunction == RELU
    values = np.linspace(0.5, 8.0, 100)
    np.testing.assert_allclose(state.lookup_tables[reciprocal](values), 1 / values, rtol=0, atol=1e-12)
    assert state.ranges[reciprocal].low == pytest.approx(1 / 8)
    assert state.ranges[reciprocal].high == pytest.approx(1 / 0.5)


def test_a_negative_divisor_has_a_negative_reciprocal():
    state = state_of(division(SHAPE, ONE), ranges={1: ranges(-8.0, -0.5)})
    div_to_reciprocal(state)
    (reciprocal,) = state.lookup_tables
    assert (state.ranges[reciprocal].low, state.ranges[reciprocal].high) == (pytest.approx(-2.0), pytest.approx(-1 / 8))


def test_integers_outside_the_divisors_range_have_the_quotient_at_its_end():
    """0 above all, whose reciprocal would be infinite."""
    state = state_of(division(SHAPE, ONE), ranges={1: ranges(0.5, 8.0)})
    div_to_reciprocal(state)
    (table,) = state.lookup_tables.values()
    np.testing.assert_allclose(table(np.array([0.0, 0.1, 16.0])), [2.0, 2.0, 1 / 8], rtol=0, atol=1e-12)


def test_an_epsilon_reaches_no_farther_than_int8_resolves():
    """Of a divisor in [1e-6, 51] the least that int8 tells from 0 is 0.2."""
    state = state_of(division(SHAPE, ONE), ranges={1: ranges(1e-6, 51.0)})
    div_to_reciprocal(state)
    (reciprocal,) = state.lookup_tables
    assert state.ranges[reciprocal].high == pytest.approx(5.0)


def test_divisions_by_one_tensor_share_its_reciprocal():
    b = FileBuilder(SHAPE, ONE)
    first, second = (b.op("DIV", [0, 1], SHAPE, table=DIV()) for _ in range(2))
    state = state_of(b.file(first, second), ranges={1: ranges(0.5, 8.0)})
    div_to_reciprocal(state)
    check_invariants(state.flat)
    assert kinds(state.flat) == ["GELU", "MUL", "MUL"]


def test_a_constant_over_a_tensor_is_one_table():
    b = FileBuilder(SHAPE)
    quotient = b.op("DIV", [b.constant([3.0]), 0], SHAPE, table=DIV())
    state = state_of(b.file(quotient), ranges={0: ranges(0.5, 8.0)})
    div_to_reciprocal(state)
    check_invariants(state.flat)
    assert kinds(state.flat) == ["GELU"]
    np.testing.assert_allclose(state.lookup_tables[quotient](np.array([0.5, 1.5, 8.0])), [6.0, 2.0, 0.375], atol=1e-12)
    assert quotient not in state.ranges


@pytest.mark.parametrize("constant", [[3.0, 1.0, 2.0, 1.0, 1.0, 1.0], [3.0]], ids=["of channels", "with an activation"])
def test_other_constants_are_multiplied(constant):
    b = FileBuilder(SHAPE)
    quotient = b.op("DIV", [b.constant(constant), 0], SHAPE, table=DIV(RELU if len(constant) == 1 else 0))
    state = state_of(b.file(quotient), ranges={0: ranges(0.5, 8.0)})
    div_to_reciprocal(state)
    assert kinds(state.flat) == ["GELU", "MUL"]


def test_a_tensor_of_the_graph_reaches_four_deviations():
    """Its own range holds 0; the factor is that of the file's values."""
    distribution = gaussian_distribution(Moments(np.array([5.0]), np.array([1.0])), 0.0, Source.BATCH_NORM)
    state = state_of(
        division(SHAPE, ONE),
        ranges={1: ranges(0.0, 18.0)},
        provenance={1: TensorProvenance("norm", 2.0)},
        distributions={"norm": distribution},
    )
    div_to_reciprocal(state)
    (reciprocal,) = state.lookup_tables
    assert state.ranges[reciprocal].low == pytest.approx(1 / (2 * 9.0))
    assert state.ranges[reciprocal].high == pytest.approx(1 / (2 * 1.0))


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"ranges": {1: ranges(0.0, 8.0)}},
        {"ranges": {1: ranges(-0.1, 8.0)}},
        {"ranges": {1: ranges([0.5, -1.0], [8.0, -0.5])}},
        {"ranges": {1: ranges(0.5, 8.0)}, "float_outputs": frozenset({2})},
    ],
    ids=["no range", "0", "both signs", "channels of both signs", "float"],
)
def test_what_stays(known):
    flat = division(SHAPE, ONE)
    before = flat.content()
    state = state_of(flat, **known)
    div_to_reciprocal(state)
    assert flat.content() == before
    assert not state.lookup_tables


def test_a_division_of_integers_stays():
    b = FileBuilder((1, 6))
    integer = b.op("CAST", [0], SHAPE, dtype=np.int32, table=schema.CastOptionsT())
    flat = b.file(b.op("DIV", [integer, integer], SHAPE, dtype=np.int32, table=DIV()))
    before = flat.content()
    div_to_reciprocal(state_of(flat, ranges={1: ranges(0.5, 8.0)}))
    assert flat.content() == before

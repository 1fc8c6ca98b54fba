"""Operators on constants are computed when the model is converted; others, and random numbers, stay."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.passes.fold_constants import flatten_biases, fold_constants
from tests.flat import FileBuilder, check_same_function, kinds, run

pytestmark = pytest.mark.fast

MAP = (1, 4, 4, 3)


def product_of_constants(b):
    return b.op("ADD", [0, b.op("MUL", [b.constant([1.0, 2.0, 3.0]), b.constant([0.5, -2.0, 4.0])], (3,))], MAP)


def chain_of_constants(b):
    turned = b.op("TRANSPOSE", [b.constant(np.arange(6.0).reshape(3, 2)), b.constant([1, 0], np.int32)], (2, 3))
    row = b.op("SLICE", [turned, b.constant([1, 0], np.int32), b.constant([1, 3], np.int32)], (1, 3))
    return b.op("MUL", [0, row], MAP)


def one_constant_read_twice(b):
    root = b.op("RSQRT", [b.constant([1.0, 4.0, 16.0])], (3,))
    return b.op("MUL", [b.op("ADD", [0, root], MAP), root], MAP)


@pytest.mark.parametrize(
    ("build", "left"),
    [
        (product_of_constants, ["ADD"]),
        (chain_of_constants, ["MUL"]),
        (one_constant_read_twice, ["ADD", "MUL"]),
    ],
)
def test_operators_on_constants_become_their_values(build, left):
    b = FileBuilder(MAP)
    flat = b.file(build(b))
    before = flat.content()
    assert fold_constants(flat)
    assert kinds(flat) == left
    check_same_function(before, flat)


def test_an_output_of_the_model_may_be_a_constant():
    b = FileBuilder(MAP)
    flat = b.file(b.op("RELU", [0], MAP), b.op("NEG", [b.constant([1.0, -2.0])], (2,)))
    assert fold_constants(flat)
    np.testing.assert_array_equal(run(flat.content(), [np.zeros(MAP)])[1], [-1.0, 2.0])


@pytest.mark.parametrize(
    "build",
    [
        lambda b: b.op("ADD", [0, b.constant([1.0, 2.0, 3.0])], MAP),
        lambda b: b.op("RELU", [0], MAP),
        lambda b: b.op("ADD", [0, b.op("RANDOM_UNIFORM", [b.constant(MAP, np.int32)], MAP, table=_SEED)], MAP),
    ],
    ids=["constant operand", "none", "random"],
)
def test_what_an_input_has_a_part_in_and_random_numbers_stay(build):
    b = FileBuilder(MAP)
    flat = b.file(build(b))
    before = flat.content()
    assert not fold_constants(flat)
    assert flat.content() == before


_SEED = schema.RandomOptionsT(seed=1, seed2=2)


@pytest.mark.parametrize(("shape", "changed"), [((1, 1, 1, 3), True), ((3,), False)])
def test_a_bias_gets_one_axis(shape, changed):
    b = FileBuilder(MAP)
    weights = b.constant(np.random.default_rng(0).normal(size=(3, 1, 1, 3)))
    bias = b.constant(np.array([1.0, -2.0, 3.0]).reshape(shape))
    options = schema.Conv2DOptionsT(padding=1, strideW=1, strideH=1)
    flat = b.file(b.op("CONV_2D", [0, weights, bias], MAP, table=options))
    flatten_biases(flat)
    (conv,) = flat.operators
    assert (int(conv.inputs[2]) != bias) == changed
    assert flat.shape(int(conv.inputs[2])) == (3,)
    np.testing.assert_array_equal(flat.value(int(conv.inputs[2])), [1.0, -2.0, 3.0])

"""MUL, ADD and SUB of a constant for each channel become a depthwise convolution of one tap."""

import numpy as np
import pytest

from spiq_tf.tflite.passes.affine_to_depthwise import affine_to_depthwise
from tests.flat import RELU, RELU6, FileBuilder, check_left_alone, check_rewritten

pytestmark = pytest.mark.fast

MAP = (2, 4, 5, 3)
FACTOR, OFFSET = [0.5, -2.0, 3.0], [1.0, 0.0, -4.0]


def affine(b):
    return b.op("ADD", [b.op("MUL", [0, b.constant(FACTOR)], MAP), b.constant(OFFSET)], MAP, **_RELU)


def four(b):
    x = b.op("MUL", [0, b.constant(FACTOR)], MAP)
    x = b.op("SUB", [b.constant(OFFSET), x], MAP)
    x = b.op("SUB", [x, b.constant([[[[2.0, 1.0, 0.5]]]])], MAP)
    return b.op("MUL", [b.constant(-3.0), x], MAP)


def activation_between(b):
    return b.op("ADD", [b.op("MUL", [0, b.constant(FACTOR)], MAP, **_RELU), b.constant(OFFSET)], MAP)


_RELU = {"fusedActivationFunction": RELU}

APPLIES = {
    "factor": (lambda b: b.op("MUL", [0, b.constant(FACTOR)], MAP), 1),
    "offset": (lambda b: b.op("ADD", [b.constant(OFFSET), 0], MAP, fusedActivationFunction=RELU6), 1),
    "scalar minus value": (lambda b: b.op("SUB", [b.constant(0.5), 0], MAP), 1),
    "factor and offset": (affine, 1),
    "chain of four": (four, 1),
    "activation between": (activation_between, 2),
}


@pytest.mark.parametrize("name", APPLIES)
def test_one_operator_for_a_chain(name):
    build, count = APPLIES[name]
    b = FileBuilder(MAP)
    flat = b.file(build(b))
    check_rewritten(flat, affine_to_depthwise, ["DEPTHWISE_CONV_2D"] * count)


def test_what_is_read_twice_is_computed_once_and_not_joined():
    b = FileBuilder(MAP)
    scaled = b.op("MUL", [0, b.constant(FACTOR)], MAP)
    flat = b.file(b.op("ADD", [scaled, b.constant(OFFSET)], MAP), b.op("SUB", [scaled, b.constant(1.0)], MAP))
    check_rewritten(flat, affine_to_depthwise, ["DEPTHWISE_CONV_2D"] * 3)


@pytest.mark.parametrize(
    ("shapes", "build"),
    [
        ([MAP, MAP], lambda b: b.op("MUL", [0, 1], MAP)),
        ([MAP], lambda b: b.op("MUL", [0, b.constant(np.linspace(-1, 1, 60).reshape(4, 5, 3))], MAP)),
        ([MAP], lambda b: b.op("ADD", [0, b.constant(np.linspace(-1, 1, 5).reshape(5, 1))], MAP)),
        ([(7, 3)], lambda b: b.op("MUL", [0, b.constant(FACTOR)], (7, 3))),
        ([(2, 4, 5, 1)], lambda b: b.op("MUL", [0, b.constant(FACTOR)], MAP)),
        ([MAP], lambda b: b.op("DIV", [0, b.constant(FACTOR)], MAP)),
    ],
    ids=["two tensors", "a factor for each location", "a row", "no map", "more channels than the input", "division"],
)
def test_what_is_no_constant_for_each_channel_of_a_map_stays(shapes, build):
    b = FileBuilder(*shapes)
    flat = b.file(build(b))
    check_left_alone(flat, affine_to_depthwise)

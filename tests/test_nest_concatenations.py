"""Concatenations of many tensors become nested ones, on files made by hand."""

import numpy as np
import pytest

from spiq_tf.targets import TARGETS
from spiq_tf.tflite.passes.nest_concatenations import nest_concatenations
from spiq_tf.tflite.passes.order import INTEGER_PASSES, run_passes
from spiq_tf.tflite.state import IntegerState
from tests.flat import FileBuilder, check_left_alone, kinds
from tests.integer_files import check_left_alone as check_integers_left_alone
from tests.integer_files import check_rewritten, integer_state

pytestmark = pytest.mark.fast


def joined(sizes, axis=3):
    """A file that concatenates tensors of some sizes along an axis."""
    shapes = [[1, 3, 4, 2] for _ in sizes]
    for shape, size in zip(shapes, sizes, strict=True):
        shape[axis] = size
    b = FileBuilder(*shapes)
    whole = [*shapes[0]]
    whole[axis] = sum(sizes)
    y = b.op("CONCATENATION", list(range(len(sizes))), whole, axis=axis)
    return b.file(y)


def state_of(flat):
    return integer_state(flat, dict.fromkeys(flat.activations(), (-6.4, 6.35)))


def operands(flat):
    """Sizes along the last axis of what each concatenation reads."""
    return [[flat.shape(int(i))[-1] for i in operator.inputs] for operator in flat.operators]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((5, 4, 3, 1, 2, 6), [[1, 2], [5, 4, 3, 3, 6]]),
        ((1, 1, 9, 9, 9, 9, 9), [[1, 1, 9], [11, 9, 9, 9, 9]]),
        ((2,) * 9, [[2] * 5, [10, 2, 2, 2, 2]]),
        ((1,) * 10, [[1] * 5, [1, 1], [5, 2, 1, 1, 1]]),
        ((1,) * 13, [[1] * 5, [1] * 5, [5, 5, 1, 1, 1]]),
    ],
)
def test_the_smallest_neighbors_come_first(sizes, expected):
    state = state_of(joined(sizes))
    check_rewritten(state, nest_concatenations, numbers(state.flat))
    assert operands(state.flat) == expected


def numbers(flat):
    """Values of the file's inputs on their grids, other ones for each."""
    random = np.random.default_rng(0)
    return [random.integers(-128, 128, flat.shape(int(i))) * 0.05 for i in flat.subgraph.inputs]


@pytest.mark.parametrize("axis", [0, 1, -3, -1])
def test_along_every_axis(axis):
    state = state_of(joined((3, 1, 2, 2, 4, 1, 2, 5), axis))
    check_rewritten(state, nest_concatenations, numbers(state.flat))
    assert kinds(state.flat) == ["CONCATENATION"] * 2


def test_a_tensor_may_stand_there_twice():
    b = FileBuilder((1, 4), (1, 3))
    state = state_of(b.file(b.op("CONCATENATION", [0, 1, 0, 0, 1, 0, 1], (1, 25), axis=1)))
    check_rewritten(state, nest_concatenations, numbers(state.flat))
    assert operands(state.flat) == [[3, 4, 3], [4, 3, 4, 4, 10]]


def test_five_operands_and_floats_stay():
    check_integers_left_alone(state_of(joined((2,) * 5)), nest_concatenations)
    flat = joined((2,) * 6)
    check_left_alone(flat, lambda flat: nest_concatenations(IntegerState(flat=flat)))


@pytest.mark.parametrize("name", TARGETS)
def test_only_targets_with_xnnpack_take_it(name):
    state = state_of(joined((2,) * 6))
    run_passes([each for each in INTEGER_PASSES if each.function is nest_concatenations], state, TARGETS[name])
    assert len(state.flat.operators) == (2 if name in ("portable", "xnnpack") else 1)

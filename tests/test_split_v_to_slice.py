"""SPLIT_V, which the quantizer leaves float, becomes a SLICE for each part that is read."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.passes.split_v_to_slice import split_v_to_slice
from tests.flat import FileBuilder, check_left_alone, check_rewritten

pytestmark = pytest.mark.fast

MAP = (1, 6, 4, 5)


def split(b, sizes, axis):
    shapes = [[size if k == axis % 4 else n for k, n in enumerate(MAP)] for size in sizes]
    inputs = [0, b.constant(sizes, np.int32), b.constant(axis, np.int32)]
    return b.op("SPLIT_V", inputs, *shapes, table=schema.SplitVOptionsT(numSplits=len(sizes)))


@pytest.mark.parametrize(("sizes", "axis"), [((1, 4), 3), ((1, 4), -1), ((3, 1, 2), 1), ((2, 2), 2)])
def test_slices_compute_the_same(sizes, axis):
    b = FileBuilder(MAP)
    flat = b.file(*split(b, sizes, axis))
    check_rewritten(flat, split_v_to_slice, ["SLICE"] * len(sizes))


def test_a_part_that_nothing_reads_is_left_out():
    b = FileBuilder(MAP)
    first, _, last = split(b, (1, 2, 2), -1)
    flat = b.file(first, last)
    check_rewritten(flat, split_v_to_slice, ["SLICE", "SLICE"])


def test_a_split_into_equal_parts_stays():
    """SPLIT has an int8 form of its own."""
    b = FileBuilder(MAP)
    halves = b.op("SPLIT", [b.constant(2, np.int32), 0], (1, 6, 2, 5), (1, 6, 2, 5), table=schema.SplitOptionsT(2))
    flat = b.file(*halves)
    check_left_alone(flat, split_v_to_slice)

"""AVERAGE_POOL_2D over a whole map becomes MEAN."""

import pytest
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.passes.global_pool_to_mean import global_pool_to_mean
from tests.flat import RELU, FileBuilder, check_left_alone, check_rewritten

pytestmark = pytest.mark.fast

VALID, SAME = schema.Padding.VALID, schema.Padding.SAME


def pool(shape, window, output, kind="AVERAGE_POOL_2D", stride=1, **options):
    b = FileBuilder(shape)
    height, width = window
    table = schema.Pool2DOptionsT(filterHeight=height, filterWidth=width, strideH=stride, strideW=stride, **options)
    return b.file(b.op(kind, [0], output, table=table))


@pytest.mark.parametrize("shape", [(1, 7, 7, 4), (1, 3, 5, 2), (2, 1, 6, 3)], ids=["square", "oblong", "batch of rows"])
def test_means_compute_the_same(shape):
    flat = pool(shape, shape[1:3], (shape[0], 1, 1, shape[3]), padding=VALID)
    check_rewritten(flat, global_pool_to_mean, ["MEAN"])


@pytest.mark.parametrize(
    "flat",
    [
        lambda: pool((1, 8, 8, 3), (4, 4), (1, 2, 2, 3), stride=4, padding=VALID),
        lambda: pool((1, 4, 4, 3), (4, 4), (1, 4, 4, 3), padding=SAME),
        lambda: pool((1, 4, 4, 3), (4, 4), (1, 1, 1, 3), padding=VALID, fusedActivationFunction=RELU),
        lambda: pool((1, 4, 4, 3), (4, 4), (1, 1, 1, 3), kind="MAX_POOL_2D", padding=VALID),
    ],
    ids=["smaller window", "padded", "activation", "maximum"],
)
def test_other_pools_stay(flat):
    flat = flat()
    check_left_alone(flat, global_pool_to_mean)

"""NEG and SQUARE become MUL, for which there are int8 kernels."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.passes.neg_square_to_mul import neg_square_to_mul
from tests.flat import FileBuilder, check_left_alone, check_same_function, kinds

pytestmark = pytest.mark.fast

MAP = (1, 4, 4, 3)


@pytest.mark.parametrize("kind", ["NEG", "SQUARE"])
@pytest.mark.parametrize("shape", [MAP, (2, 5), (7,)], ids=["map", "matrix", "vector"])
def test_products_compute_the_same(kind, shape):
    b = FileBuilder(shape)
    flat = b.file(b.op("RELU", [b.op(kind, [0], shape)], shape))
    before = flat.content()
    neg_square_to_mul(flat)
    assert kinds(flat) == ["MUL", "RELU"]
    assert flat.is_square(flat.operators[0]) == (kind == "SQUARE")
    check_same_function(before, flat)


def test_integers_and_other_operators_stay():
    """There is a kernel for NEG of int32, and a product with -1.0 would be wrong."""
    b = FileBuilder(MAP)
    types = {"inDataType": schema.TensorType.FLOAT32, "outDataType": schema.TensorType.INT32}
    whole = b.op("CAST", [0], MAP, table=schema.CastOptionsT(**types), dtype=np.int32)
    back = {"inDataType": schema.TensorType.INT32, "outDataType": schema.TensorType.FLOAT32}
    negated = b.op("NEG", [whole], MAP, dtype=np.int32)
    flat = b.file(b.op("ABS", [b.op("CAST", [negated], MAP, table=schema.CastOptionsT(**back))], MAP))
    check_left_alone(flat, neg_square_to_mul)

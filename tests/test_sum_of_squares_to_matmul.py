"""Sums of squares as products of vectors."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

import spiq_tf
from spiq_tf.tflite.passes.sum_of_squares_to_matmul import sum_of_squares_to_matmul
from tests.converted_files import check_float_file, kinds_of, lowered
from tests.flat import RELU6, FileBuilder, check_left_alone, check_same_function, kinds
from tests.networks import RANGE, images, settle

_NORMS = {
    "layer": layers.LayerNormalization,
    "rows": lambda: layers.LayerNormalization(axis=1),
    "whole": lambda: layers.LayerNormalization(axis=(1, 2, 3)),
    "group": lambda: layers.GroupNormalization(4),
    "instance": lambda: layers.GroupNormalization(-1),
    "rms": layers.RMSNormalization,
    "unit": lambda: lambda x: x * keras.ops.rsqrt(keras.ops.sum(x * x, axis=(1, 2), keepdims=True)),
}


@pytest.mark.parametrize("name", _NORMS)
def test_the_file_computes_the_same(name):
    """The float file against the Keras model, in float32's accuracy; the squares themselves are nowhere held."""
    image = keras.Input((12, 12, 3), name="image")
    model = settle(keras.Model(image, layers.Conv2D(2, 1)(_NORMS[name]()(layers.Conv2D(8, 3)(image)))))
    content = lowered(model).flat.content()
    assert "BATCH_MATMUL" in kinds_of(content)
    assert "SQUARED_DIFFERENCE" not in kinds_of(content)
    check_float_file(model, content)


def test_patches_of_very_different_contrast():
    """Of the weak ones squares are rounded to 0 where they are held: 3 to 8 dB less at the output."""
    image = keras.Input((12, 12, 32), name="image")
    contrast = np.geomspace(0.25, 1.0, 12, dtype=np.float32).reshape(1, 12, 1, 1)
    x = layers.LayerNormalization()(layers.Conv2D(16, 1, use_bias=False)(image * contrast))
    model = settle(keras.Model(image, layers.Conv2D(4, 1)(x)))
    exact = spiq_tf.verify(model, spiq_tf.quantize(model, input_range=RANGE), images(model, 16)).sqnr_db
    target = spiq_tf.quantize(model, input_range=RANGE, target="edgetpu")
    rounded = spiq_tf.verify(model, target, images(model, 16)).sqnr_db
    assert exact > rounded + 2
    assert "BATCH_MATMUL" not in kinds_of(target.content)


@pytest.mark.parametrize("keepdims", [True, False])
def test_a_mean_of_squares_by_itself(keepdims):
    """Its sum has the range that the mean has, times their number: sampled it was cut, 44 -> 30 dB."""
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, use_bias=False)(image)
    model = settle(keras.Model(image, keras.ops.mean(keras.ops.square(x), axis=(1, 2), keepdims=keepdims) + 0.1))
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert "BATCH_MATMUL" in kinds_of(result.content)
    assert spiq_tf.verify(model, result).sqnr_db > 35


def test_squares_that_end_with_an_activation():
    """They are no sums of squares."""
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 1)(layers.Conv2D(8, 3)(image) * 5.0)
    model = settle(keras.Model(image, keras.ops.mean(keras.ops.relu6(x * x), axis=(1, 2))))
    content = lowered(model).flat.content()
    check_float_file(model, content)


def test_large_squares_that_the_delegate_takes_stay():
    """GroupNormalization on a large map, whose squares are a MUL: a product of vectors takes several times as long."""
    image = keras.Input((64, 64, 3), name="image")
    x = layers.GroupNormalization(4)(layers.Conv2D(16, 3, padding="same")(image))
    model = settle(keras.Model(image, layers.Conv2D(2, 1)(x)))
    assert "BATCH_MATMUL" not in kinds_of(spiq_tf.convert(model, input_range=RANGE))


def test_sums_that_32_bits_may_not_hold():
    """120,000 values of up to 255 steps each: their squares are summed as before."""
    image = keras.Input((200, 200, 3), name="image")
    x = layers.LayerNormalization(axis=(1, 2, 3))(image)
    model = settle(keras.Model(image, layers.Conv2D(2, 8, strides=8)(x)))
    kinds = kinds_of(spiq_tf.convert(model, input_range=(0, 1)))
    assert "SQUARED_DIFFERENCE" in kinds
    assert "BATCH_MATMUL" not in kinds


MAP = (1, 6, 4, 5)


def summed(b, value, kind="MEAN", axes=(3,), shape=(1, 6, 4, 1), **options):
    return b.op(kind, [value, b.constant(axes, np.int32)], shape, keepDims=len(shape) == 4, **options)


def deviations(b):
    """As a variance is computed: of the differences from a mean."""
    mean = summed(b, 0, axes=(1, 2), shape=(1, 1, 1, 5))
    return summed(b, b.op("SQUARED_DIFFERENCE", [0, mean], MAP), axes=(1, 2), shape=(1, 1, 1, 5))


REPLACED = {
    "mean of channels": lambda b: summed(b, b.op("MUL", [0, 0], MAP)),
    "sum over all": lambda b: summed(b, b.op("MUL", [0, 0], MAP), "SUM", (0, 1, 2, 3), ()),
    "differences over locations": deviations,
    "sum over columns, without its axis": lambda b: summed(b, b.op("MUL", [0, 0], MAP), "SUM", (2,), (1, 6, 5)),
    "rows and channels": lambda b: summed(b, b.op("MUL", [0, 0], MAP), "MEAN", (1, -1), (1, 1, 4, 1)),
}


@pytest.mark.fast
@pytest.mark.parametrize("name", REPLACED)
def test_products_of_vectors_compute_the_same(name):
    b = FileBuilder(MAP)
    flat = b.file(REPLACED[name](b))
    before = flat.content()
    sum_of_squares_to_matmul(flat)
    assert "BATCH_MATMUL" in kinds(flat)
    assert not any(flat.is_square(o) or flat.kind(o) == "SQUARED_DIFFERENCE" for o in flat.operators)
    check_same_function(before, flat)


def read_twice(b):
    square = b.op("MUL", [0, 0], MAP)
    return [summed(b, square), b.op("RELU", [square], MAP)]


STAY = {
    "squares that another reads": read_twice,
    "a product of two tensors": lambda b: [summed(b, b.op("MUL", [0, b.op("NEG", [0], MAP)], MAP))],
    "an activation": lambda b: [summed(b, b.op("MUL", [0, 0], MAP, fusedActivationFunction=RELU6))],
    "the largest square": lambda b: [
        b.op(
            "REDUCE_MAX",
            [b.op("MUL", [0, 0], MAP), b.constant([3], np.int32)],
            (1, 6, 4, 1),
            table=schema.ReducerOptionsT(True),
        )
    ],
    "a single value": lambda b: [summed(b, b.op("MUL", [0, 0], MAP), axes=(0,), shape=MAP)],
}


@pytest.mark.fast
@pytest.mark.parametrize("name", STAY)
def test_what_is_no_sum_of_squares_stays(name):
    b = FileBuilder(MAP)
    flat = b.file(*STAY[name](b))
    check_left_alone(flat, sum_of_squares_to_matmul)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("shape", "kind"), [((1, 182, 182, 1), "SQUARED_DIFFERENCE"), ((1, 64, 64, 5), "MUL")], ids=["32 bits", "delegate"]
)
def test_large_sums_stay(shape, kind):
    """More than 2^15 squares of up to 255 steps do not fit into 32 bits; a large MUL is faster as it is."""
    b = FileBuilder(shape)
    other = b.op("NEG", [0], shape) if kind == "SQUARED_DIFFERENCE" else 0
    flat = b.file(summed(b, b.op(kind, [0, other], shape), axes=(1, 2), shape=(1, 1, 1, shape[-1])))
    check_left_alone(flat, sum_of_squares_to_matmul)

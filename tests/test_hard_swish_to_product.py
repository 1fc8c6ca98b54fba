"""int8 hard swishes become sums and products, on files made by hand."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

import spiq_tf
from spiq_tf.tflite.passes.hard_swish_to_product import hard_swish_to_product
from spiq_tf.tflite.state import IntegerState
from tests.flat import FileBuilder, kinds
from tests.integer_files import all_integers, check_left_alone, integer_outputs, integer_state

pytestmark = pytest.mark.fast

SHAPE = (1, 8, 8, 4)
REACH = (-8.0, 8.0)
RESULT = (-0.375, 8.0)


def swish(b, x=0, shape=SHAPE):
    return b.op("HARD_SWISH", [x], shape, table=schema.HardSwishOptionsT())


def exact(x):
    return x * np.clip(x + 3, 0, 6) / 6


@pytest.mark.parametrize("reach", [8.0, 3.0, 1.0, 60.0])
def test_it_is_the_function_within_a_step(reach):
    """Of the output, whose range is the function's: the gate's own rounding moves it by half a step at most."""
    b = FileBuilder(SHAPE)
    y = swish(b)
    state = integer_state(b.file(y), {0: (-reach, reach), y: (-0.375, float(exact(reach)))})
    x = all_integers(state, SHAPE)
    hard_swish_to_product(state)
    assert kinds(state.flat) == ["ADD", "MUL", "MUL"]
    parameters = state.flat.quantization(y)
    for (found,) in integer_outputs(state.flat.content(), [x]):
        np.testing.assert_allclose(found * parameters.scale, exact(x), rtol=0, atol=1.01 * parameters.scale)


def convolve(b, x, shape=SHAPE):
    weights = b.constant(np.linspace(-1, 1, 16).reshape(4, 1, 1, 4))
    once = dict.fromkeys(("strideW", "strideH", "dilationWFactor", "dilationHFactor"), 1)
    options = schema.Conv2DOptionsT(padding=schema.Padding.VALID, **once)
    return b.op("CONV_2D", [x, weights, b.constant(np.linspace(-0.5, 0.5, 4))], shape, table=options)


def test_the_sixth_goes_into_the_weights_that_follow():
    """No integer of weights or biases changes, and the file computes what it computed with a third operator."""
    b = FileBuilder(SHAPE)
    y = swish(b)
    z = convolve(b, y)
    flat = b.file(z)
    state = integer_state(flat, {0: REACH, y: RESULT, z: (-6.0, 6.0)}, {y: "swish", z: "convolution"})
    before = state.flat.quantization(y)
    weights, bias = (state.flat.value(int(i)) for i in state.flat.operators[-1].inputs[1:])
    x = all_integers(state, SHAPE)
    expected = integer_outputs(state.flat.content(), [x])
    hard_swish_to_product(state)
    assert kinds(state.flat) == ["ADD", "MUL", "CONV_2D"]
    after = state.flat.quantization(y)
    assert after.zero_point == before.zero_point
    np.testing.assert_allclose(after.scale, 6 * before.scale, rtol=1e-6)
    assert state.provenance[y].factor == 6
    assert state.provenance[z].factor == 1
    for index, value in zip(state.flat.operators[-1].inputs[1:], (weights, bias), strict=True):
        np.testing.assert_array_equal(state.flat.value(int(index)), value)
    found = integer_outputs(state.flat.content(), [x])
    for old, new in zip(expected, found, strict=True):  # three steps: the native kernel rounds otherwise
        assert np.abs(old[0] - new[0]).max() <= 3


def test_it_passes_means_and_products_on_its_way():
    """As in a squeeze-and-excitation block: the mean's convolution and that of the product take the sixth."""
    b = FileBuilder(SHAPE)
    y = swish(b)
    mean = b.op("MEAN", [y, b.constant([1, 2], np.int32)], (1, 1, 1, 4), keepDims=True)
    gate = b.op("LOGISTIC", [gated := convolve(b, mean, (1, 1, 1, 4))], (1, 1, 1, 4))
    product = b.op("MUL", [y, gate], SHAPE)
    z = convolve(b, product)
    known = {
        0: REACH,
        y: RESULT,
        mean: RESULT,
        gated: (-4.0, 4.0),
        gate: (0.0, 255 / 256),
        product: RESULT,
        z: (-6.0, 6.0),
    }
    state = integer_state(b.file(z), known)
    scales = {index: state.flat.quantization(index).scale for index in known}
    hard_swish_to_product(state)
    assert kinds(state.flat).count("MUL") == 2
    factors = {index: state.flat.quantization(index).scale / scales[index] for index in known}
    expected = dict.fromkeys(known, 1.0) | dict.fromkeys((y, mean, product), 6.0)
    assert {index: round(factor, 5) for index, factor in factors.items()} == expected


def added(b, y):
    return b.op("ADD", [y, 0], SHAPE)


def returned_too(b, y):
    return convolve(b, y), y


def activated(b, y):
    return b.op("TANH", [y], SHAPE)


def shifted_by_a_constant(b, y):
    return convolve(b, b.op("MAXIMUM", [y, b.constant(np.float32(0.5))], SHAPE))


@pytest.mark.parametrize("rest", [added, returned_too, activated, shifted_by_a_constant])
def test_what_is_no_product_of_it_gets_the_value_itself(rest):
    """The sixth is an operator of its own there, and no scale of others changes."""
    b = FileBuilder(SHAPE)
    y = swish(b)
    last = rest(b, y)
    outputs = last if isinstance(last, tuple) else (last,)
    flat = b.file(*outputs)
    known = dict.fromkeys(flat.activations(), (-8.0, 8.0)) | {y: RESULT}
    if "MAXIMUM" in kinds(flat):
        known |= {int(flat.operators[1].outputs[0]): RESULT}
    if "TANH" in kinds(flat):
        known |= {outputs[0]: (-1.0, 127 / 128)}
    state = integer_state(flat, known, {y: "swish"})
    scales = {index: state.flat.quantization(index).scale for index in known}
    hard_swish_to_product(state)
    assert kinds(state.flat)[:3] == ["ADD", "MUL", "MUL"]
    assert state.provenance[y].factor == 1
    assert {index: state.flat.quantization(index).scale for index in known} == scales


@pytest.mark.parametrize("reach", [1000.0, 5000.0, 1e-3])
def test_a_reach_that_additions_do_not_hold_is_left_alone(reach):
    """LiteRT's own kernel narrows a sum to 16 bits: x + 3 above 768 would come out as the lowest integer of [0, 6]."""
    b = FileBuilder(SHAPE)
    y = swish(b)
    check_left_alone(integer_state(b.file(y), {0: (-reach, reach), y: (-0.375, reach)}), hard_swish_to_product)


def test_the_largest_reach_is_right_with_the_delegate_and_without():
    b = FileBuilder(SHAPE)
    y = swish(b)
    state = integer_state(b.file(y), {0: (-700.0, 700.0), y: (-0.375, 700.0)})
    x = all_integers(state, SHAPE)
    hard_swish_to_product(state)
    assert kinds(state.flat) == ["ADD", "MUL", "MUL"]
    scale = state.flat.quantization(y).scale
    for (found,) in integer_outputs(state.flat.content(), [x]):
        np.testing.assert_allclose(found * scale, exact(x), rtol=0, atol=1.01 * scale)


def test_one_that_stays_float_is_left_alone():
    b = FileBuilder(SHAPE)
    flat = b.file(swish(b))
    check_left_alone(IntegerState(flat=flat), hard_swish_to_product)


def test_a_result_tells_the_range_of_what_the_file_holds():
    """Six times the values: in the model's units, range times channel scale, nothing changes."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Activation("hard_swish", name="swish")(layers.Conv2D(4, 3, name="first")(image))
    model = keras.Model(image, layers.Conv2D(2, 3, name="second")(x))
    tensors = {
        target: next(
            t for t in spiq_tf.quantize(model, input_range=(-1, 1), target=target).tensors if t.layer == "swish"
        )
        for target in ("portable", "tflite-micro")
    }
    ours, native = tensors["portable"], tensors["tflite-micro"]
    for end in ("low", "high", "scale"):
        np.testing.assert_allclose(getattr(ours, end), 6 * getattr(native, end), rtol=1e-6)
    np.testing.assert_allclose(np.multiply(ours.channel_scales, 6), native.channel_scales, rtol=1e-6)

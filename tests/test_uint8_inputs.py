"""uint8 inputs take an image's bytes as they are."""

import keras
import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from keras import layers

import spiq_tf
from spiq_tf.tflite.flatbuffer import FlatModel
from tests.converted_files import kinds_of
from tests.networks import conv_bn, settle
from tests.oracles import decibels

# dB: how much more noise than a file's that is fed the model's own values; pixels half a step off, all the same way,
# cost 3 dB and more
LOSS = 1.0


def network(*front, padding="same", values=None):
    keras.utils.set_random_seed(5)
    image = keras.Input((16, 16, 3), name="image")
    x = image
    for layer in front:
        x = layer(x)
    x = layers.Conv2D(8, 3, padding=padding, use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = conv_bn(x, 8, activation=layers.ReLU())
    values = values or ((0.0, 255.0) if front else (-1.0, 1.0))
    model = keras.Model(image, layers.Dense(6)(layers.GlobalAveragePooling2D()(x)))
    return settle(model, values=values)


def pixels(count=48):
    """Smooth images of bytes."""
    random = np.random.default_rng(2)
    coarse = random.uniform(0, 255, (count, 4, 4, 3)).repeat(4, 1).repeat(4, 2)
    return np.clip(coarse + random.normal(0, 20, (count, 16, 16, 3)), 0, 255).astype(np.uint8)


def run(content, images):
    """Outputs of a file that is fed integers as they are."""
    interpreter = litert.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = end["quantization"]
    found = []
    for image in images:
        interpreter.set_tensor(entry["index"], image[None])
        interpreter.invoke()
        found.append((interpreter.get_tensor(end["index"]).astype(float) - zero_point) * scale)
    return np.concatenate(found)


def signed():
    return layers.Rescaling(1 / 127.5, offset=-1)


FRONTS = {  # what stands in front, and the lowest and highest value that the input's scale speaks of
    "unit": (lambda: [layers.Rescaling(1 / 255)], (0, 255)),  # the converter itself multiplies the weights by 1 / 255
    "signed": (lambda: [signed()], (-1, 1)),
    "padded": (lambda: [signed(), layers.ZeroPadding2D(((0, 1), (0, 1)))], (-1, 1)),
}


@pytest.mark.parametrize("front", FRONTS)
def test_a_rescaling_needs_no_operator(front):
    make, (low, high) = FRONTS[front]
    model = network(*make(), padding="valid" if front == "padded" else "same")
    usual = spiq_tf.convert(model, inference_input_type="int8")
    result = spiq_tf.quantize(model, inference_input_type="uint8")
    assert kinds_of(result.content)[:2] == ["QUANTIZE", "PAD" if front == "padded" else "CONV_2D"]
    images = pixels()
    expected = model(images.astype(np.float32)).numpy()
    reference = decibels(expected, run(usual, (images.astype(int) - 128).astype(np.int8)))
    assert decibels(expected, run(result.content, images)) > reference - LOSS
    # scale and zero point say what the bytes stand for
    flat = FlatModel(result.content)
    parameters = flat.quantization(int(flat.subgraph.inputs[0]))
    scale, zero_point = parameters.scale, parameters.zero_point
    assert scale == pytest.approx((high - low) / 255, rel=1e-6)
    assert abs((0 - zero_point) * scale - low) <= scale / 2 * 1.001
    for target in ("portable", "edgetpu", "ethos-u"):
        assert spiq_tf.check(result.content, target) == ()
    assert spiq_tf.verify(model, result, images).sqnr_db > reference - LOSS
    assert spiq_tf.verify(model, result.content).generated


@pytest.mark.fast
def test_pixels_of_a_model_that_is_fed_signed_values():
    """Bytes are copied; quantizing them anew by scale and zero point, half-way values upward, is the same."""
    model = network()
    content = spiq_tf.convert(model, input_range=(-1, 1), inference_input_type="uint8")
    images = pixels()
    values = (images / 127.5 - 1).astype(np.float32)
    expected = model(values).numpy()
    exact = spiq_tf.verify(model, spiq_tf.convert(model, input_range=(-1, 1)), values).sqnr_db
    assert decibels(expected, run(content, images)) > exact - LOSS
    flat = FlatModel(content)
    parameters = flat.quantization(int(flat.subgraph.inputs[0]))
    scale, zero_point = parameters.scale, parameters.zero_point
    again = np.floor(values.astype(float) / scale + 0.5 + 1e-4) + zero_point
    assert np.array_equal(again, images)


def test_what_must_stay_as_it_is():
    # channels that differ; readers other than convolutions
    normalized = network(layers.Rescaling([1 / 255, 1 / 127.5, 1 / 255]))
    content = spiq_tf.convert(normalized, inference_input_type="uint8", input_range=(0, 255))
    assert kinds_of(content)[:2] == ["QUANTIZE", "DEPTHWISE_CONV_2D"]
    image = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 255)(image)
    joined = layers.Concatenate()([x, conv_bn(x, 4)])
    model = settle(keras.Model(image, conv_bn(joined, 4)), values=(0.0, 255.0))
    content = spiq_tf.convert(model, inference_input_type="uint8")
    assert kinds_of(content)[:2] == ["QUANTIZE", "MUL"]
    images = pixels()
    assert decibels(model(images.astype(np.float32)).numpy(), run(content, images)) > 20


def test_only_a_rescaling_is_taken_in():
    """Not a depthwise convolution that looks like one, with a stride or without."""
    for strides, kind in ((1, "MUL"), (2, "DEPTHWISE_CONV_2D")):
        keras.utils.set_random_seed(6)
        image = keras.Input((16, 16, 3))
        x = layers.DepthwiseConv2D(1, strides=strides, depthwise_initializer="ones", name="d")(image)
        model = keras.Model(image, layers.Conv2D(4, 3)(x))
        content = spiq_tf.convert(model, input_range=(0, 1), inference_input_type="uint8", ranges={"d": (0, 1)})
        assert kinds_of(content)[:2] == ["QUANTIZE", kind]


@pytest.mark.parametrize("given", [(0.2, 1.0), ([-2.1, -2.0, -1.8], [2.2, 2.4, 2.6])])
def test_bytes_that_would_be_wrong_are_warned_of(given):
    with pytest.warns(spiq_tf.PixelBytesWarning, match="an image's bytes would be up to .* steps off"):
        spiq_tf.convert(network(), input_range=given, inference_input_type="uint8")


def test_other_rescalings_are_verified_in_their_own_range():
    model = network(layers.Rescaling(2.0, offset=-1), values=(0.0, 1.0))
    result = spiq_tf.quantize(model, input_range=(0, 1), inference_input_type="uint8")
    assert spiq_tf.verify(model, result).problems == ()

"""What must hold of every network, on networks that nobody chose.

`build(draw_description(seed))` is the network that a failing test names. More of them:

    python -m pytest -n 2 tests/test_random_networks.py --random_networks=200
"""

import warnings

import keras
import numpy as np
import pytest
from keras import layers
from rounded_model import rounded_outputs

import spiq_tf
from tests.networks import RANGE, images, measured
from tests.oracles import decibels, least_scale, rms, run_file, scales
from tests.random_blocks import Block
from tests.random_networks import Description, build, draw_description
from tests.tiers import with_fast

IMAGES = 16
ALLOWANCE = 8.0
"""Decibels that a file may lie below the same network rounded with ranges of the very images.

The oracle's noise grows with depth as the network's own sensitivity has it, which a bound on the number of layers would
not know. Its ranges fit the images that are compared, where those of a conversion without data must hold for any: twice
to three times as wide, they cost 6 to 10 dB, of which the scales of channels win some back.
"""
SAMPLED = 6.0
"""Decibels more where a layer is known by samples alone: all that is downstream of it has still wider ranges."""
ENOUGH = 22.0
"""Decibels that suffice whatever the oracle says: what is not normalized has ranges that are off by chance, and an
average over one image that is flat reaches farther than any statistics say."""
VARIES = 2.0
"""Steps of the output's scale by which it must differ between images; below, its constant part alone is compared."""
CONSTANT = 2.0
"""Largest error of an output that hardly varies, in steps of its scale."""
WEAK = {32: 3.0, 39: 9.0}
"""Decibels that suffice of networks that lose more than others, by seed: what they have today, to be raised."""
WEAK_CONSTANT = {33: 11.0, 36: 3.0}
"""The same of outputs that hardly vary, in steps of the output's scale."""
WIDEST = 40.0
"""How many times as wide as the values of 16 images the range of an output may be that hardly varies."""


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("random_networks")))


def test_random_network(seed):
    check(draw_description(seed), WEAK.get(seed, ENOUGH), WEAK_CONSTANT.get(seed, CONSTANT))


@pytest.mark.parametrize("name", ["fixed scale of a tanh in a concatenation", "gated constant"])
def test_weights_of_four_bits_are_noticed(name):
    """The floors are such that half of the bits cannot be lost unseen."""
    model = build(FOUND[name])
    x = images(model, IMAGES)
    with keras.StatelessScope(state_mapping=[(v, four_bits(v)) for v in model.variables if v.path.endswith("kernel")]):
        found = np.asarray(model(x, training=False))
    expected = np.asarray(model(x, training=False))
    (simulated,) = rounded_outputs(model, [x], RANGE)
    floor = min(decibels(expected, simulated) - ALLOWANCE, ENOUGH)
    check_output(expected, simulated, least_scale(expected), floor)
    with pytest.raises(AssertionError, match="computes something else"):
        check_output(expected, found, least_scale(expected), floor)


def four_bits(kernel):
    """With 15 values for each output channel."""
    value = np.asarray(kernel)
    step = np.abs(value).max(axis=tuple(range(value.ndim - 1)), keepdims=True) / 7
    return np.round(value / np.maximum(step, 1e-12)) * step


def check(description, enough=ENOUGH, constant=CONSTANT):
    keras.backend.clear_session(free_memory=False)
    model = build(description)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spiq_tf.SpiqWarning)  # extreme gammas cause both, rightly
        result = spiq_tf.quantize(model, input_range=RANGE)
    inputs = images(model, IMAGES)
    inputs = inputs if isinstance(inputs, list) else [inputs]
    expected = [np.asarray(y, np.float64) for y in keras.tree.flatten(model(inputs, training=False))]
    files = [run_file(result.content, inputs, delegate) for delegate in (True, False)]
    check_operators(result)
    check_rewritten(description, result, inputs, expected)
    rounded = rounded_outputs(model, inputs, RANGE)
    for y, simulated, delegated, plain, scale in zip(expected, rounded, *files, scales(result.content), strict=True):
        floor = min(decibels(y, simulated) - ALLOWANCE - SAMPLED * bool(result.fallback_layers), enough)
        check_output(y, delegated, scale, floor, constant)
        apart = delegated - plain
        assert rms(apart) <= 1.5 * scale or decibels(y, y + apart) >= floor, "XNNPACK and the plain kernels differ"


def check_output(y, found, scale, floor, constant=CONSTANT):
    """An output of the file is as near to the float model's as the floor says."""
    assert np.all(np.isfinite(found))
    if not np.any(y):
        assert not np.any(found)
    elif np.std(y - y.mean(axis=0)) < VARIES * scale:
        assert rms(y - found) <= constant * scale
        assert scale <= WIDEST * least_scale(y)
    else:
        assert decibels(y, found) >= floor, "the file computes something else than the model"


def check_operators(result):
    assert result.float_operators == ()


def check_rewritten(description, result, inputs, expected):
    """The same function; where an activation has a maximum, scales cut a little, which counts as noise."""
    if any(block.activation in ("relu6", "relu_1") for block in description.blocks):
        return
    for y, found in zip(expected, keras.tree.flatten(result.rewritten_model(inputs, training=False)), strict=True):
        assert np.sqrt(np.mean((y - found) ** 2)) <= 1e-4 * np.sqrt(np.mean(y**2)) + 1e-6


FOUND = {
    "softplus before a convolution": Description(blocks=(Block(activation="softplus"), Block())),
    "mish before a convolution": Description(blocks=(Block(activation="mish"), Block())),
    "selu before a convolution": Description(blocks=(Block(activation="selu"), Block())),
    "factor of a hard sigmoid moved into a convolution": Description(
        blocks=(Block(activation="hard_sigmoid"), Block())
    ),
    "mean of a maximum over the map": Description(blocks=(Block(kind="added"),), heads=("maxima",), seed=8),
    "fixed scale of a tanh in a concatenation": Description(
        blocks=(Block(activation="tanh"), Block(kind="concatenated", norm="dead")), heads=("map",)
    ),
    "one-dimensional convolution before a softplus": Description(blocks=(Block(kind="series", activation="softplus"),)),
    "range of a sum that a ReLU with maximum cuts": Description(
        blocks=(Block(kind="norm_alone", norm="extreme", activation="relu_1"),), seed=3
    ),
    "saturating channels beside others in a concatenation": Description(
        blocks=(
            Block(activation="mish", norm="extreme"),
            Block(kind="concatenated", norm="none", activation="relu_1"),
            Block(kind="concatenated", activation="relu_1"),
        ),
        seed=3,
    ),
    "dead ReLU6 beside others in a concatenation": Description(
        blocks=(
            Block(kind="depthwise", norm="dead", activation="relu6"),
            Block(kind="concatenated", activation="gelu"),
            Block(kind="added", activation="softmax"),
        ),
        heads=("map",),
        seed=8,
    ),
    "two saturations in a concatenation": Description(
        blocks=(Block(activation="relu_1", norm="extreme"), Block(kind="concatenated", activation="relu6")), seed=6
    ),
    "gated constant": Description(
        blocks=(
            Block(kind="dense_on_map", filters=8, norm="dead", activation="prelu"),
            Block(kind="position_gate", filters=8, size=1),
            Block(kind="dense_on_map", filters=1, norm="signed"),
        ),
        seed=1,
    ),
    "steep input of a hard swish": Description(
        blocks=(
            Block(kind="channel_gate", filters=8, norm="dead", activation="silu"),
            Block(norm="dead", activation="hard_silu"),
            Block(kind="nested", norm="dead", activation="hard_silu"),
        ),
        heads=("mask",),
        seed=9,
    ),
    "one layer on two maps": Description(
        side=7,
        inputs=2,
        blocks=(Block(kind="shared", activation="softplus"), Block(kind="shared", activation="softsign", back=3)),
    ),
    "dead channels along a sequence": Description(
        blocks=(Block(kind="dense_on_map", filters=1), Block(kind="series", norm="dead")), seed=5
    ),
    "strided kernel of one tap, whose derivative ends the process": Description(
        side=7, blocks=(Block(kind="padded", filters=1, size=1, stride=2, valid=True),)
    ),
    "bias of a kernel that is all but dead": Description(
        blocks=(
            Block(kind="nested", norm="signed", activation="softsign"),
            Block(kind="residual", filters=1, norm="dead"),
        ),
        seed=3,
    ),
    "constant that a saturated ReLU6 hides": Description(
        blocks=(
            Block(kind="nested", activation="softmax"),
            Block(kind="residual", filters=1, norm="dead", activation="relu6"),
        ),
        seed=3,
    ),
    "dead channels of a norm alone": Description(
        blocks=(
            Block(filters=1, activation="sigmoid"),
            Block(kind="norm_alone", norm="dead", activation="hard_sigmoid"),
        )
    ),
}
"""Networks that failed once, made small, each by what was wrong."""


@pytest.mark.parametrize("name", with_fast(FOUND, ("gated constant", "one layer on two maps")))
def test_found(name):
    check(FOUND[name])


def test_ranges_fit_float32(monkeypatch):
    """Without the probe, in which the whole process ends."""
    monkeypatch.setattr("spiq_tf.pipeline.warn_if_degenerate", lambda *args: None)
    image = keras.Input((8, 8, 3), name="image")
    norm = layers.BatchNormalization()
    x = layers.Activation("selu")(norm(layers.Conv2D(4, 3)(image)))
    model = keras.Model(image, layers.Conv2D(2, 1)(x))
    norm.gamma.assign(np.full(4, 40.0))
    tensors = spiq_tf.quantize(measured(model), input_range=RANGE).tensors
    assert max(abs(end) for t in tensors for end in (t.low, t.high)) < np.finfo(np.float32).max


def test_padded_average_as_large_as_the_map():
    """InceptionV3 has it from 139 to 170 pixels."""
    image = keras.Input((3, 3, 3), name="image")
    x = layers.AveragePooling2D(3, strides=1, padding="same")(layers.Conv2D(4, 1)(image))
    model = keras.Model(image, layers.Conv2D(2, 1)(x))
    content = spiq_tf.quantize(model, input_range=RANGE).content
    (found,), (step,) = run_file(content, images(model, IMAGES)), scales(content)
    errors = np.abs(model.predict(images(model, IMAGES), verbose=0) - found) / step
    assert errors.max() < 2  # the rounding of the output and of the average in front
    assert np.sqrt(np.mean((found / step) ** 2)) > 6  # of 128 steps: averages of noise are small

"""What must hold of every network, on networks that nobody chose.

A failure prints a `Description`; `build` makes the network of it again. More of them:

    python -m pytest tests/test_random_networks.py --random_networks=1000 --hypothesis-seed=1
"""

import warnings

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from keras import layers
from rounded_model import rounded_outputs

import spiq_tf
from spiq_tf.tflite.interpreter import Interpreter
from tests.networks import RANGE, images, measured
from tests.random_blocks import Block
from tests.random_networks import DESCRIPTION, Description, build

IMAGES = 16
ALLOWANCE = 14.0
"""Decibels that a file may lie below the same network rounded with ranges of the very images.

The oracle's noise grows with depth as the network's own sensitivity has it, which a bound on the number of layers would
not know. Its ranges fit the images that are compared, where those of a conversion without data must hold for any: twice
to three times as wide, they cost 6 to 10 dB; the rest is for tensors inside a layer, which the oracle does not round.
"""
SAMPLED = 10.0
"""Decibels more where a layer is known by samples alone: all that is behind it has ranges that are wider still."""
ENOUGH = 10.0
"""Decibels that suffice whatever the oracle says: what is not normalised has ranges that are off by chance."""
OUTLIERS = 2
"""Images of the 16 that may err more: an average over one that is flat reaches farther than any statistics say."""
VARIES = 2.0
"""Steps of the output's scale by which it must differ between images; below, there is no signal to compare."""


@pytest.fixture(scope="session")
def count(request):
    return request.config.getoption("random_networks")


def test_random_networks(count):
    """The default examples are always the same; with --random_networks they are drawn by --hypothesis-seed."""
    fixed = count is None
    options = {"derandomize": True} if fixed else {}
    quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    limits = settings(max_examples=200 if fixed else count, deadline=None, database=None, suppress_health_check=quiet)
    settings(limits, **options)(given(DESCRIPTION)(check))()


def check(description):
    keras.backend.clear_session()
    model = build(description)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spiq_tf.SpiqWarning)  # extreme gammas cause both, rightly
        result = spiq_tf.quantize(model, input_range=RANGE)
    inputs = images(model, IMAGES)
    inputs = inputs if isinstance(inputs, list) else [inputs]
    expected = [np.asarray(y, np.float64) for y in keras.tree.flatten(model(inputs, training=False))]
    files = [ran(result.content, inputs, delegate) for delegate in (True, False)]
    check_operators(result)
    check_rewritten(description, result, inputs, expected)
    rounded = rounded_outputs(model, inputs, RANGE)
    for y, simulated, delegated, plain, step in zip(expected, rounded, *files, steps(result.content), strict=True):
        assert np.all(np.isfinite(delegated))
        if np.std(y - y.mean(axis=0)) < VARIES * step:
            continue  # dead, or nearly: its constant part alone would be compared
        floor = min(decibels(y, simulated) - ALLOWANCE - SAMPLED * bool(result.fallback_layers), ENOUGH)
        usual = np.argsort(np.sum((y - delegated) ** 2, axis=tuple(range(1, y.ndim))))[: IMAGES - OUTLIERS]
        assert decibels(y[usual], delegated[usual]) >= floor, "the file computes something else than the model"
        apart = np.sqrt(np.mean((delegated - plain) ** 2))
        assert apart <= 1.5 * step or decibels(y, y + delegated - plain) >= floor, (
            "XNNPACK and the plain kernels differ"
        )


def check_operators(result):
    assert result.float_operators == ()


def check_rewritten(description, result, inputs, expected):
    """The same function; where an activation has a maximum, scales cut a little, which counts as noise."""
    if any(block.activation in ("relu6", "relu_1") for block in description.blocks):
        return
    for y, found in zip(expected, keras.tree.flatten(result.rewritten_model(inputs, training=False)), strict=True):
        assert np.sqrt(np.mean((y - found) ** 2)) <= 1e-4 * np.sqrt(np.mean(y**2)) + 1e-6


def ran(content, inputs, delegate):
    interpreter = Interpreter(content, delegate=delegate)
    found = [interpreter.run([x[k : k + 1] for x in inputs]) for k in range(IMAGES)]
    return [np.concatenate(values).astype(np.float64) for values in zip(*found, strict=True)]


def steps(content):
    """The scale of each output; a float output, behind an operator that stays float, has none."""
    return [detail["quantization"][0] for detail in Interpreter(content).outputs]


def decibels(expected, found):
    noise = np.sum((expected - found) ** 2)
    return 10 * np.log10(np.sum(expected**2) / noise) if noise else np.inf


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


@pytest.mark.parametrize("name", FOUND)
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
    (found,), (step,) = ran(content, [images(model, IMAGES)], True), steps(content)
    errors = np.abs(model.predict(images(model, IMAGES), verbose=0) - found) / step
    assert errors.max() < 2  # the rounding of the output and of the average in front
    assert np.sqrt(np.mean((found / step) ** 2)) > 6  # of 128 steps: averages of noise are small

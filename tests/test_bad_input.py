"""Each wrong input has an error of its own that names what is wrong, and nothing is written."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import spiq_tf
from spiq_tf.frontend.capture import capture
from spiq_tf.options import checked_options
from spiq_tf.tflite.lowering import lower
from tests.networks import NETWORKS, RANGE, residual


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="mine")
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


@pytest.mark.fast
def test_not_a_keras_model():
    with pytest.raises(spiq_tf.ModelTypeError, match=r"keras\.Model.*builtins\.dict"):
        spiq_tf.convert({})


@pytest.mark.fast
def test_unbuilt_model():
    with pytest.raises(spiq_tf.InvalidModelError, match="not built"):
        spiq_tf.convert(keras.Sequential([layers.Dense(2)]))


def test_subclassed_model_without_shapes():
    with pytest.raises(spiq_tf.InvalidModelError, match="'mine' is a subclassed model"):
        spiq_tf.convert(Subclassed())


@pytest.mark.fast
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(value):
    model = residual()
    kernel = np.array(model.layers[1].kernel)
    kernel[0, 0, 0, 0] = value
    model.layers[1].kernel.assign(kernel)
    with pytest.raises(spiq_tf.InvalidModelError, match=f"{model.layers[1].name}.*1 NaN or infinite of 432"):
        spiq_tf.convert(model, input_range=RANGE)


@pytest.mark.fast
def test_negative_variance():
    model = residual()
    norm = model.layers[2]
    norm.moving_variance.assign(np.full(16, -0.5))
    with pytest.raises(spiq_tf.InvalidModelError, match=rf"{norm.name}.*moving_variance >= 0, found -0\.5"):
        spiq_tf.convert(model, input_range=RANGE)


def test_dynamic_size():
    image = keras.Input((None, None, 3), name="picture")
    model = keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image)))
    with pytest.raises(spiq_tf.InvalidModelError, match=r"'picture'.*None.*fixed = keras\.Input"):
        spiq_tf.convert(model, input_range=RANGE)
    fixed = keras.Input((12, 12, 3))
    assert spiq_tf.convert(keras.Model(fixed, model(fixed)), input_range=RANGE)


@pytest.mark.parametrize("layer", [keras.ops.sum, lambda x: x * keras.ops.mean(x)])
def test_a_single_number(layer):
    """An output, or within the model."""
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layer(layers.Conv2D(4, 3)(image)))
    with pytest.raises(spiq_tf.InvalidModelError, match=r"layer '(sum|mean).*returns a scalar.*axis=\(1, 2, 3\)"):
        spiq_tf.convert(model, input_range=RANGE)


def test_integer_input():
    tokens = keras.Input((4,), dtype="int32", name="tokens")
    model = keras.Model(tokens, layers.Flatten()(layers.Embedding(5, 3)(tokens)))
    with pytest.raises(spiq_tf.InvalidModelError, match="'tokens' holds int32"):
        spiq_tf.convert(model, input_range=RANGE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((1, -1), "low < high.*reversed"),
        ((0, 0), "low < high"),
        ((0, np.nan), "finite"),
        ((-np.inf, 1), "finite"),
        ((), r"pair \(low, high\)"),
        ((0, 1, 2), r"pair \(low, high\)"),
        (3, r"pair \(low, high\)"),
        ("ab", r"pair \(low, high\)"),
        (("a", 1), "numbers for low"),
        (((0, 0), 1), "1 or 3 numbers .* for low, found 2"),
        ({"other": (0, 1)}, "no input 'other'.*image"),
    ],
)
def test_malformed_input_range(given, message):
    with pytest.raises(spiq_tf.InputRangeError, match=message):
        spiq_tf.convert(residual(), input_range=given)


@pytest.mark.parametrize("kind", ["int16", "float64", "nothing", 7])
def test_unknown_type(kind):
    with pytest.raises(spiq_tf.InvalidArgumentError, match=r"inference_output_type.*int8, uint8, float32"):
        spiq_tf.convert(residual(), input_range=RANGE, inference_output_type=kind)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, np.True_, np.float32(2), np.int64(0), "2", None])
def test_wrong_batch_size(size):
    with pytest.raises(spiq_tf.InvalidArgumentError, match="batch_size"):
        spiq_tf.convert(residual(), input_range=RANGE, batch_size=size)


def test_batch_size_of_numpy():
    found = checked_options(batch_size=np.int64(2)).batch_size
    assert (found, type(found)) == (2, int)


@pytest.mark.parametrize("method", ["SPIQ", None, ["noise"]])
def test_unknown_method(method):
    with pytest.raises(spiq_tf.InvalidArgumentError, match="method: expected one of noise, spiq, dfq, found"):
        spiq_tf.convert(residual(), input_range=RANGE, method=method)


def test_channels_first():
    image = keras.Input((3, 8, 8), name="image")
    model = keras.Model(image, layers.GlobalAveragePooling2D(data_format="channels_first", name="pool")(image))
    with pytest.raises(spiq_tf.InvalidModelError, match="'pool' is channels_first"):
        spiq_tf.convert(model, input_range=RANGE)


def test_values_without_bound():
    image = keras.Input((8, 8, 3), name="image")
    norm = layers.BatchNormalization()
    model = keras.Model(image, layers.Activation("exponential", name="grow")(norm(layers.Conv2D(4, 3)(image))))
    norm.gamma.assign(np.full(4, 40.0))
    with pytest.raises(spiq_tf.InvalidModelError, match=r"'grow'.*grows without bound"):
        spiq_tf.convert(model, input_range=RANGE)


class Repeating(layers.Layer):
    def call(self, x):
        return tf.while_loop(lambda v: tf.reduce_max(v) < 9.0, lambda v: [v * 2.0], [x])[0]


def test_loops():
    image = keras.Input((8, 8, 3), name="image")
    with pytest.raises(spiq_tf.LoweringError, match="loops and branches"):
        spiq_tf.convert(keras.Model(image, Repeating()(image)), input_range=RANGE)


class Strange(layers.Layer):
    """Two operators that TFLite does not have."""

    def call(self, x):
        return tf.math.igamma(tf.abs(x), x * x) + tf.math.digamma(x)


def test_operators_without_a_form_in_tflite():
    image = keras.Input((8, 8, 3), name="image")
    x = Strange(name="odd")(layers.Conv2D(4, 3)(image))
    model = keras.Model(image, [x, keras.ops.erfinv(0.5 * keras.ops.tanh(x))])
    with pytest.raises(spiq_tf.LoweringError) as found:
        spiq_tf.convert(model, input_range=RANGE)
    assert "no TFLite operator for Digamma (of 'odd'), Erfinv (of 'erfinv'), Igamma (of 'odd'): " in str(found.value)
    assert "func.func" in str(found.value.__cause__)


def test_class_numbers_as_an_output_are_refused():
    image = keras.Input((8, 8, 3), name="image")
    classes = layers.Lambda(lambda x: keras.ops.argmax(x, axis=-1), name="classes")(layers.Conv2D(4, 1)(image))
    with pytest.raises(spiq_tf.InvalidModelError, match=r"'classes.*returns integers.*same order"):
        spiq_tf.convert(keras.Model(image, classes), input_range=RANGE)


def test_numbers_of_float64_are_named():
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, layers.Conv2D(2, 1)(image) * np.sqrt(2 / 512))
    with pytest.raises(spiq_tf.LoweringError, match=r"float64: write float"):
        spiq_tf.convert(model, input_range=(-1, 1))


def test_what_else_the_converter_says_is_cut():
    concrete = tf.function(lambda x: x).get_concrete_function(tf.TensorSpec((1, 2)))
    said = lower._refusal(RuntimeError("no\n  reason " * 100), concrete, capture(residual(), 1))
    assert "no TFLite operators for this model: no reason no reason" in said
    assert len(said) < 600


def test_input_without_channels():
    number = keras.Input((), name="number")
    model = keras.Model(number, layers.Reshape((1,))(number))
    with pytest.raises(spiq_tf.InvalidModelError, match="'number' has the shape"):
        spiq_tf.convert(model, input_range=RANGE)


class Counting(layers.Layer):
    """Counts its calls in a variable: state that a conversion must leave alone."""

    def __init__(self, **options):
        super().__init__(**options)
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.count.assign_add(1.0)
        return x * 1.5


def test_a_layer_with_state_does_not_notice():
    image = keras.Input((8, 8, 3), name="image")
    layer = Counting(name="counting")
    model = keras.Model(image, layers.Conv2D(4, 3)(layer(image)))
    before = float(layer.count.numpy())
    spiq_tf.convert(model, input_range=RANGE)
    assert float(layer.count.numpy()) == before


def test_saving_where_nothing_can_be_written(tmp_path):
    result = spiq_tf.quantize(residual(), input_range=RANGE)
    with pytest.raises(spiq_tf.InvalidArgumentError, match="cannot write"):
        result.save(tmp_path / "missing" / "model.tflite")
    result.save(tmp_path / "model.tflite")
    assert (tmp_path / "model.tflite").read_bytes() == result.content
    assert os.listdir(tmp_path) == ["model.tflite"]


def test_files_that_are_no_models(tmp_path):
    whole = tmp_path / "whole.keras"
    NETWORKS["residual"]().save(whole)
    truncated, text, empty = tmp_path / "truncated.keras", tmp_path / "text.h5", tmp_path / "empty.keras"
    truncated.write_bytes(whole.read_bytes()[:2000])
    text.write_text("no model")
    empty.write_bytes(b"")
    assert spiq_tf.load_model(whole).count_params() > 0
    for path in (truncated, text, empty, tmp_path / "absent.keras", tmp_path / "model.pb"):
        with pytest.raises(spiq_tf.ModelFileError, match=path.name):
            spiq_tf.load_model(path)


def test_file_that_carries_code_is_refused(tmp_path):
    image = keras.Input((4,), name="x")
    model = keras.Model(image, layers.Lambda(lambda v: v * 2)(image))
    model.save(tmp_path / "code.keras")
    with pytest.raises(
        spiq_tf.ModelFileError,
        match=r"code\.keras: refused, since a Lambda layer.*--trust_code_in_files.*safe_mode=False",
    ):
        spiq_tf.load_model(tmp_path / "code.keras")
    assert spiq_tf.load_model(tmp_path / "code.keras", safe_mode=False) is not None


def test_import_on_another_backend_is_refused():
    code = "import sys, types; sys.modules['keras'] = k = types.ModuleType('keras')\n"
    code += "k.backend = types.SimpleNamespace(backend=lambda: 'jax')\nimport spiq_tf"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "KERAS_BACKEND=tensorflow" in done.stderr


def test_an_exception_in_the_middle_leaves_the_model_alone(monkeypatch):
    model = residual()
    before = [np.array(w) for w in model.get_weights()]

    def broken(*arguments, **options):
        raise RuntimeError("stopped")

    monkeypatch.setattr("spiq_tf.tflite.writing.litert_quantizer.quantizer.Quantizer.quantize", broken)
    with pytest.raises(RuntimeError, match="stopped"):
        spiq_tf.convert(model, input_range=RANGE)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)

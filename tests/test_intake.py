"""Every kind of model that users bring: the int8 file against the float model, which is left as it was."""

import contextlib
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras import layers, ops

import spiq_tf
from spiq_tf.frontend.capture import capture
from spiq_tf.frontend.keras2 import _check_same, as_keras3
from spiq_tf.frontend.keras2_layers import _SAME
from spiq_tf.tflite.interpreter import Interpreter
from tests.networks import NETWORKS, RANGE
from tests.oracles import least_scale, rms, run_file, scales

STEPS = 1.5
"""Largest root mean square error of a file, in steps of the output's scale: as for one layer."""

WIDEST = 3.0
"""How many times as wide as the values the range may be whose steps count: a wider one would hide its own error."""

SAMPLED = 10.0
"""The same where a layer is known by samples alone, on samples smoother than the pictures here, or a last activation
multiplies what is in front."""


def pictures(count=32, size=8):
    return np.random.default_rng(3).uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


def settled(model, norms, x):
    """Random gammas and betas, and running statistics measured on x; returns the model."""
    random = np.random.default_rng(0)
    for norm in norms:
        norm.gamma.assign(np.exp(random.normal(0, 0.5, norm.gamma.shape)))
        norm.beta.assign(random.normal(0, 0.7, norm.beta.shape))
        norm.momentum = 0.0
    model(x, training=True)
    for norm in norms:
        norm.momentum = 0.99
    return model


def norms_of(model, kind=layers.BatchNormalization):
    return [x for x in model._flatten_layers() if isinstance(x, kind)]


def state(model):
    """All that a conversion could change: weights, names, what is built, remembered calls."""
    found = model._flatten_layers()
    kept = [(x.name, x.built, len(x._inbound_nodes), len(x._outbound_nodes), sorted(vars(x))) for x in found]
    return [np.array(w).tobytes() for w in model.get_weights()], kept


def errors(content, outputs, inputs):
    """Root mean square error of each output, in steps of its scale; of one that is far too wide, in smaller ones."""
    found = run_file(content, keras.tree.flatten(inputs))
    expected = [np.asarray(tf.cast(y, tf.float32)) for y in tf.nest.flatten(outputs)]
    steps = [min(scale, WIDEST * least_scale(y)) for scale, y in zip(scales(content), expected, strict=True)]
    return [rms(y - f) / step for y, f, step in zip(expected, found, steps, strict=True)]


def check(model, x, steps=STEPS):
    """Converts; the file errs by few steps and the model is left alone. Returns the result."""
    expected = model(x, training=False)
    before = state(model)
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert state(model) == before
    assert max(errors(result.content, expected, x)) < steps
    return result


def same_integers(first, second, x):
    """Whether two files, whose tensors have other names, compute the same."""
    return np.array_equal(*([Interpreter(spiq_tf.convert(m, input_range=RANGE)).run([x[:1]])] for m in (first, second)))


class Block(layers.Layer):
    """Two convolutions and a shortcut; the ReLU is called twice."""

    def __init__(self, filters, **options):
        super().__init__(**options)
        self.filters = filters
        self.first = layers.Conv2D(filters, 3, padding="same", use_bias=False)
        self.second = layers.Conv2D(filters, 3, padding="same", use_bias=False)
        self.norms = [layers.BatchNormalization() for _ in range(2)]
        self.relu = layers.ReLU()
        self.add = layers.Add()

    def call(self, x, training=None):
        y = self.relu(self.norms[0](self.first(x), training=training))
        return self.relu(self.add([self.norms[1](self.second(y), training=training), x]))


class Classifier(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.stem = layers.Conv2D(8, 3)
        self.block = Block(8, name="block")
        self.drop = layers.Dropout(0.5)
        self.pool = layers.GlobalAveragePooling2D()
        self.scores = layers.Dense(5, name="scores")

    def call(self, picture, training=None):
        y = self.block(self.block(self.stem(picture)))
        return self.scores(self.drop(self.pool(y), training=training))


def classifier():
    model = Classifier(name="mine")
    model(pictures())
    return settled(model, norms_of(model), pictures())


@pytest.mark.fast
def test_subclassed_model():
    model, x = classifier(), pictures()
    result = check(model, x)
    assert result.fallback_layers == ()
    layer_names = {t.layer for t in result.tensors}
    assert {"picture", "block/re_lu", "scores"} <= {str(n).split(":")[0].rstrip("_0123456789") for n in layer_names}
    clone = result.rewritten_model
    np.testing.assert_allclose(clone(x), model(x), atol=1e-5 * np.abs(model(x)).max())
    assert not set(map(id, clone.variables)) & set(map(id, model.variables))


def test_same_layers_called_by_hand_give_the_same_integers():
    """The oracle for the expansion: the graph that the user would have written."""
    model = classifier()
    image = keras.Input((8, 8, 3), name="picture")
    y = model.stem(image)
    for _ in range(2):
        block = model.block
        z = block.relu(block.norms[0](block.first(y)))
        y = block.relu(block.add([block.norms[1](block.second(z)), y]))
    by_hand = keras.Model(image, model.scores(model.pool(y)))
    assert same_integers(model, by_hand, pictures())


def test_subclassed_model_from_its_file(tmp_path):
    model = classifier()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(
        tmp_path / "model.keras", custom_objects={"Classifier": Classifier, "Block": Block}
    )
    assert same_integers(model, loaded, pictures())


def test_nested_subclassed_model():
    model, x = classifier(), pictures()
    image = keras.Input((8, 8, 3), name="image")
    outer = keras.Model(image, layers.Dense(3)(layers.ReLU()(model(image))))
    result = check(outer, x)
    assert result.fallback_layers == ()
    assert any(str(t.layer).startswith("mine/block/") for t in result.tensors)


class Normed(layers.Layer):
    """The default of its argument says training, which no conversion may follow."""

    def __init__(self, **options):
        super().__init__(**options)
        self.norm = layers.BatchNormalization()

    def call(self, x, training=True):
        y = self.norm(x, training=training)
        return y + 5.0 if training else y


def test_a_layer_is_expanded_at_inference():
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, Normed()(layers.Conv2D(6, 3)(image)))
    settled(model, norms_of(model), pictures())
    assert check(model, pictures()).fallback_layers == ()


class Heads(keras.Model):
    """A dict goes in, a dict comes out; three convolutions share a name; sums are written as +."""

    def __init__(self):
        super().__init__()
        self.convs = [layers.Conv2D(6, 3, name="conv") for _ in range(3)]
        self.flat = layers.Flatten()
        self.scores = layers.Dense(4)

    def call(self, pair):
        left, right = self.convs[0](pair["left"]), self.convs[1](pair["right"])
        return {"scores": self.scores(self.flat(self.convs[2](left + right))), "left": left}


def test_dicts_and_layers_of_one_name():
    model, x = Heads(), {"left": pictures(), "right": pictures()[::-1]}
    result = check(model, x)
    tensors = {t.layer for t in result.tensors}
    assert {"left", "right"} <= tensors
    ranges = {"left": (-1, 1), "right": (-2, 2)}
    assert spiq_tf.quantize(model, input_range=ranges).tensors[1].high == pytest.approx(2, rel=0.02)
    with pytest.raises(spiq_tf.NotCloneableError, match=r"'heads'.*conv"):
        _ = result.rewritten_model


class Reshaping(keras.Model):
    """Its call computes with the size of the batch."""

    def __init__(self):
        super().__init__()
        self.conv, self.scores = layers.Conv2D(6, 3), layers.Dense(4)

    def call(self, x):
        y = self.conv(x)
        return self.scores(ops.mean(ops.reshape(y, (ops.shape(y)[0], 36, 6)), axis=1))


def test_a_call_that_asks_for_the_batch():
    model = Reshaping()
    model(pictures())
    check(model, pictures())
    shape = Interpreter(spiq_tf.convert(model, input_range=RANGE, batch_size=4)).outputs[0]["shape"]
    assert tuple(shape) == (4, 4)


class OwnWeight(keras.Model):
    def __init__(self, picture_first=True):
        super().__init__(name="weighing")
        self.picture_first = picture_first
        self.conv = layers.Conv2D(6, 3)

    def build(self, shape):
        self.weight = self.add_weight(shape=(6,), initializer="random_normal", name="weight")

    def call(self, x):
        y = self.conv(x)
        return y * self.weight if self.picture_first else self.weight * y


def test_a_weight_of_the_model_itself():
    model = OwnWeight()
    model(pictures())
    result = check(model, pictures())
    with pytest.raises(spiq_tf.NotCloneableError, match="reads the weight 'weighing/weight' itself"):
        _ = result.rewritten_model


class Tied(layers.Layer):
    """Reads its Dense's kernel a second time: turned round, as a tensor, or as the weight itself."""

    def __init__(self, turned, **options):
        super().__init__(**options)
        self.turned = turned
        self.dense = layers.Dense(6, use_bias=False, name="dense")

    def call(self, x):
        y, kernel = self.dense(x), self.dense.kernel
        return ops.matmul(y, ops.transpose(kernel) if self.turned else kernel)


@pytest.mark.fast
@pytest.mark.parametrize("turned", [True, False])
def test_a_weight_that_is_read_beside_its_layer(turned):
    """The kernel may absorb no scale: what is computed from it would not follow, in the file or in the rewrite."""
    image = keras.Input((8, 8, 3), name="image")
    y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3)(image)))
    y = layers.BatchNormalization()(layers.Conv2D(6, 3)(Tied(turned)(y)))
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(y)))
    settled(model, norms_of(model), pictures())
    result, expected = check(model, pictures(), SAMPLED), np.asarray(model(pictures()))
    np.testing.assert_allclose(result.rewritten_model(pictures()), expected, atol=1e-4 * np.abs(expected).max())


class Doubled(keras.Model):
    """Functional by its constructor, with a call of its own around that."""

    def __init__(self):
        image = keras.Input((8, 8, 3), name="image")
        super().__init__(image, layers.Conv2D(4, 3)(image))

    def call(self, x, training=None, mask=None):
        return 2.0 * super().call(x)


def test_functional_model_with_another_call():
    check(Doubled(), pictures())


class Listed(keras.Sequential):
    def call(self, x, training=None, mask=None):
        return super().call(x) + 1.0


def test_sequential_model_with_another_call():
    model = Listed([layers.Conv2D(4, 3)], name="listed")
    with pytest.raises(spiq_tf.InvalidModelError, match="'listed'"):
        spiq_tf.convert(model, input_range=RANGE)
    model(pictures())
    check(model, pictures())


class Raw(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.conv = layers.Conv2D(4, 3)

    def call(self, x):
        return tf.nn.relu(self.conv(x))


class Noisy(Raw):
    def call(self, x):
        return self.conv(x) + keras.random.normal((1, 6, 6, 4))


class Choosing(Raw):
    def call(self, x):
        y = self.conv(x)
        return y if ops.sum(y) > 0 else -y


@pytest.mark.fast
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Raw, r"TensorFlow function.*keras\.ops"),
        (Noisy, "draws random numbers"),
        (Choosing, r"no shapes of inputs.*keras\.Model"),
        (lambda **options: OwnWeight(False), r"x \* self\.scale"),
    ],
)
def test_a_call_that_is_no_graph(kind, message):
    model = kind(name="mine")
    model(pictures())
    before = state(model)
    with pytest.raises(spiq_tf.InvalidModelError, match=message):
        spiq_tf.convert(model, input_range=RANGE)
    assert state(model) == before


def test_inside_a_functional_model_such_a_call_is_one_layer():
    model, image = Raw(name="raw"), keras.Input((8, 8, 3), name="image")
    model(pictures())
    outer = keras.Model(image, layers.Conv2D(4, 3)(model(image)))
    assert check(outer, pictures(), SAMPLED).fallback_layers == ("raw",)


def test_a_model_that_was_never_called():
    with pytest.raises(spiq_tf.InvalidModelError, match=r"'mine' is a subclassed model.*no shapes of inputs"):
        spiq_tf.convert(Classifier(name="mine"), input_range=RANGE)


@pytest.mark.filterwarnings("ignore:.*does not have a `build.*")
def test_a_model_whose_layers_were_never_built():
    model = Classifier(name="mine")
    model.build((None, 8, 8, 3))
    with pytest.raises(spiq_tf.InvalidModelError, match="no weights yet: call the model once"):
        spiq_tf.convert(model, input_range=RANGE)
    assert not model.stem.built


class Pair(keras.Model):
    def __init__(self):
        super().__init__(name="pair")
        self.dense = layers.Dense(3)

    def call(self, first, second):
        return self.dense(first) + self.dense(second)


def test_several_arguments_of_which_keras_remembers_one():
    model = Pair()
    model(np.ones((1, 4)), np.ones((1, 4)))
    with pytest.raises(spiq_tf.InvalidModelError, match=r"takes first, second.*model\.call\(first, second\)"):
        spiq_tf.convert(model, input_range=RANGE)
    first, second = keras.Input((4,)), keras.Input((4,))
    assert spiq_tf.convert(keras.Model([first, second], model.call(first, second)), input_range=RANGE)


@pytest.mark.parametrize(
    "kind", [layers.LSTM, layers.GRU, lambda n, name: layers.Bidirectional(layers.LSTM(n), name=name)]
)
def test_recurrent_layers(kind):
    series = keras.Input((5, 4), name="series")
    with pytest.raises(spiq_tf.InvalidModelError, match=r"layer 'memory'.*is recurrent"):
        spiq_tf.convert(keras.Model(series, kind(3, name="memory")(series)), input_range=RANGE)


# reduced precision

POLICIES = {"mixed_float16": 1e-2, "mixed_bfloat16": 5e-2, "float16": 1e-2, "bfloat16": 5e-2, "float64": 1e-5}
"""How far the twin may be from the original, relative to the largest output: a few roundings of 2^-11 or 2^-8."""


@pytest.fixture(params=POLICIES)
def policy(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


def of_networks(name):
    def make():
        model = NETWORKS[name]()
        return model, np.random.default_rng(3).uniform(-1, 1, (32, *model.inputs[0].shape[1:])).astype(np.float32)

    return make


def with_block():
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(Block(8)(layers.Conv2D(8, 3)(image)))))
    return settled(model, norms_of(model), pictures()), pictures()


@pytest.mark.parametrize("make", [of_networks("residual"), of_networks("sequential"), with_block])
def test_reduced_precision(policy, make):
    model, x = make()
    keras.config.set_dtype_policy("float32")
    expected = np.asarray(tf.cast(model(x, training=False), tf.float32))
    result = check(model, x)
    assert result.fallback_layers == ()
    twin = result.rewritten_model
    assert {v.dtype for v in twin.trainable_variables} == {"float32"}
    assert {layer.compute_dtype for layer in twin._flatten_layers()} == {"float32"}
    np.testing.assert_allclose(twin(x), expected, rtol=0, atol=POLICIES[policy] * np.abs(expected).max())


def test_the_policy_of_the_day_is_kept_and_not_followed():
    keras.config.set_dtype_policy("float16")
    try:
        model, x = with_block()
        check(model, x)
        assert keras.config.dtype_policy().name == "float16"
    finally:
        keras.config.set_dtype_policy("float32")


class Insisting(layers.Layer):
    """Its convolution has a policy that stands in its code."""

    def __init__(self, inner="mixed_float16", **options):
        super().__init__(**options)
        self.inner = inner
        self.conv = layers.Conv2D(4, 3, dtype=inner, name="conv")

    def call(self, x):
        return self.conv(x)


def test_a_policy_in_the_code_of_a_layer():
    image = keras.Input((8, 8, 3), name="image")
    assert check(keras.Model(image, Insisting()(image)), pictures()).fallback_layers == ()
    model = keras.Model(image, InsistingOnWeights()(image))
    with pytest.raises(spiq_tf.InvalidModelError, match=r"conv' keeps its weights in float16"):
        spiq_tf.convert(model, input_range=RANGE)


class InsistingOnWeights(Insisting):
    def build(self, shape):
        self.conv = layers.Conv2D(4, 3, dtype="float16", name="conv")
        self.conv.build(shape)


class Unsaid(layers.Layer):
    """Its argument is in no configuration."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self._function = function

    def call(self, x):
        return self._function(x)


def test_reduced_precision_of_a_layer_without_configuration():
    image = keras.Input((8, 8, 3), name="image")
    y = layers.Conv2D(4, 3, dtype="mixed_float16")(image)
    model = keras.Model(image, Unsaid(lambda v: v * 2, dtype="mixed_float16")(y))
    with pytest.raises(spiq_tf.InvalidModelError, match=r"(?s)computes in float16.*get_config"):
        spiq_tf.convert(model, input_range=RANGE)


def test_a_layer_that_leaves_its_shape_open_is_traced():
    """As Keras's own documentation writes it; the input says how long it is."""
    tokens = keras.Input((6, 8), name="tokens")
    dense = layers.EinsumDense("abc,cd->abd", output_shape=(None, 4))(tokens)
    assert dense.shape == (None, None, 4)
    model = keras.Model(tokens, dense)
    assert spiq_tf.verify(model, spiq_tf.convert(model, input_range=RANGE)).sqnr_db > 30


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float32"])
def test_quantized_weights(policy):
    image = keras.Input((8,), name="image")
    model = keras.Model(image, layers.Dense(4, dtype=policy, name="small")(image))
    model.quantize("int8")
    with pytest.raises(spiq_tf.InvalidModelError, match=r"'small'.*quantized.*model\.quantize"):
        spiq_tf.convert(model, input_range=RANGE)


# tf_keras

OLD = tf_keras.layers


def old_network():
    """All that differs between Keras 2 and 3: depthwise groups, list axes, names with a slash, operators."""
    image = tf_keras.Input((12, 12, 3), name="image")
    y = OLD.Conv2D(8, 3, use_bias=False, name="stem/conv")(image)
    y = OLD.ReLU(6.0)(OLD.BatchNormalization(name="stem/norm")(y))
    y = OLD.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
    y = OLD.LeakyReLU(0.1)(OLD.BatchNormalization()(y))
    z = OLD.SeparableConv2D(8, 3, padding="same", activation="relu")(y)
    y = OLD.Concatenate()([y, tf.nn.relu(z + y) * 0.5])
    inner = tf_keras.Sequential([OLD.Conv2D(16, 3, padding="same", activation="relu")], name="inner")
    y = OLD.GlobalAveragePooling2D()(inner(inner(y)))
    model = tf_keras.Model(image, OLD.Dense(5, name="scores")(y), name="old")
    return settled(model, norms_of(model, OLD.BatchNormalization), pictures(64, 12))


def old_check(model, x, steps=STEPS):
    weights = [np.array(w) for w in model.get_weights()]
    names = [(layer.name, len(layer._inbound_nodes)) for layer in model._flatten_layers()]
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert [(layer.name, len(layer._inbound_nodes)) for layer in model._flatten_layers()] == names
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert max(errors(result.content, model(x, training=False), x)) < steps
    return result


@pytest.mark.fast
def test_model_of_keras2():
    model, x = old_network(), pictures(32, 12)
    result = old_check(model, x)
    expected = np.asarray(model(x))
    np.testing.assert_allclose(as_keras3(model)(x), expected, atol=1e-5 * np.abs(expected).max())
    assert "stem_conv" in {n.name for n in as_keras3(model).layers}
    # ReLU6 cuts little, and the scales change nothing else
    np.testing.assert_allclose(result.rewritten_model(x), expected, atol=2e-2 * np.abs(expected).max())


def test_sequential_model_of_keras2_whose_hard_sigmoid_has_another_slope():
    model = tf_keras.Sequential([OLD.Conv2D(4, 3), OLD.Flatten(), OLD.Dense(3, activation="hard_sigmoid")])
    model.build((None, 8, 8, 3))
    old_check(model, pictures(), SAMPLED)


def test_dynamic_size_of_keras2():
    image = tf_keras.Input((None, None, 3), name="picture")
    model = tf_keras.Model(image, OLD.GlobalAveragePooling2D()(OLD.Conv2D(4, 3)(image)))
    with pytest.raises(spiq_tf.InvalidModelError, match="'picture' has the dynamic shape"):
        spiq_tf.convert(model, input_range=RANGE)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_reduced_precision_of_keras2(policy):
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        model = old_network()
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    old_check(model, pictures(32, 12), steps=3.0)


SHAPED = {
    **{
        key: {"rate": 0.1}
        for key in ("AlphaDropout", "Dropout", "GaussianDropout", "SpatialDropout1D", "SpatialDropout2D")
    },
    **{key: {"factor": 0.1} for key in ("RandomBrightness", "RandomContrast", "RandomRotation")},
    **{key: {"filters": 4, "kernel_size": 3} for key in ("Conv1D", "Conv2D", "SeparableConv1D", "SeparableConv2D")},
    "Activation": {"activation": "gelu"},
    "BatchNormalization": {"axis": 1},
    "Conv2DTranspose": {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"},
    "Dense": {"units": 4, "activation": "elu"},
    "DepthwiseConv2D": {"kernel_size": 3, "strides": 2, "padding": "same"},
    "GaussianNoise": {"stddev": 0.1},
    "Normalization": {"mean": [0.1] * 6, "variance": [2.0] * 6},
    "Permute": {"dims": (2, 1, 3)},
    "PReLU": {"shared_axes": [1, 2]},
    "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1},
    "RandomZoom": {"height_factor": 0.1},
    "ReLU": {"max_value": 0.5, "negative_slope": 0.2, "threshold": 0.1},
    "RepeatVector": {"n": 3},
    "Rescaling": {"scale": 0.5, "offset": 0.1},
    "Reshape": {"target_shape": (-1, 6)},
    "UpSampling2D": {"interpolation": "bilinear"},
}
"""Arguments of the layers that need some, or whose default says little."""


@pytest.mark.parametrize("name", sorted(_SAME))
def test_each_layer_of_keras2_has_its_counterpart(name):
    """`as_keras3` itself compares the two on random inputs; here it must also not run the old layer."""
    shape = (6,) if name == "RepeatVector" else (8, 6) if name.endswith("1D") else (8, 8, 6)
    x = tf_keras.Input(shape)
    merges = issubclass(getattr(OLD, name), OLD.Add.__bases__[0])
    model = tf_keras.Model(x, getattr(OLD, name)(**SHAPED.get(name, {}))([x, x] if merges else x))
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.2, 1, w.shape).astype(w.dtype) for w in model.get_weights()])
    assert type(as_keras3(model).layers[-1]).__module__.startswith("keras.")


class OldGate(OLD.Layer):
    def build(self, shape):
        self.level = self.add_weight(shape=(shape[-1],), initializer="random_normal")

    def call(self, x, training=None):
        return x if training else x * tf.sigmoid(self.level)


@pytest.mark.fast
def test_a_custom_layer_of_keras2_is_read_as_operations():
    image = tf_keras.Input((8, 8, 3), name="image")
    model = tf_keras.Model(image, OLD.Conv2D(4, 3)(OldGate(name="gate")(image)))
    result = old_check(model, pictures())
    assert result.fallback_layers == ()
    with pytest.raises(spiq_tf.NotCloneableError, match="'model"):
        _ = result.rewritten_model


def test_outputs_of_keras2_keep_their_keys():
    image = tf_keras.Input((8, 8, 3), name="image")
    model = tf_keras.Model(image, {"b": OLD.Conv2D(2, 1)(image), "a": OLD.Conv2D(3, 1)(image)})
    old_check(model, pictures())
    assert set(as_keras3(model).output) == {"a", "b"}


@pytest.mark.parametrize("name", ["size_of_another", "root_of_positions", "behind_a_product"])
def test_tf_keras_computes_with_shapes(name):
    """As detectors resize one map to another's size and ConvNeXtV2 divides by the number of positions: numbers, since
    sizes are static; and a layer of TensorFlow code after a product, which Keras 3 takes for sparse."""

    class Gather(OLD.Layer):
        def call(self, x):
            return x + tf.gather(tf.range(4.0), list(range(x.shape[-1])))

    image = tf_keras.Input((8, 8, 3), name="image")
    x = OLD.Conv2D(4, 3, padding="same")(image)
    y = {
        "size_of_another": lambda: tf.image.resize(OLD.MaxPooling2D()(x), tf.shape(x)[1:3]),
        "root_of_positions": lambda: x * tf.cast(tf.shape(x)[1] * tf.shape(x)[2], tf.float32) ** 0.5,
        "behind_a_product": lambda: Gather()(x * 0.3),
    }[name]()
    model = tf_keras.Model(image, OLD.Conv2D(2, 1)(y))
    assert spiq_tf.verify(model, spiq_tf.quantize(model, input_range=RANGE)).sqnr_db > 25


def test_tf_keras_computes_with_the_number_of_examples():
    """Which nobody knows: where -1 cannot stand for it, an error says so."""
    image = tf_keras.Input((8, 8, 3), name="image")
    x = tf_keras.layers.Conv2D(4, 3, padding="same")(image)
    flat = tf.reshape(tf.reshape(x, [tf.shape(x)[0] * 4, 64]), [-1, 256])
    for y in (flat, x[: tf.shape(x)[0]]):
        model = tf_keras.Model(image, OLD.Dense(2)(y))
        with pytest.raises(spiq_tf.InvalidModelError, match=r"number of examples, tf\.shape"):
            spiq_tf.convert(model, input_range=RANGE, batch_size=2)


def test_tf_keras_transposed_convolution_with_bias_in_front_of_a_norm():
    """Of the sum of both biases the converter makes a constant of four axes."""
    image = tf_keras.Input((8, 8, 3), name="image")
    up = OLD.Conv2DTranspose(8, 3, strides=2, padding="same", bias_initializer="random_normal")
    x = OLD.ReLU()(OLD.BatchNormalization(beta_initializer="random_normal")(up(OLD.Conv2D(4, 3)(image))))
    model = tf_keras.Model(image, OLD.Conv2D(2, 1)(x))
    assert spiq_tf.verify(model, spiq_tf.quantize(model, input_range=RANGE)).sqnr_db > 18


@pytest.mark.parametrize(
    ("steep", "factor", "same"), [(1.0, 1 + 1e-6, True), (1.0, 1.01, False), (1e4, 1 + 1e-6, True)]
)
def test_tf_keras_models_may_differ_by_what_rounding_makes(steep, factor, same):
    """Of a network whose outputs move by their own size where inputs move by their last bits, that is everything."""
    image = tf_keras.Input((8, 8, 3), name="image")
    x = OLD.Lambda(lambda v: tf.sin(steep * v))(OLD.Dense(16)(OLD.Flatten()(image)))
    model = tf_keras.Model(image, OLD.Dense(3)(x))
    twin = as_keras3(model)
    for weight in twin.weights:
        weight.assign(factor * weight)
    context = contextlib.nullcontext() if same else pytest.raises(spiq_tf.InvalidModelError, match="differs in Keras 3")
    with context:
        _check_same(model, twin)


class OldSubclassed(tf_keras.Model):
    def __init__(self):
        super().__init__(name="mine")
        self.dense = OLD.Dense(2)

    def call(self, x):
        return self.dense(x)


def test_subclassed_model_of_keras2():
    model = OldSubclassed()
    model(np.ones((1, 4)))
    with pytest.raises(spiq_tf.InvalidModelError, match=r"tf_keras model 'mine'.*tf_keras\.Input"):
        spiq_tf.convert(model)


def test_a_layer_that_computes_something_else_in_keras3_is_noticed(monkeypatch):
    model = tf_keras.Sequential([OLD.Flatten(input_shape=(8, 8, 3)), OLD.Dense(3, activation="hard_sigmoid")])
    monkeypatch.setattr("spiq_tf.frontend.keras2_layers._activation", lambda function: "hard_sigmoid")
    with pytest.raises(spiq_tf.InvalidModelError, match="differs in Keras 3"):
        spiq_tf.convert(model, input_range=RANGE)


# files

TOOL = Path(__file__).parents[1] / "tools" / "convert.py"


@pytest.fixture
def no_tf_keras(monkeypatch):
    monkeypatch.setattr("spiq_tf.frontend.keras2_files.importlib.util.find_spec", lambda name: None)


@pytest.mark.parametrize("name", ["folder.v1", "file.h5", "file.keras"])
@pytest.mark.filterwarnings("ignore:.*HDF5.*")
def test_files_of_keras2(tmp_path, name):
    model, x = old_network(), pictures(8, 12)
    model.save(tmp_path / name)
    loaded = spiq_tf.load_model(tmp_path / name)
    assert isinstance(loaded, keras.Model)
    expected = np.asarray(model(x))
    np.testing.assert_allclose(loaded(x), expected, atol=1e-5 * np.abs(expected).max())


def test_a_folder_of_keras2_without_tf_keras(tmp_path, no_tf_keras):
    old_network().save(tmp_path / "folder")
    with pytest.raises(spiq_tf.ModelFileError, match=r"folder: written by Keras 2.*pip install tf_keras"):
        spiq_tf.load_model(tmp_path / "folder")


@pytest.mark.filterwarnings("ignore:.*HDF5.*")
def test_a_file_of_keras2_without_tf_keras(tmp_path, no_tf_keras):
    old_network().save(tmp_path / "file.h5")
    with pytest.raises(spiq_tf.ModelFileError, match=r"file\.h5: Keras cannot load it.*pip install tf_keras"):
        spiq_tf.load_model(tmp_path / "file.h5")


@pytest.mark.parametrize("name", ["folder", "file.h5", "file.keras"])
@pytest.mark.filterwarnings("ignore:.*HDF5.*")
def test_code_in_files_of_keras2_is_refused(tmp_path, name):
    model = tf_keras.Sequential([OLD.Flatten(input_shape=(4, 1)), OLD.Lambda(lambda v: v * 2), OLD.Dense(2)])
    model.save(tmp_path / name)
    with pytest.raises(spiq_tf.ModelFileError, match="safe_mode=False"):
        spiq_tf.load_model(tmp_path / name)


def test_code_in_a_folder_of_keras2_that_is_trusted(tmp_path):
    model = tf_keras.Sequential([OLD.Flatten(input_shape=(4, 1)), OLD.Lambda(lambda v: v * 2), OLD.Dense(2)])
    model.save(tmp_path / "folder")
    x = np.ones((1, 4, 1), np.float32)
    np.testing.assert_allclose(spiq_tf.load_model(tmp_path / "folder", safe_mode=False)(x), model(x), rtol=1e-6)


def test_a_saved_model_without_layers(tmp_path):
    NETWORKS["residual"]().export(tmp_path / "exported", verbose=False)
    with pytest.raises(spiq_tf.ModelFileError, match=r"exported: a SavedModel without Keras's layers.*\.keras"):
        spiq_tf.load_model(tmp_path / "exported")
    (tmp_path / "empty").mkdir()
    with pytest.raises(spiq_tf.ModelFileError, match=r"empty: expected.*a folder without one"):
        spiq_tf.load_model(tmp_path / "empty")


def test_the_command_converts_folders(tmp_path):
    old_network().save(tmp_path / "models" / "mobile.v2")
    given = [tmp_path / "models" / "mobile.v2/", str(tmp_path / "models" / "*")]
    command = [sys.executable, TOOL, "--output_dir", tmp_path / "out", "--input_range=-1,1", "--keep_going"]
    for arguments in given:
        done = subprocess.run([*command, "--overwrite", arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert [p.name for p in (tmp_path / "out").iterdir()] == ["mobile.v2.tflite"]


class DropPath(layers.Layer):
    """As backbones of keras_hub write it: a call with arguments that are passed to layers which do not name them."""

    def __init__(self, **options):
        super().__init__(**options)
        self.conv, self.drop = layers.Conv2D(4, 3), layers.Identity()

    def build(self, shape):
        self.conv.build(shape)
        self.built = True

    def call(self, x, training=None, attention_mask=None):
        return keras.ops.relu(self.drop(self.conv(x), training=training))


def test_arguments_that_keras_keeps_back_and_masks_that_nobody_passes():
    """`training` to a layer that does not name it is no error; a mask that is not passed hides nothing of the call."""
    image = keras.Input((8, 8, 3), name="image")
    result = check(keras.Model(image, DropPath()(image)), pictures())
    assert "Conv2D" in {type(call.layer).__name__ for call in capture(result.rewritten_model, 1).calls}


def test_a_mask_that_is_passed_leaves_the_call_whole():
    image, where = keras.Input((8, 8, 3), name="image"), keras.Input((8, 8, 3), name="where")
    model = keras.Model([image, where], DropPath(name="path")(image, attention_mask=where))
    assert [call.name for call in capture(model, 1).calls] == ["path"]


class Misjudged(layers.Layer):
    """Says that it makes tensors of another size than it does, one of them twice; one of no values is among them."""

    def call(self, x):
        y = tf.concat([x, tf.nn.relu(x)], axis=1)  # functions of TensorFlow leave it whole
        return y, y[:, :0], tf.nn.relu(y), y

    def compute_output_spec(self, x):
        twice, empty, other = (keras.KerasTensor((x.shape[0], n, x.shape[2]), dtype=x.dtype) for n in (17, 0, 17))
        return twice, empty, other, twice


@pytest.mark.parametrize("output", [0, 2])
def test_shapes_that_a_layer_says_wrong(output):
    tokens = keras.Input((8, 4), name="tokens")
    model = keras.Model(tokens, Misjudged(name="misjudged")(tokens)[output])
    graph = capture(model, 1)
    assert [t.shape for t in graph.outputs] == [(1, 16, 4)]
    assert len({t.name for call in graph.calls for t in call.outputs}) == 4
    check(model, np.random.default_rng(0).uniform(-1, 1, (16, 8, 4)).astype(np.float32), SAMPLED)


def test_a_tensor_of_no_values_that_is_read():
    tokens = keras.Input((8, 4), name="tokens")
    model = keras.Model(tokens, layers.ReLU(name="after")(Misjudged()(tokens)[1]))
    with pytest.raises(spiq_tf.InvalidModelError, match="layer 'after' reads an empty tensor"):
        spiq_tf.convert(model, input_range=RANGE)

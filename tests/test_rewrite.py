"""The rewrite against the original model, under random scales."""

import keras
import numpy as np
import pytest
from keras import layers

import spiq_tf
from spiq_tf.frontend.capture import capture
from spiq_tf.rescaling import absorb_scales, clone_with
from spiq_tf.search.constraints import scale_classes
from tests import tiers
from tests.layer_table import TABLE
from tests.networks import NETWORKS, RANGE, conv_bn, images, settle
from tests.tiers import ROWS, with_fast


def random_scales(graph, random):
    """A scale for each class that may have one, in [1/8, 8], or up to 1 where an activation saturates."""
    classes = scale_classes(graph)
    drawn = 2.0 ** random.uniform(-3, np.where(classes.saturates, 0, 3))
    scale = np.where(classes.pinned, 1.0, drawn)
    return {name: scale[label] for name, label in classes.of.items()}


def rewritten(model, random):
    graph = capture(model, 1)
    scales = random_scales(graph, random)
    return clone_with(model, absorb_scales(graph, scales, {}, {})), scales


def outputs(model, inputs):
    return [np.asarray(y) for y in keras.tree.flatten(model.predict(inputs, verbose=0))]


def between_convolutions(row):
    """The layer between two convolutions with BatchNorm, so that its scales are free on both sides."""
    image = keras.Input((10, 10, 3), name="image")
    x, y = (layers.BatchNormalization()(layers.Conv2D(6, 3)(image)) for _ in range(2))
    z = row.apply(x, y)
    tail = layers.Dense(4, name="tail")
    return settle(keras.Model(image, tail(z) if len(z.shape) == 2 else tail(layers.Flatten()(z))))


@pytest.mark.parametrize("row", with_fast(TABLE, ROWS), ids=lambda r: r.name)
def test_layer_computes_the_same_under_random_scales(row, random):
    model = between_convolutions(row)
    # what a maximum clips depends on the scale: keep below it, the next test looks above
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization) and row.name in ("relu6", "relu_maximum"):
            layer.gamma.assign(np.full(6, 0.01))
            layer.beta.assign(np.full(6, 0.05))
    changed, scales = rewritten(model, random)
    x = images(model, 16)
    expected, found = outputs(model, x)[0], outputs(changed, x)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    own_input = next(x.name for x in model.layers if isinstance(x, layers.BatchNormalization))
    assert np.all(scales[own_input] != 1) == row.takes_scales, "what the layer reads is scaled if it can be"


@pytest.mark.parametrize(
    "name", with_fast([n for n in NETWORKS if n not in ("depthwise", "saturating_addition")], tiers.NETWORKS)
)
def test_network_computes_the_same_under_random_scales(name, random):
    model = NETWORKS[name]()
    changed, _ = rewritten(model, random)
    for expected, found in zip(outputs(model, images(model)), outputs(changed, images(model)), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.fast
def test_a_scaled_relu6_cuts_each_channel_at_scale_times_six(random):
    """The oracle is the original with its channels clipped at s_c 6, computed by hand from its own first half."""
    image = keras.Input((8, 8, 3), name="image")
    middle = conv_bn(image, 6, activation=layers.ReLU(6.0, name="cut"))
    last = layers.Conv2D(4, 3, name="last")
    model = settle(keras.Model(image, last(middle)))
    model.layers[2].beta.assign(np.full(6, 4.0))
    changed, scales = rewritten(model, random)
    half = keras.Model(image, middle)
    x = images(model)
    cut = np.minimum(half.predict(x, verbose=0), 6 * scales["cut"])
    assert np.any(cut == 6 * scales["cut"]), "nothing saturates: the test shows nothing"
    expected = np.asarray(last(cut.astype(np.float32)))
    np.testing.assert_allclose(outputs(changed, x)[0], expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", with_fast(NETWORKS, tiers.NETWORKS))
def test_chosen_scales_cut_little_of_what_the_model_reaches(name):
    """With the scales that conversion chooses the function is the same on ordinary inputs, but for 30 dB of cuts
    where a ReLU6 saturates."""
    model = NETWORKS[name]()
    saturates = any(n.primitive.saturation is not None for n in capture(model, 1).nodes)
    changed = spiq_tf.rewrite(model, input_range=RANGE)
    for expected, found in zip(outputs(model, images(model)), outputs(changed, images(model)), strict=True):
        error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
        assert error < (10 ** (-30 / 20) if saturates else 1e-5)


@pytest.mark.fast
def test_scales_of_a_saturating_class_stay_at_most_one():
    graph = capture(NETWORKS["saturating_addition"](), 1)
    classes = scale_classes(graph)
    relu = next(n for n in graph.nodes if n.primitive.saturation is not None)
    assert classes.saturates[classes.of[relu.output.name]].all()


def test_an_adapted_normalization_is_cloned_with_its_statistics():
    image = keras.Input((8, 8, 3), name="image")
    norm = layers.Normalization()
    norm.adapt(np.random.default_rng(0).normal(3.0, 2.0, (16, 8, 8, 3)))
    model = settle(keras.Model(image, conv_bn(conv_bn(norm(image), 6, activation=layers.ReLU()), 4)))
    changed = spiq_tf.rewrite(model, input_range=(-9, 15))
    expected = outputs(model, images(model))[0]
    np.testing.assert_allclose(outputs(changed, images(model))[0], expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.fast
def test_a_dict_reaches_the_inputs_of_a_nested_model_by_name():
    first, second = keras.Input((8, 8, 3), name="z"), keras.Input((8, 8, 3), name="a")
    inner = keras.Model([first, second], layers.Subtract()([first, second]), name="inner")
    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    graph = capture(keras.Model([left, right], inner({"a": right, "z": left})), 1)
    assert [t.name for t in graph.nodes[0].inputs] == ["left", "right"]


class Standardized(layers.Conv2D):
    """Weight standardization by the hook that Keras documents."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel - keras.ops.mean(kernel))


class Renamed(layers.Conv2D):
    """A subclass that computes what its parent does."""


def test_a_subclass_with_code_of_its_own_is_unknown():
    image = keras.Input((8, 8, 3), name="image")
    for kind, known in ((Standardized, False), (Renamed, True)):
        model = keras.Model(image, kind(4, 3, name="conv")(image))
        assert (spiq_tf.quantize(model, input_range=RANGE).fallback_layers == ()) == known


@pytest.mark.fast
def test_one_variable_in_two_roles_is_left_alone():
    """A Dense whose kernel a custom layer reads too: neither may absorb a scale."""
    image = keras.Input((8, 8, 6), name="image")
    x = conv_bn(image, 6, activation=layers.ReLU())
    dense = layers.Dense(6, name="dense")
    y = dense(x)

    class Holder(layers.Layer):
        def __init__(self, held, **options):
            super().__init__(**options)
            self.held = held

        def call(self, v):
            return self.held(v) * 0.5

    out = conv_bn(layers.Add()([y, Holder(dense, name="holder")(x)]), 4)
    model = settle(keras.Model(image, out))
    graph = capture(model, 1)
    classes = scale_classes(graph)
    reader = next(n for n in graph.nodes if n.call.layer is dense)
    assert classes.pinned[classes.of[reader.output.name]].all()


@pytest.mark.fast
def test_channels_of_an_addition_share_their_scale():
    model = NETWORKS["residual"]()
    graph = capture(model, 1)
    classes = scale_classes(graph)
    add = next(n for n in graph.nodes if isinstance(n.call.layer, layers.Add))
    for tensor in add.inputs:
        np.testing.assert_array_equal(classes.of[tensor.name], classes.of[add.output.name])
    assert len(set(classes.of[add.output.name])) == 16


@pytest.mark.fast
def test_what_enters_or_leaves_the_model_is_unscaled():
    graph = capture(NETWORKS["two_outputs"](), 1)
    classes = scale_classes(graph)
    for tensor in (*graph.inputs, *graph.outputs):
        assert classes.pinned[classes.of[tensor.name]].all(), tensor.name


def test_rewrite_returns_the_same_architecture_and_leaves_the_model_alone():
    model = NETWORKS["residual"]()
    before = [np.array(w) for w in model.get_weights()]
    changed = spiq_tf.rewrite(model, input_range=RANGE)
    assert [type(x) for x in changed.layers] == [type(x) for x in model.layers]
    assert any(not np.array_equal(a, b) for a, b in zip(before, changed.get_weights(), strict=True))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    expected = outputs(model, images(model))[0]
    np.testing.assert_allclose(outputs(changed, images(model))[0], expected, atol=2e-5 * np.abs(expected).max())


class Doubled(layers.Layer):
    """A custom layer that cannot be made again: it says nothing of its argument in get_config."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self._function = function

    def call(self, x):
        return self._function(x)


def test_a_model_that_cannot_be_cloned_converts_and_rewrite_says_why():
    image = keras.Input((8, 8, 3), name="image")
    x = Doubled(lambda v: v * 2.0, name="doubled")(conv_bn(image, 6, activation=layers.ReLU()))
    model = settle(keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))
    result = spiq_tf.quantize(model, input_range=RANGE)
    assert result.fallback_layers == ()
    with pytest.raises(spiq_tf.NotCloneableError, match="get_config"):
        _ = result.rewritten_model
    with pytest.raises(spiq_tf.NotCloneableError, match="get_config"):
        spiq_tf.rewrite(model, input_range=RANGE)

"""Data-Free Quantization as published, against weights folded by hand and against the float model."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

import spiq_tf
from spiq_tf import pipeline
from spiq_tf.options import METHODS, checked_options
from tests.networks import NETWORKS, RANGE, conv_bn, images, measured, settle
from tests.oracles import decibels, run_file


def folded(model, conv, norm=None):
    """Magnitudes of a layer's weights with its BatchNorm, (taps, inputs, outputs); by Keras's formula."""
    kernel = np.asarray(model.get_layer(conv).kernel, np.float64)
    if isinstance(model.get_layer(conv), layers.DepthwiseConv2D):
        kernel = kernel * np.eye(kernel.shape[2])[None, None]
    if norm is not None:
        gamma, _, _, variance = (np.asarray(v, np.float64) for v in model.get_layer(norm).get_weights())
        kernel = kernel * gamma / np.sqrt(variance + model.get_layer(norm).epsilon)
    return np.abs(kernel.reshape(-1, *kernel.shape[-2:]))


def written(weights):
    return weights.max(axis=(0, 1))


def read(weights):
    return weights.max(axis=(0, 2))


def same_function(model, changed, tolerance=2e-5):
    expected, found = (m.predict(images(model), verbose=0) for m in (model, changed))
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


def channel_scales(model, layer):
    result = spiq_tf.quantize(model, input_range=RANGE, method="dfq")
    (scales,) = (t.channel_scales for t in result.tensors if t.layer == layer)
    return np.array(scales)


def chain(widths=(8, 10, 6)):
    """Convolutions in a row, each with BatchNorm and ReLU, whose channels' weights differ by a factor of 30."""
    image = x = keras.Input((12, 12, 3), name="image")
    for index, width in enumerate(widths):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(layers.BatchNormalization(name=f"norm{index}")(x))
    model = settle(keras.Model(image, layers.Dense(5, name="scores")(layers.Flatten()(layers.MaxPooling2D(4)(x)))))
    for index, width in enumerate(widths):
        model.get_layer(f"norm{index}").gamma.assign(np.geomspace(0.1, 3.0, width))
    return measured(model)


@pytest.mark.fast
def test_one_pair_gets_the_published_scale():
    model = chain(widths=(8,))
    dense = np.abs(np.asarray(model.get_layer("scores").kernel, np.float64)).reshape(9, 8, 5)
    expected = np.sqrt(written(folded(model, "conv0", "norm0")) / read(dense))
    np.testing.assert_allclose(channel_scales(model, "relu0"), expected, rtol=1e-4)


def test_ranges_of_all_pairs_in_a_row_match():
    model = chain()
    changed = spiq_tf.rewrite(model, input_range=RANGE, method="dfq")
    for front, back in ((0, 1), (1, 2)):
        names = [(f"conv{i}", f"norm{i}") for i in (front, back)]
        before, after = ([folded(m, *n) for n in names] for m in (model, changed))
        assert np.ptp(np.log(written(before[0]) / read(before[1]))) > 2, "the ranges match from the start"
        np.testing.assert_allclose(written(after[0]), read(after[1]), rtol=1e-3)
    dense = np.abs(np.asarray(changed.get_layer("scores").kernel)).reshape(9, 6, 5)
    np.testing.assert_allclose(written(folded(changed, "conv2", "norm2")), read(dense), rtol=1e-3)
    same_function(model, changed)


def inverted_bottleneck(activation=layers.ReLU):
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(12, 1, use_bias=False, name="expand")(image)
    x = activation(name="wide")(layers.BatchNormalization(name="expand_norm")(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = activation(name="filtered")(layers.BatchNormalization(name="depthwise_norm")(x))
    x = layers.BatchNormalization(name="project_norm")(layers.Conv2D(5, 1, use_bias=False, name="project")(x))
    return settle(keras.Model(image, x))


@pytest.mark.fast
def test_ranges_of_a_triple_meet_at_their_geometric_mean():
    model = inverted_bottleneck()
    changed = spiq_tf.rewrite(model, input_range=RANGE, method="dfq")
    names = [(name, f"{name}_norm") for name in ("expand", "depthwise", "project")]
    before, after = ([folded(m, *n) for n in names] for m in (model, changed))
    mean = np.cbrt(written(before[0]) * written(before[1]) * read(before[2]))
    assert np.ptp(np.log(written(before[0]) / mean)) > 1, "the ranges match from the start"
    for found in (written(after[0]), read(after[1]), written(after[1]), read(after[2])):
        np.testing.assert_allclose(found, mean, rtol=1e-3)
    same_function(model, changed)


def test_what_reaches_an_addition_or_two_layers_is_unscaled():
    image = keras.Input((12, 12, 3), name="image")
    shortcut = conv_bn(image, 8, activation=layers.ReLU(name="start"))
    x = conv_bn(shortcut, 8, activation=layers.ReLU(name="inner"))
    x = layers.Add(name="sum")([conv_bn(x, 8), shortcut])
    x = conv_bn(x, 8, activation=layers.ReLU(name="twice"))
    x = layers.Concatenate()([conv_bn(x, 4), conv_bn(x, 4)])
    model = settle(keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))
    for name in ("start", "sum", "twice"):
        assert np.all(channel_scales(model, name) == 1), name
    assert np.all(channel_scales(model, "inner") != 1)


def test_what_reads_or_makes_a_shared_layers_weights_is_unscaled():
    image = keras.Input((8, 8, 3), name="image")
    again = layers.Conv2D(6, 3, name="again")
    x, y = (conv_bn(image, 6, activation=layers.ReLU(name=name)) for name in ("left", "right"))
    pools = [layers.GlobalAveragePooling2D()(conv_bn(again(v), 4)) for v in (x, y)]
    model = settle(keras.Model(image, layers.Dense(3)(layers.Concatenate()(pools))))
    for name in ("left", "right", "again"):
        assert np.all(channel_scales(model, name) == 1), name


@pytest.mark.parametrize("name", [n for n in NETWORKS if n not in ("depthwise", "saturating_addition")])
def test_networks_compute_the_same(name):
    model = NETWORKS[name]()
    changed = spiq_tf.rewrite(model, input_range=RANGE, method="dfq")
    inputs = images(model)
    both = (keras.tree.flatten(m.predict(inputs, verbose=0)) for m in (model, changed))
    for expected, found in zip(*both, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def lifted(reader, activation=layers.ReLU):
    """beta = 6 and gamma = 1 before a consumer; one input channel, uniform, so that no value is below 3.5."""
    image = keras.Input((10, 10, 1), name="image")
    x = layers.BatchNormalization(epsilon=1e-7, name="norm")(layers.Conv2D(6, 1, use_bias=False)(image))
    y = reader(activation(name="relu")(x))
    model = settle(keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(y))))
    model.get_layer("norm").beta.assign(np.full(6, 6.0))
    model.get_layer("norm").gamma.assign(np.ones(6))
    return measured(model)


def bias_over_deviation(model):
    norm = model.get_layer("norm")
    return np.asarray(norm.beta) / np.asarray(norm.gamma)


def with_norm(**options):
    return lambda x: layers.BatchNormalization()(layers.Conv2D(5, use_bias=False, **options)(x))


ABLE = {
    "valid": with_norm(kernel_size=3),
    "one_by_one": with_norm(kernel_size=1, padding="same"),
    "bias": lambda x: layers.Conv2D(5, 3)(x),
    "bias_and_norm": lambda x: layers.BatchNormalization()(layers.Conv2D(5, 3)(x)),
    "depthwise": lambda x: layers.DepthwiseConv2D(3)(x),
    "grouped": lambda x: layers.Conv2D(4, 3, groups=2)(x),
    "dense": lambda x: layers.Dense(5)(x),
    "two_readers": lambda x: layers.Concatenate()([layers.Conv2D(5, 1)(x), with_norm(kernel_size=1)(x)]),
}


@pytest.mark.fast
@pytest.mark.parametrize("name", ABLE)
def test_a_high_bias_is_absorbed(name):
    """c = beta - 3 gamma = 3: what is left is 3 deviations; no value lies below c, so nothing else changes."""
    model = lifted(ABLE[name])
    changed = spiq_tf.rewrite(model, input_range=RANGE, method="dfq")
    np.testing.assert_allclose(bias_over_deviation(changed), 3, rtol=1e-3)
    same_function(model, changed)
    before, after = (keras.Model(m.inputs, m.get_layer("relu").output) for m in (model, changed))
    x = images(model)
    scale = np.asarray(model.get_layer("norm").gamma) / np.asarray(changed.get_layer("norm").gamma)
    drop = before.predict(x, verbose=0) - scale * after.predict(x, verbose=0)
    np.testing.assert_allclose(drop, 3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["padded", "relu6", "no_place", "pooled", "leaky"])
def test_a_high_bias_stays_where_absorbing_it_would_change_the_function(kind):
    readers = {
        "padded": with_norm(kernel_size=3, padding="same"),
        "no_place": lambda x: layers.ReLU()(layers.Conv2D(5, 1, use_bias=False)(x)),
        "pooled": lambda x: with_norm(kernel_size=1)(layers.MaxPooling2D(2)(x)),
    }
    activations = {"relu6": lambda name: layers.ReLU(6.0, name=name), "leaky": layers.LeakyReLU}
    model = lifted(readers.get(kind, ABLE["one_by_one"]), activations.get(kind, layers.ReLU))
    changed = spiq_tf.rewrite(model, input_range=RANGE, method="dfq")
    np.testing.assert_allclose(bias_over_deviation(changed), 6, rtol=1e-5)
    same_function(model, changed)


def test_a_high_bias_stays_where_one_of_two_readers_cannot_take_it():
    readers = ABLE["one_by_one"], with_norm(kernel_size=3, padding="same")
    model = lifted(lambda x: layers.Concatenate()([reader(x) for reader in readers]))
    changed = spiq_tf.rewrite(model, input_range=RANGE, method="dfq")
    np.testing.assert_allclose(bias_over_deviation(changed), 6, rtol=1e-5)


@pytest.mark.parametrize("shared", ["reader", "front"])
def test_a_high_bias_stays_where_weights_are_shared(shared):
    """Two branches, of which only one has a high bias that could be absorbed; they share a layer."""
    image = keras.Input((10, 10, 1), name="image")
    norm, other = (layers.BatchNormalization(name=name) for name in ("norm", "other"))
    reader, twin = layers.Conv2D(5, 1), layers.Conv2D(5, 1)
    x = layers.ReLU()(norm(layers.Conv2D(6, 1)(image)))
    y = layers.ReLU()((norm if shared == "front" else other)(layers.Conv2D(6, 1)(image)))
    x, y = reader(x), (reader if shared == "reader" else twin)(layers.ZeroPadding2D(1)(y))
    pools = [layers.GlobalAveragePooling2D()(v) for v in (x, y)]
    model = settle(keras.Model(image, layers.Dense(3)(layers.Concatenate()(pools))))
    norm.beta.assign(np.full(6, 6.0))
    norm.gamma.assign(np.ones(6))
    measured(model)
    changed = spiq_tf.rewrite(model, input_range=RANGE, method="dfq")
    np.testing.assert_allclose(bias_over_deviation(changed), 6, rtol=1e-5)
    same_function(model, changed)


def test_absorption_loses_only_what_lies_three_deviations_below_the_mean():
    """One Gaussian makes all channels, up or down: in 0.27 % of the pixels one lies below c, all others stay."""
    image = keras.Input((10, 10, 1), name="image")
    x = layers.BatchNormalization(epsilon=1e-7, name="norm")(layers.Conv2D(6, 1, use_bias=False, name="conv")(image))
    model = settle(keras.Model(image, layers.Conv2D(4, 1)(layers.ReLU()(x))))
    kernel = np.asarray(model.get_layer("conv").kernel).ravel()
    model.get_layer("norm").set_weights([np.ones(6), np.full(6, 6.0), np.zeros(6), kernel**2])
    changed = spiq_tf.rewrite(model, input_range=(-5.0, 5.0), method="dfq")
    x = np.random.default_rng(0).standard_normal((500, 10, 10, 1)).astype(np.float32)
    lost = np.abs(changed.predict(x, verbose=0) - model.predict(x, verbose=0)).max(axis=-1) > 1e-4
    assert 0.001 < np.mean(lost) < 0.004
    assert np.abs(x[lost]).min() > 2.99


def test_relu6_is_never_replaced():
    """Inputs 20 times as large as those of the statistics: each channel is cut at 6 times its scale, by hand; and that
    lies no lower than the channel's mean + 6 deviations."""
    image = keras.Input((10, 10, 3), name="image")
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(16, 1, use_bias=False)(image))
    middle = layers.ReLU(6.0, name="cut")(x)
    last = layers.Conv2D(4, 3, name="last")
    model = settle(keras.Model(image, last(middle)))
    norm = model.get_layer("norm")
    norm.gamma.assign(np.geomspace(0.01, 3.0, 16))
    norm.beta.assign(np.linspace(3.0, 0.0, 16))
    measured(model)
    scales, changed = channel_scales(model, "cut"), spiq_tf.rewrite(model, input_range=RANGE, method="dfq")
    reach = np.minimum(np.asarray(norm.beta) + 6 * np.asarray(norm.gamma), 6.0)
    assert np.any(scales < 0.8), "nothing is scaled: the test shows nothing"
    assert np.any(6 * scales < reach * (1 + 1e-3)), "nothing is held: the test shows nothing"
    assert np.all(scales <= 1)
    assert np.all(6 * scales >= reach * (1 - 1e-3))
    same_function(model, changed)
    x = 20 * images(model)
    values = keras.Model(image, middle).predict(x, verbose=0)
    assert np.mean(values == 6) > 0.1, "nothing saturates: the test shows nothing"
    expected = np.asarray(last(np.minimum(values, 6 * scales).astype(np.float32)))
    np.testing.assert_allclose(changed.predict(x, verbose=0), expected, atol=1e-4 * np.abs(expected).max())


def file_sqnr(model, parts):
    options = dataclasses.replace(checked_options("int8", "float32", 1, False), parts=parts)
    content = pipeline.convert_plan(pipeline.plan(model, RANGE, options)).content
    x = images(model, 32)
    return decibels(model.predict(x, verbose=0), run_file(content, x)[0])


def test_equalisation_mends_a_depthwise_network_of_unlike_channels():
    """Channels that one layer makes 100 times smaller than others and the next multiplies again are lost in the steps
    of a tensor, unless the two layers are equalised."""
    model = inverted_bottleneck()
    small = np.geomspace(0.01, 1.0, 12)
    norm, depthwise = model.get_layer("expand_norm"), model.get_layer("depthwise")
    norm.gamma.assign(norm.gamma * small)
    norm.beta.assign(norm.beta * small)
    depthwise.kernel.assign(depthwise.kernel / small[:, None])
    plain = file_sqnr(model, dataclasses.replace(METHODS["dfq"], scales="none"))
    assert file_sqnr(model, METHODS["dfq"]) > plain + 6

"""Trained networks, where the folder that holds them is there: the figures that users come for."""

import collections
import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import spiq_tf
from spiq_tf.tflite.flatbuffer import FlatModel
from tests.oracles import decibels, run_file

# name, examples, least agreement of the largest entry with the float model's, least decibels at the logits
FLOORS = [
    ("mobilenet_v2_imagenet", 200, 0.965, 19.5),
    ("resnet20_cifar10", 200, 0.97, 28.0),
    ("resnet8_cifar10", 200, 0.93, 28.5),
    ("ds_cnn_kws", 200, 0.97, 32.5),
]
SEGMENTATION = [("espnet_camvid", 4, 0.98, 19.7)]  # agreement of positions


def load(folder, name):
    """The model up to its logits, and its inputs after preprocessing."""
    model = keras.models.load_model(folder / f"{name}.keras", compile=False)
    if getattr(model.layers[-1], "activation", None) is keras.activations.softmax:
        model.layers[-1].activation = keras.activations.linear
    info = json.loads((folder / f"{name}.json").read_text())
    return model, info


@functools.cache
def converted(folder, name):
    model, info = load(folder, name)
    return spiq_tf.convert(model, input_range=tuple(info["input_range"]))


def examples(folder, name, info, count):
    data = np.load(folder / f"{name}.eval.npz")
    if "x" in data:
        x = data["x"][:count].astype(np.float32)
    else:
        ends = data["ends"][:count]
        starts = np.concatenate([[0], ends[:-1]])
        raw = data["jpeg"]
        x = np.stack([tf.io.decode_jpeg(raw[a:b].tobytes()).numpy() for a, b in zip(starts, ends, strict=True)])
        x = x.astype(np.float32)
    return eval(info["preprocess"], {"np": np}, {"x": x}).astype(np.float32)


@pytest.mark.parametrize(("name", "count", "agreement", "least"), [*FLOORS, *SEGMENTATION])
def test_accuracy(real_networks, name, count, agreement, least):
    model, info = load(real_networks, name)
    x = examples(real_networks, name, info, count)
    expected = model.predict(x, verbose=0, batch_size=32)
    (found,) = run_file(converted(real_networks, name), x)
    assert np.mean(found.argmax(-1) == expected.argmax(-1)) >= agreement
    assert decibels(expected, found) >= least


STRIDED_FIRST = ("mobilenet_v2_imagenet", "ds_cnn_kws")
"""Networks whose first convolution has a stride."""


@pytest.mark.parametrize("name", [row[0] for row in FLOORS])
def test_file_is_all_integer_and_has_no_operator_more_than_the_converters(real_networks, name):
    model, info = load(real_networks, name)
    low, high = info["input_range"]
    ours = FlatModel(converted(real_networks, name))
    for index in range(len(ours.subgraph.tensors)):
        assert ours.dtype(index) in (np.int8, np.int32)
    theirs = FlatModel(calibrated(model, low, high))
    averages = {"AVERAGE_POOL_2D": "MEAN"}  # of a whole map: as good, and delegated
    expected = collections.Counter(averages.get(k, k) for k in kinds(theirs).elements())
    if name in STRIDED_FIRST:
        expected["RESHAPE"] += 1  # copies nothing, and the first convolution has fewer taps
    assert kinds(ours) == expected


def kinds(flat):
    return collections.Counter(flat.kind(operator) for operator in flat.operators)


def calibrated(model, low, high):
    """TFLiteConverter's own int8 file, frozen with batch 1; noise will do to find its operators."""
    spec = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    function = tf.function(lambda x: model(x, training=False), input_signature=[spec])
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    noise = np.random.default_rng(0).uniform(low, high, spec.shape).astype(np.float32)
    converter.representative_dataset = lambda: iter([[noise]])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()

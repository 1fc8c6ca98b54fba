"""Conversions that are asked for at the same time, in threads of one process."""

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import keras
from keras import layers

import spiq_tf
from tests.networks import NETWORKS, RANGE


def shared_model():
    """A subclassed layer, which is traced under other names; a policy of its own; upsampling, which is rewritten."""
    image = keras.Input((12, 12, 3), name="image", dtype="float32")
    x = layers.Conv2D(4, 3, dtype="mixed_float16")(image)
    return keras.Model(image, layers.UpSampling2D(2, dtype="float32")(x))


def test_threads_get_what_each_would_get_alone(capsys):
    """Two networks, and one model in two threads; afterwards the process's streams and filters are what they were."""
    models = [NETWORKS["residual"](), NETWORKS["depthwise"](), *[shared_model()] * 2]
    alone = [spiq_tf.convert(model, input_range=RANGE) for model in models]
    names = [[layer.name for layer in model.layers] for model in models]
    stream, together = sys.stdout, Barrier(len(models))

    def convert(model):
        together.wait()
        return spiq_tf.convert(model, input_range=RANGE)

    with ThreadPoolExecutor(len(models)) as threads:
        assert list(threads.map(convert, models)) == alone
    assert sys.stdout is stream
    assert [[layer.name for layer in model.layers] for model in models] == names
    assert keras.config.dtype_policy().name == "float32"

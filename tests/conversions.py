"""What the small networks are converted to: once in a process, since results are frozen and files reproducible."""

import functools

import keras
import numpy as np

import spiq_tf
from tests.networks import NETWORKS, RANGE, images


def network(name):
    """A small network: the weights and names do not depend on what was built before."""
    keras.utils.set_random_seed(1)
    keras.backend.clear_session(free_memory=False)
    return NETWORKS[name]()


def quantized(name, **options):
    """The result of a network's conversion; options are those of `spiq_tf.quantize`, hashable."""
    return _quantized(name, tuple(sorted(options.items())))


def converted(name, **options):
    """The file of a network."""
    return quantized(name, **options).content


@functools.cache
def _quantized(name, options):
    return spiq_tf.quantize(network(name), **{"input_range": RANGE, **dict(options)})


@functools.cache
def examples(name, count=32):
    """Inputs of a network, one array each, and the float model's outputs of them."""
    model = network(name)
    x = images(model, count)
    outputs = [np.asarray(y) for y in keras.tree.flatten(model.predict(x, verbose=0))]
    return x if isinstance(x, list) else [x], outputs

"""A network of keras.applications with random weights, none of which are downloaded."""

from typing import Any

import keras
import numpy as np

from spiq_tf.benchmarking.networks import INPUT_RANGES, OPEN_SIDES
from spiq_tf.frontend.keras_internals import all_layers

_IMAGES = 4


def random_network(name: str, side: int | None = None) -> keras.Model:
    """The network, with the running statistics that belong to its weights.

    Args:
        name: in keras.applications.
        side: of the image, or None for the network's own.

    Raises:
        ValueError: the network cannot be that small.
    """
    keras.utils.set_random_seed(1)
    side = OPEN_SIDES.get(name) if side is None else side
    size = {} if side is None else {"input_shape": (side, side, 3)}
    model = getattr(keras.applications, name)(weights=None, **size)
    keep_power(model, INPUT_RANGES[name])
    return model


def keep_power(model: Any, input_range: tuple[float, float]) -> None:
    """Makes every block add something, so that scales have the ratios of a trained network: runtimes treat others
    otherwise."""
    random = np.random.default_rng(1)
    layers = all_layers(model)
    for layer in layers:
        if type(layer).__name__ == "LayerScale":  # ConvNeXt's: 1e-6 at first
            layer.gamma.assign(random.uniform(0.1, 1.0, layer.gamma.shape))
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(random.uniform(*input_range, (_IMAGES, *model.inputs[0].shape[1:])).astype(np.float32), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum

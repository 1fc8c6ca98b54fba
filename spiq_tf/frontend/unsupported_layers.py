"""Layers that a TFLite int8 file cannot hold: each is refused, with a reason and a way out."""

from typing import Any

import keras

from spiq_tf.errors import InvalidModelError
from spiq_tf.frontend.keras_internals import all_layers


def check_layer(name: str, layer: Any) -> None:
    """Refuses a layer that cannot be converted, or that owns one.

    Args:
        name: of the layer, with its path through nested models.
        layer: Keras layer or operation.

    Raises:
        InvalidModelError: it is recurrent and not unrolled, or channels_first.
    """
    for inner in all_layers(layer):
        if isinstance(inner, keras.layers.RNN) and not inner.unroll:
            raise InvalidModelError(
                f"layer {name!r} ({type(inner).__name__}) is recurrent: a full-integer TFLite file cannot hold its"
                " loop over time; replace it by Conv1D layers with padding='causal' or by pooling over time, or"
                " convert the part of the model before it"
            )
    if getattr(layer, "data_format", None) == "channels_first":
        raise InvalidModelError(
            f"layer {name!r} is channels_first: TFLite has channels_last only; build the model"
            " with data_format='channels_last' and transpose its kernels' inputs"
        )

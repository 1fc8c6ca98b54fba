"""Layers that a TFLite int8 file cannot hold, each refused with a reason."""

from typing import Any

import keras

from spiq_tf.errors import InvalidModelError


def check_layer(name: str, layer: Any) -> None:
    """Raises InvalidModelError if a layer, or one inside it, cannot be converted.

    Args:
        name: of the layer, with its path through nested models.
        layer: Keras layer or operation.
    """
    for inner in layer._flatten_layers() if isinstance(layer, keras.layers.Layer) else ():
        if isinstance(inner, keras.layers.RNN) and not inner.unroll:
            raise InvalidModelError(
                f"layer {name!r} ({type(inner).__name__}) is recurrent: a full-integer TFLite file cannot hold its"
                " loop over time; replace it by Conv1D layers with padding='causal' or by pooling over time, or"
                " convert the part of the model in front of it"
            )
    if getattr(layer, "data_format", None) == "channels_first":
        raise InvalidModelError(
            f"layer {name!r} is channels_first: TFLite knows channels_last only; build the model"
            " with data_format='channels_last' and transpose its kernels' inputs"
        )

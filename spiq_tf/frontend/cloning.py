"""Copies of Functional and Sequential models."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from spiq_tf.frontend.keras_internals import all_layers, operation_arguments


def clone_of(model: Any, clone_layer: Callable[[Any], Any] | None = None, inputs: Any = None) -> Any:
    """A model of the same architecture, with newly initialized weights.

    Args:
        model: a Functional or Sequential model.
        clone_layer: makes the copy of one layer or operation; from its configuration by default.
        inputs: symbolic inputs of the copy; new ones like the model's by default.

    Raises:
        Exception: whatever a layer raises that cannot be made from its configuration.
    """
    return keras.models.clone_model(model, inputs, clone_layer, recursive=clone_layer is not None)


def variable_operands(model: Any) -> list[Any]:
    """Weights among the arguments of operations: no layer owns them, so that a copy of the model reads the same."""
    return [a for a in operation_arguments(model) if isinstance(a, keras.Variable)]


def set_weights(model: Any, values: Sequence[Any]) -> None:
    """Sets all weights of a model or layer, in its order, and what its layers derive from them."""
    model.set_weights(list(values))
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with constants that are derived from its weights

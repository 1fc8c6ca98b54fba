"""Copies of Functional and Sequential models."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from spiq_tf.frontend.keras_internals import graph_of


def clone_of(model: Any, made_again: Callable[[Any], Any] | None = None, inputs: Any = None) -> Any:
    """A model of the same architecture, its weights those of a new one.

    Args:
        model: a Functional or Sequential model.
        made_again: makes the copy of one layer or operation, from its configuration by default.
        inputs: symbolic inputs of the copy, of new ones like the model's by default.

    Raises:
        Exception: whatever a layer raises that cannot be made again.
    """
    return keras.models.clone_model(model, inputs, made_again, recursive=made_again is not None)


def read_by_operations(model: Any) -> list[Any]:
    """Weights that stand among the arguments of operations: no layer owns them, a copy of the model reads the same."""
    nodes = [node for level in graph_of(model)._nodes_by_depth.values() for node in level]
    given = keras.tree.flatten([(node.arguments.args, node.arguments.kwargs) for node in nodes])
    return [a for a in given if isinstance(a, keras.Variable)]


def fill(model: Any, values: Sequence[Any]) -> None:
    """Sets all weights of a model or layer, in its order, and what its layers derive from them."""
    model.set_weights(list(values))
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes from constants that are made of its weights

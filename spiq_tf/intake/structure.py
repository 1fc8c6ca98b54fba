"""How Keras keeps the graph of a model's layers."""

from typing import Any

import keras
from keras.src.models.functional import Functional


def is_graph(model: Any) -> bool:
    """Whether it is a model whose call does nothing but run a graph of layers."""
    if isinstance(model, keras.Sequential):
        return type(model).call is keras.Sequential.call and isinstance(model._functional, Functional)
    return isinstance(model, Functional) and type(model).call is Functional.call


def graph_of(model: Any) -> Any:
    """The graph of layers, which a Sequential model keeps inside."""
    return model._functional if isinstance(model, keras.Sequential) else model

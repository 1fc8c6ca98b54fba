"""How Keras keeps the graph of a model's layers, and calls them."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras.src import backend
from keras.src.models.functional import Functional


def is_graph(model: Any) -> bool:
    """Whether it is a model whose call does nothing but run a graph of layers."""
    if isinstance(model, keras.Sequential):
        return type(model).call is keras.Sequential.call and isinstance(model._functional, Functional)
    return isinstance(model, Functional) and type(model).call is Functional.call


def graph_of(model: Any) -> Any:
    """The graph of layers, which a Sequential model keeps inside."""
    return model._functional if isinstance(model, keras.Sequential) else model


def accepted_call_kwargs(layer: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Of the arguments that a layer is called with, those that reach its call: Keras keeps `training` back where the
    call does not name it."""
    keeps_back = isinstance(layer, keras.layers.Layer) and not layer._call_has_training_arg
    return {name: value for name, value in kwargs.items() if not (keeps_back and name == "training")}


def output_spec(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Symbolic outputs of a layer or operation. Where a user's layer says what its shapes are, and where a layer says
    that they are not known (an EinsumDense of output_shape (None, 4)), those of its call if that can be traced."""
    doubtful = not in_keras(type(layer).call) and _overrides_output_spec(type(layer))
    said = None if doubtful else layer.compute_output_spec(*args, **kwargs)
    if doubtful or any(None in y.shape for y in keras.tree.flatten(said)):
        with contextlib.suppress(Exception), keras.StatelessScope():  # whatever a call that cannot be traced raises
            return backend.compute_output_spec(layer.call, *args, **kwargs)
    return layer.compute_output_spec(*args, **kwargs) if said is None else said


def _overrides_output_spec(kind: Any) -> bool:
    return not (in_keras(kind.compute_output_shape) and in_keras(kind.compute_output_spec))


def in_keras(function: Any) -> bool:
    """Whether Keras wrote it; what belongs to one of its applications is written like a user's."""
    module = str(getattr(function, "__module__", ""))
    return module.partition(".")[0] == "keras" and not module.startswith("keras.src.applications.")

"""The only file that uses what Keras does not document: its graph of layers, its classes of operations.

A Keras that renames one of these needs a change here and nowhere else. Operations that a version does not have are left
out of the tables; without what every conversion needs, `import spiq_tf` ends with one error that names the version.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras


def _private_module(name: str) -> Any:
    """The module keras.src.`name`, or an empty object in a version of Keras that does not have it."""
    try:
        return importlib.import_module(f"keras.src.{name}")
    except ImportError:
        return object()


def _essential(owner: Any, name: str) -> Any:
    if not hasattr(owner, name):
        raise ImportError(
            f"Keras {keras.__version__} lacks {getattr(owner, '__name__', 'keras.src')}.{name}, by which spiq_tf reads"
            " models: expected a version that spiq_tf's requirements allow; pip install -U spiq_tf"
        )
    return getattr(owner, name)


Functional = _essential(_private_module("models.functional"), "Functional")
"""The class of models that are a graph of layers."""

_compute_output_spec = _essential(_private_module("backend"), "compute_output_spec")
_essential(Functional, "_run_through_graph")
_essential(keras.layers.Layer, "_flatten_layers")

_OPERATION_MODULES = ("activations.activations", "ops.image", "ops.nn", "ops.numpy")


def operation_classes(module: str, names: str) -> dict[str, type]:
    """Classes of keras.ops, as they stand in a Functional model, by name; without those that this Keras lacks.

    Args:
        module: "activations.activations", "ops.image", "ops.nn" or "ops.numpy".
        names: separated by spaces.
    """
    if module not in _OPERATION_MODULES:
        raise KeyError(module)
    source = _private_module(module)
    return {name: getattr(source, name) for name in names.split() if hasattr(source, name)}


def is_graph(model: Any) -> bool:
    """Whether a model's call does nothing but run a graph of layers."""
    if isinstance(model, keras.Sequential):
        return type(model).call is keras.Sequential.call and isinstance(model._functional, Functional)
    return isinstance(model, Functional) and type(model).call is Functional.call


def graph_of(model: Any) -> Any:
    """The graph of layers, which a Sequential model keeps inside."""
    return model._functional if isinstance(model, keras.Sequential) else model


def run_symbolically(model: Any, inputs: Sequence[Any], call_layer: Callable[..., Any]) -> list[Any]:
    """Runs a graph of layers on other symbolic tensors; returns its flattened outputs.

    Args:
        model: a Functional or Sequential model.
        inputs: symbolic tensors, in the order of its inputs.
        call_layer: what runs one layer call: takes the layer and its arguments.
    """
    outputs = graph_of(model)._run_through_graph(
        list(inputs), call_fn=lambda layer, *args, **kwargs: call_layer(layer, args, kwargs)
    )
    return keras.tree.flatten(outputs)


def operation_arguments(model: Any) -> list[Any]:
    """The flattened arguments of all layer calls in a graph of layers."""
    nodes = [node for level in graph_of(model)._nodes_by_depth.values() for node in level]
    return keras.tree.flatten([(node.arguments.args, node.arguments.kwargs) for node in nodes])


def takes_dict(model: Any) -> bool:
    """Whether a graph of layers takes its inputs as a dict."""
    return isinstance(graph_of(model)._inputs_struct, dict)


def output_keys(model: Any) -> list[str] | None:
    """The keys of a graph of layers that returns a dict of tensors, in the order of its outputs; None of any other."""
    graph = graph_of(model)
    struct = graph._outputs_struct
    return sorted(struct) if isinstance(struct, dict) and len(struct) == len(graph.outputs) else None


def all_layers(layer: Any) -> list[Any]:
    """A layer or model and all layers inside it, at any depth; of an operation none."""
    return list(layer._flatten_layers()) if isinstance(layer, keras.layers.Layer) else []


def producing_layer(symbol: Any) -> Any:
    """The layer or operation whose call made a symbolic tensor."""
    return symbol._keras_history.operation


def takes_training(layer: Any) -> bool:
    """Whether the call of a layer takes the argument `training`."""
    return bool(getattr(layer, "_call_has_training_arg", False))


def accepted_call_kwargs(layer: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Of the keyword arguments of a layer call, those that reach the layer's `call`.

    Keras does not pass on `training` where the call does not name it.
    """
    drops_training = isinstance(layer, keras.layers.Layer) and not takes_training(layer)
    return {name: value for name, value in kwargs.items() if not (drops_training and name == "training")}


def recorded_input_shapes(model: Any) -> dict[str, Any]:
    """Shapes, nested as the inputs are, that Keras recorded when it built a subclassed model, by "NAME_shape"."""
    return {key: value for key, value in (model._build_shapes_dict or {}).items() if value is not None}


def output_spec(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Symbolic outputs of a layer or operation.

    Those of its call, where that can be traced, if a user's layer overrides the computation of its shapes, or a layer
    leaves sizes open (an EinsumDense of output_shape (None, 4)).
    """
    overridden = not in_keras(type(layer).call) and _overrides_output_spec(type(layer))
    stated = None if overridden else layer.compute_output_spec(*args, **kwargs)
    if overridden or any(None in y.shape for y in keras.tree.flatten(stated)):
        with contextlib.suppress(Exception), keras.StatelessScope():  # whatever a call that cannot be traced raises
            return _compute_output_spec(layer.call, *args, **kwargs)
    return layer.compute_output_spec(*args, **kwargs) if stated is None else stated


def _overrides_output_spec(kind: Any) -> bool:
    return not (in_keras(kind.compute_output_shape) and in_keras(kind.compute_output_spec))


def in_keras(function: Any) -> bool:
    """Whether a function is Keras's own; what belongs to one of its applications counts as a user's."""
    module = str(getattr(function, "__module__", ""))
    return module.partition(".")[0] == "keras" and not module.startswith("keras.src.applications.")


@contextlib.contextmanager
def restored_layer_state(layer: Any, no_weights: Callable[[str], Exception]) -> Iterator[None]:
    """Undoes what symbolic calls leave in the layers of a model or layer.

    Layers record each call, which only the new graph needs; their names, which Keras wants to be distinct in a graph
    but not elsewhere, differ meanwhile; those without weights must not be built lazily, with untrained weights.

    Args:
        layer: a layer or model, whose layers are called meanwhile.
        no_weights: makes the error for a layer that has no weights yet, by its name.
    """
    layers = all_layers(layer)
    unbuilt = [x for x in layers if not x.built and _makes_weights(x)]
    before = [(x, x.name, x.built, len(x._inbound_nodes), len(x._outbound_nodes)) for x in layers]
    try:
        for x in unbuilt:
            x.build = _raising(no_weights(x.name))
        for index, x in enumerate(layers):
            x.name = f"{x.name}.{index}"
        yield
    finally:
        for x in unbuilt:
            del x.build
        for x, name, built, inbound, outbound in before:
            x.name, x.built = name, built
            del x._inbound_nodes[inbound:], x._outbound_nodes[outbound:]


def _makes_weights(layer: Any) -> bool:
    return type(layer).build is not keras.layers.Layer.build and not isinstance(layer, keras.Model)


def _raising(error: Exception) -> Callable[..., None]:
    def build(*args: Any, **kwargs: Any) -> None:
        raise error

    return build

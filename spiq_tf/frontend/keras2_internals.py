"""The only file that uses what tf_keras (Keras 2) does not document: its graph of layers."""

from collections.abc import Iterator
from typing import Any


def is_keras2(value: Any, kind: str) -> bool:
    """Whether an object is of a class of tf_keras of that name, or of one derived from it; tf_keras is not imported."""
    kinds = type(value).__mro__
    return any(base.__module__.partition(".")[0] == "tf_keras" and base.__name__ == kind for base in kinds)


def is_graph(model: Any) -> bool:
    """Whether a tf_keras model does nothing but run a graph of layers."""
    own_call = type(model).call.__module__.partition(".")[0] != "tf_keras"
    return bool(getattr(model, "_is_graph_network", False)) and not own_call


def layer_calls(model: Any) -> Iterator[Any]:
    """The calls of the graph's layers in order of execution, each with layer, call_args, call_kwargs and outputs."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from (node for node in model._nodes_by_depth[depth] if not node.is_input)


def nested_outputs(model: Any) -> Any:
    """The symbolic outputs as the model returns them: one, a list, a dict."""
    return model._nested_outputs


def takes_training(layer: Any) -> bool:
    """Whether the call of a layer takes the argument `training`."""
    return bool(layer._expects_training_arg)

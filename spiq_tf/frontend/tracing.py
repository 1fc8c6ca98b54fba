"""A call that is Python code becomes the graph of layers that it runs, by calling it on symbolic tensors."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras.src.models.functional import Functional


class UntraceableError(Exception):
    """The call does what a symbolic tensor cannot; the message says what."""


@dataclass(frozen=True)
class Traced:
    """A call as a graph.

    Attributes:
        graph: a Functional model of the layers that the call runs: the layers themselves, not copies.
        inputs: the symbolic tensors of the call that stand for the graph's inputs, in its order.
        reads_weights: whether the call computed something from weights alone, which the graph holds as a constant.
    """

    graph: Any
    inputs: Sequence[Any]
    reads_weights: bool


class _Watched(keras.StatelessScope):  # type: ignore[misc] # keras is untyped
    """What the call writes reaches no variable; both writing and reading are noted. Layers in it have their own."""

    reads = False

    def get_current_value(self, variable: Any) -> Any:
        """The value, or None where it was not written."""
        self.reads = True
        return super().get_current_value(variable)


def traced(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Traced:
    """The call of a layer or model at inference as a graph; neither it nor the layers that it runs are changed.

    Args:
        layer: a built layer or model.
        args, kwargs: what it is called with, symbolic tensors where tensors go.

    Raises:
        UntraceableError: the call needs values, runs functions of TensorFlow, draws random numbers or writes state.
    """
    symbols = {id(a): a for a in keras.tree.flatten((args, dict(kwargs))) if isinstance(a, keras.KerasTensor)}
    inputs = {key: _input(symbol) for key, symbol in symbols.items()}
    args, kwargs = keras.tree.map_structure(lambda a: inputs.get(id(a), a), (tuple(args), dict(kwargs)))
    if getattr(layer, "_call_has_training_arg", False):
        kwargs = {**kwargs, "training": False}
    name = layer.name
    with _left_as_they_are(layer):
        outputs, reads_weights = _run(layer, args, kwargs)
        graph = _functional(list(inputs.values()), outputs, name)
    graph.output_names = [y._keras_history.operation.name for y in graph.outputs]
    return Traced(graph, tuple(symbols.values()), reads_weights)


def _functional(inputs: list[Any], outputs: Any, name: str) -> Any:
    try:
        return Functional(inputs[0] if len(inputs) == 1 else inputs, outputs, name=name)
    except Exception as error:  # Keras has many ways to say that an output cannot be reached from the inputs
        raise UntraceableError(_words(error)) from error


def _input(symbol: Any) -> Any:
    return keras.Input(batch_shape=symbol.shape, dtype=symbol.dtype, name=symbol.name)


def _run(layer: Any, args: Any, kwargs: Any) -> tuple[Any, bool]:
    """The symbolic outputs, and whether the call read a weight's value."""
    try:
        with _Watched() as scope:
            outputs = layer.call(*args, **kwargs)
    except UntraceableError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise UntraceableError(_words(error)) from error
    if scope.state_mapping:
        raise UntraceableError("it writes state or draws random numbers")
    if not all(isinstance(y, keras.KerasTensor) for y in keras.tree.flatten(outputs)):
        raise UntraceableError("it returns something that is computed from no input")
    return outputs, scope.reads


@contextlib.contextmanager
def _left_as_they_are(layer: Any) -> Iterator[None]:
    """Undoes what symbolic calls leave in the layers of a model or layer.

    They remember each call, which only the graph needs to; their names, which Keras wants to be distinct in a graph but
    not elsewhere, differ meanwhile; those that have no weights yet may not make them now, untrained.
    """
    found = layer._flatten_layers()
    unbuilt = [x for x in found if not x.built and _makes_weights(x)]
    before = [(x, x.name, x.built, len(x._inbound_nodes), len(x._outbound_nodes)) for x in found]
    try:
        for x in unbuilt:
            x.build = _no_weights_yet(x.name)
        for index, x in enumerate(found):
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


def _no_weights_yet(name: str) -> Callable[..., None]:
    def build(*args: Any, **kwargs: Any) -> None:
        raise UntraceableError(f"layer {name!r} has no weights yet: call the model once on data")

    return build


def _words(error: Exception) -> str:
    first = " ".join(str(error).split()).partition(". ")[0]
    return first[:300] or type(error).__name__

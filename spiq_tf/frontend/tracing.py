"""From a call that is Python code to the graph of layers that it runs, by calling it on symbolic tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from spiq_tf.frontend.keras_internals import Functional, producing_layer, restored_layer_state, takes_training


class UntraceableError(Exception):
    """The call does what symbolic tensors do not support; the message says what."""


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


class _VariableAccessScope(keras.StatelessScope):  # type: ignore[misc] # keras is untyped
    """Records whether the call itself reads or writes variables; nothing that it writes reaches one.

    Layers that are called on symbolic tensors open scopes of their own.
    """

    reads = False

    def get_current_value(self, variable: Any) -> Any:
        """The value, or None where it was not written."""
        self.reads = True
        return super().get_current_value(variable)


def traced(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Traced:
    """The call of a layer or model at inference as a graph; neither it nor the layers that it runs are changed.

    Not for two threads at once: the names of the model's layers differ meanwhile (see process_lock.py).

    Args:
        layer: a built layer or model.
        args, kwargs: what it is called with, symbolic tensors where tensors go.

    Raises:
        UntraceableError: the call needs values, runs functions of TensorFlow, draws random numbers or writes state.
    """
    symbols = {id(a): a for a in keras.tree.flatten((args, dict(kwargs))) if isinstance(a, keras.KerasTensor)}
    inputs = {key: _input(symbol) for key, symbol in symbols.items()}
    args, kwargs = keras.tree.map_structure(lambda a: inputs.get(id(a), a), (tuple(args), dict(kwargs)))
    if takes_training(layer):
        kwargs = {**kwargs, "training": False}
    name = layer.name
    with restored_layer_state(layer, _no_weights_yet):
        outputs, reads_weights = _run(layer, args, kwargs)
        graph = _functional(list(inputs.values()), outputs, name)
    graph.output_names = [producing_layer(y).name for y in graph.outputs]
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
        with _VariableAccessScope() as scope:
            outputs = layer.call(*args, **kwargs)
    except UntraceableError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise UntraceableError(_words(error)) from error
    if scope.state_mapping:
        raise UntraceableError("it writes state or draws random numbers")
    if not all(isinstance(y, keras.KerasTensor) for y in keras.tree.flatten(outputs)):
        raise UntraceableError("it returns a value that does not depend on its inputs")
    return outputs, scope.reads


def _no_weights_yet(name: str) -> UntraceableError:
    return UntraceableError(f"layer {name!r} has no weights yet: call the model once on data")


def _words(error: Exception) -> str:
    first = " ".join(str(error).split()).partition(". ")[0]
    return first[:300] or type(error).__name__

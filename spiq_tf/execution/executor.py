"""The executor: the only loop over the layer calls of a graph.

The same loop serves eager runs on samples, runs that a gradient tape records, runs with other weights, runs of some of
the calls, and TensorFlow's tracing: what differs is the function that runs one call, and the values that it is given.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import keras

from spiq_tf.graph.layer_graph import Call, Tensor

CallFunction: TypeAlias = Callable[[Call, Mapping[str, Any]], Mapping[str, Any]]
"""Runs one call on values by tensor name; returns those that it adds, by tensor name: its outputs, and what else the
caller wants to know of it."""


def run_layer(call: Call, values: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of one call by tensor name, as its layer computes them."""
    return by_name(call, call_outputs(call, values))


def by_name(call: Call, outputs: Iterable[Any]) -> dict[str, Any]:
    """The flattened outputs of a call by tensor name."""
    return {tensor.name: value for tensor, value in zip(call.outputs, outputs, strict=True)}


def call_outputs(call: Call, values: Mapping[str, Any]) -> list[Any]:
    """Calls a call's layer on the tensors of the given names; returns its flattened outputs."""

    def filled(argument: Any) -> Any:
        return values[argument.name] if isinstance(argument, Tensor) else argument

    args, kwargs = keras.tree.map_structure(filled, (call.args, dict(call.kwargs)))
    return keras.tree.flatten(call.layer(*args, **kwargs))


def input_tensors(call: Call) -> list[Tensor]:
    """The tensors among the arguments of a call, in their order."""
    arguments = keras.tree.flatten((call.args, dict(call.kwargs)))
    return [argument for argument in arguments if isinstance(argument, Tensor)]


def execute(
    calls: Iterable[Call],
    inputs: Mapping[str, Any],
    run_call: CallFunction = run_layer,
    weights: Sequence[tuple[Any, Any]] = (),
) -> dict[str, Any]:
    """Runs layer calls one after the other, at inference.

    In a stateless scope: the user's layers keep their weights, and one that counts its calls must not notice.

    Args:
        calls: in order of execution: those of a graph, or a part of them whose other inputs are given.
        inputs: values by tensor name, each of the tensor's shape.
        run_call: runs one call.
        weights: pairs of a variable and the value that stands for it.

    Returns:
        The inputs and what the calls add to them, by tensor name.
    """
    values = dict(inputs)
    with keras.StatelessScope(state_mapping=weights):
        for call in calls:
            values.update(run_call(call, values))
    return values

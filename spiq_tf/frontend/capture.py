"""Keras model -> LayerGraph: its layer calls, in order, each expanded into primitives."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from spiq_tf.distributions.values import Array
from spiq_tf.errors import InvalidModelError
from spiq_tf.frontend.expansion.call_site import CallSite, Step
from spiq_tf.frontend.expansion.layer_table import expand
from spiq_tf.frontend.keras_internals import accepted_call_kwargs, graph_of, is_graph, output_spec
from spiq_tf.frontend.subclassed import expand_call, makes_mask
from spiq_tf.frontend.unsupported_layers import check_layer
from spiq_tf.graph.layer_graph import Call, LayerGraph, Node, Tensor
from spiq_tf.graph.self_gated import with_self_gated_products
from spiq_tf.primitives.opaque import Opaque


def capture(model: Any, batch_size: int) -> LayerGraph:
    """Reads a Keras model's structure and weights; changes nothing.

    Args:
        model: a Functional or Sequential model in float32, as `intake.accept` makes it; nested models and layers
            that own others are expanded where they can be, other layers stay whole.
        batch_size: the static batch of every shape.

    Raises:
        InvalidModelError: of dynamic size, or with a layer that a file cannot hold.
    """
    return _Capture(model, batch_size).graph()


class _Weights(Mapping[int, Array]):
    """The variables' values in float64, read when asked for: copies of all would double a conversion's memory."""

    def __init__(self, variables: Mapping[int, Any]) -> None:
        self._variables = variables

    def __getitem__(self, key: int) -> Array:
        return np.asarray(self._variables[key].numpy(), np.float64)

    def __iter__(self) -> Iterator[int]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


class _Capture:
    """Runs a model's graph on symbolic tensors of static shape and writes down each layer call."""

    def __init__(self, model: Any, batch_size: int) -> None:
        self._model = model
        self._batch = batch_size
        self._calls: list[Call] = []
        self._nodes: list[Node] = []
        self._names: dict[str, int] = {}
        self._tensors: dict[int, Tensor] = {}  # by identity of the symbolic tensor that stands for it
        self._alive: list[Any] = []  # keeps those, so that no identity is used twice
        self._masked = False  # whether a layer before has made a mask, which Keras passes on beside the tensors

    def graph(self) -> LayerGraph:
        inputs = [self._input(x) for x in self._model.inputs]
        outputs = self._run(self._model, inputs, prefix="")
        read = [v for call in self._calls for v in _read_variables(call)]
        variables = {id(v): v for v in (*self._model.variables, *read)}
        return LayerGraph(
            inputs=tuple(self._tensors[id(x)] for x in inputs),
            outputs=tuple(self._tensors[id(x)] for x in outputs),
            input_names=_distinct([x.name for x in self._model.inputs]),
            output_names=_distinct(_output_names(self._model)),
            calls=tuple(self._calls),
            nodes=with_self_gated_products(self._nodes),
            weights=_Weights(variables),
            variables=variables,
        )

    def _input(self, x: Any) -> Any:
        shape = (self._batch, *x.shape[1:])
        if None in shape:
            raise InvalidModelError(
                f"input {x.name!r} has the dynamic shape {tuple(x.shape)}: expected static sizes but for the"
                " batch; clone the model with a fixed size, e.g. fixed = keras.Input((224, 224, 3)); model ="
                " keras.Model(fixed, model(fixed))"
            )
        if x.dtype != "float32":
            raise InvalidModelError(
                f"input {x.name!r} holds {x.dtype}: expected float32; give the model a float32 input, e.g. image ="
                ' keras.Input(shape); model = keras.Model(image, model(image)), and pass inference_input_type="uint8"'
                " for a file that takes bytes; numbers of words or users do not survive 8 bits: let the model"
                " begin behind its Embedding"
            )
        if len(shape) < 2:
            raise InvalidModelError(
                f"input {x.name!r} has the shape {shape}: expected at least one axis of values beside the"
                " batch; give the model another: time = keras.Input((1,)); model = keras.Model(time, model(time[:, 0]))"
            )
        symbol = keras.KerasTensor(shape, dtype=x.dtype, name=x.name)
        self._remember(symbol, Tensor(self._name(x.name), shape))
        return symbol

    def _remember(self, symbol: Any, tensor: Tensor) -> None:
        self._alive.append(symbol)
        self._tensors[id(symbol)] = tensor

    def _run(self, model: Any, inputs: Sequence[Any], prefix: str) -> list[Any]:
        outputs = graph_of(model)._run_through_graph(
            list(inputs), call_fn=lambda layer, *args, **kwargs: self._call(prefix, layer, args, kwargs)
        )
        return keras.tree.flatten(outputs)

    def _call(self, prefix: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        symbols = [a for a in keras.tree.flatten((args, kwargs)) if isinstance(a, keras.KerasTensor)]
        if isinstance(layer, keras.Model) and is_graph(layer):
            return self._run(layer, _in_order(layer, args, symbols), f"{prefix}{layer.name}/")
        check_layer(f"{prefix}{layer.name}", layer)
        kwargs = accepted_call_kwargs(layer, kwargs)
        self._masked |= makes_mask(layer)
        if (inside := expand_call(layer, args, kwargs, self._masked)) is not None:
            return self._run(inside.graph, inside.inputs, f"{prefix}{layer.name}/")
        inputs = tuple(self._tensors[id(s)] for s in symbols)
        if any(0 in t.shape for t in inputs):
            raise InvalidModelError(
                f"layer {prefix}{layer.name!r} reads a tensor of no values: expected some; leave it out"
            )
        produced = self._shapes(prefix, layer, args, kwargs)
        floats = {x.dtype for x in symbols} == {"float32"}
        args, kwargs = keras.tree.map_structure(lambda a: self._tensors.get(id(a), _bounded(a)), (args, dict(kwargs)))
        call = Call(len(self._calls), layer, f"{prefix}{layer.name}", args, kwargs, ())
        chains = [self._chain(call, inputs, index, y, floats) for index, y in enumerate(produced)]
        if chains == [()]:
            return symbols[:1]
        name = self._name(call.name)
        call = replace(call, name=name, outputs=self._outputs(name, produced))
        self._calls.append(call)
        for index, chain in enumerate(chains):
            if 0 not in produced[index].shape:  # a tensor of no values is read by nothing
                self._append_chain(call, inputs, index, chain)
        return produced

    def _chain(self, call: Call, inputs: tuple[Tensor, ...], index: int, made: Any, of_floats: bool) -> Sequence[Step]:
        """The steps that make one output of a call."""
        shape, floats = tuple(made.shape), of_floats and made.dtype == "float32"
        shapes, run = tuple(t.shape for t in inputs), partial(_replayed_output, call, inputs, index)
        arguments = tuple(None if isinstance(a, Tensor) else a for a in call.args)
        steps = expand(call.layer, CallSite(shapes, shape, run, arguments, call.kwargs, floats))
        if steps is not None:
            return tuple(steps)
        keys = tuple(id(v) for v in (*getattr(call.layer, "variables", ()), *_read_variables(call)))
        return (Step(Opaque(run, shapes, keys), shape),)

    def _shapes(self, prefix: str, layer: Any, args: Any, kwargs: Any) -> list[Any]:
        """Symbolic outputs of one layer call, all of static shape and distinct."""
        produced = keras.tree.flatten(output_spec(layer, args, kwargs))
        outputs = [keras.KerasTensor(y.shape, dtype=y.dtype) for y in produced]  # a layer may name one twice
        for output in outputs:
            if None in output.shape:
                raise InvalidModelError(
                    f"layer {prefix}{layer.name!r} makes the dynamic shape {tuple(output.shape)}: expected static"
                    " sizes; give the model's input a fixed size"
                )
            if not output.shape:
                raise InvalidModelError(
                    f"layer {prefix}{layer.name!r} makes a single number, of shape (): expected at least one axis; of a"
                    " sum over examples leave the first axis out, e.g. ops.sum(x, axis=(1, 2, 3)), and give a number of"
                    " the layer's own the shape (1,)"
                )
        return outputs

    def _outputs(self, name: str, symbols: Sequence[Any]) -> tuple[Tensor, ...]:
        for index, symbol in enumerate(symbols):
            label = name if len(symbols) == 1 else f"{name}:{index}"
            self._remember(symbol, Tensor(label, tuple(symbol.shape)))
        return tuple(self._tensors[id(s)] for s in symbols)

    def _append_chain(self, call: Call, inputs: tuple[Tensor, ...], index: int, steps: Sequence[Step]) -> None:
        for place, step in enumerate(steps):
            last = place == len(steps) - 1
            output = call.outputs[index] if last else Tensor(f"{call.outputs[index].name}/{place}", step.shape)
            self._nodes.append(Node(step.primitive, inputs, output, call))
            inputs = (output,)

    def _name(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return name if count == 0 else f"{name}:call{count + 1}"


_INFINITE = 1e38
_NEVER = 1e9
"""Beyond all values of a network, and what masks are made of."""


def _bounded(argument: Any) -> Any:
    """An argument of a call; numbers that stand for an infinity, as what is padded in front of a maximum, are ones that
    integers can be made of."""
    if isinstance(argument, float | np.floating) and abs(float(argument)) > _INFINITE:
        return float(np.copysign(_NEVER, argument))
    return argument


def _read_variables(call: Call) -> list[Any]:
    """Weights that stand among the arguments of an operation."""
    arguments = keras.tree.flatten((call.args, dict(call.kwargs)))
    return [a for a in arguments if isinstance(a, keras.Variable)]


def _in_order(model: Any, args: tuple[Any, ...], symbols: list[Any]) -> list[Any]:
    """The symbols in the order of a nested model's inputs, which a dict may be passed for by name."""
    if args and isinstance(args[0], dict) and not isinstance(graph_of(model)._inputs_struct, dict):
        return [args[0][x.name] for x in model.inputs]
    return symbols


def _named(inputs: Sequence[Tensor], values: Sequence[Array]) -> dict[str, Any]:
    return {t.name: tf.constant(v, tf.float32) for t, v in zip(inputs, values, strict=True)}


def _replayed_output(call: Call, inputs: Sequence[Tensor], index: int, values: Sequence[Array]) -> Array:
    """One output of a layer call, run at inference on given arrays in place of its input tensors.

    In a stateless scope: a layer that counts its calls, or keeps other state, must not notice.
    """
    batch = inputs[0].shape[0]
    chunks = [[v[k : k + batch] for v in values] for k in range(0, len(values[0]), batch)]
    try:
        with keras.StatelessScope():
            results = [replay(call, _named(inputs, chunk))[index] for chunk in chunks]
            return np.concatenate([np.asarray(y, np.float64) for y in results])
    except Exception as error:  # whatever a custom layer's own code raises
        raise InvalidModelError(
            f"layer {call.name!r} cannot be run on samples of its input, shapes {[t.shape for t in inputs]}: {error}"
        ) from error


def replay(call: Call, values: dict[str, Any]) -> list[Any]:
    """Runs one layer call, at inference, on the tensors of the given names; returns its flattened outputs."""

    def filled(arg: Any) -> Any:
        return values[arg.name] if isinstance(arg, Tensor) else arg

    args, kwargs = keras.tree.map_structure(filled, (call.args, dict(call.kwargs)))
    if getattr(call.layer, "_call_has_training_arg", False):
        kwargs = {**kwargs, "training": False}
    return keras.tree.flatten(call.layer(*args, **kwargs))


def _output_names(model: Any) -> list[str]:
    """The keys of a model that returns a dict, the names of the last layers of any other."""
    graph = graph_of(model)
    struct = graph._outputs_struct
    if isinstance(struct, dict) and len(struct) == len(graph.outputs):
        return sorted(struct)
    return list(graph.output_names)


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names, with a counter behind those that repeat: a signature needs them distinct."""
    result: list[str] = []
    for name in names:
        taken = {*names, *result}
        again = (f"{name}_{count}" for count in itertools.count(1))
        result.append(name if name not in result else next(other for other in again if other not in taken))
    return tuple(result)

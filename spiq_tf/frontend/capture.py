"""Keras model -> LayerGraph: its layer calls, in order, each expanded into primitives."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from spiq_tf.distributions.values import Array
from spiq_tf.frontend import keras_internals
from spiq_tf.frontend.expansion.call_site import CallSite, LayerInput, Operand, Step, StepOutput
from spiq_tf.frontend.expansion.layer_table import expand
from spiq_tf.frontend.layer_samples import output_function
from spiq_tf.frontend.shape_checks import check_input, check_operands, check_outputs
from spiq_tf.frontend.subclassed import expand_call, makes_mask
from spiq_tf.frontend.unsupported_layers import check_layer
from spiq_tf.graph.layer_graph import Call, LayerGraph, Node, Tensor
from spiq_tf.graph.self_gated import with_self_gated_products
from spiq_tf.primitives.opaque import Opaque


def capture(model: Any, batch_size: int) -> LayerGraph:
    """Reads a Keras model's structure and weights; changes nothing.

    Args:
        model: a Functional or Sequential model in float32, as `entry.to_float32_functional` makes it; nested models
            and layers that own others are expanded where they can be, other layers stay whole.
        batch_size: the static batch of every shape.

    Raises:
        InvalidModelError: of dynamic size, or with a layer that a file cannot hold.
    """
    return _Capture(model, batch_size).graph()


class _Weights(Mapping[int, Array]):
    """The variables' values in float64, read on demand: copies of all would double a conversion's memory."""

    def __init__(self, variables: Mapping[int, Any]) -> None:
        self._variables = variables

    def __getitem__(self, key: int) -> Array:
        return np.asarray(self._variables[key].numpy(), np.float64)

    def __iter__(self) -> Iterator[int]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


class _Capture:
    """Runs a model's graph on symbolic tensors of static shape and records each layer call."""

    def __init__(self, model: Any, batch_size: int) -> None:
        self._model = model
        self._batch = batch_size
        self._calls: list[Call] = []
        self._nodes: list[Node] = []
        self._names: dict[str, int] = {}
        self._tensors: dict[int, Tensor] = {}  # by identity of the symbolic tensor that stands for it
        self._alive: list[Any] = []  # references to those, so that no identity is used twice
        self._masked = False  # whether a layer before has made a mask, which Keras passes on beside the tensors

    def graph(self) -> LayerGraph:
        inputs = [self._input(x) for x in self._model.inputs]
        outputs = [self._tensors[id(x)] for x in self._run(self._model, inputs, prefix="")]
        operands = [v for call in self._calls for v in _variable_operands(call)]
        variables = {id(v): v for v in (*self._model.variables, *operands)}
        return LayerGraph(
            inputs=tuple(self._tensors[id(x)] for x in inputs),
            outputs=tuple(outputs),
            input_names=_distinct([str(x.name) for x in self._model.inputs]),
            output_names=_distinct(_output_names(self._model)),
            calls=tuple(self._calls),
            nodes=with_self_gated_products(self._nodes),
            weights=_Weights(variables),
            variables=variables,
        )

    def _input(self, x: Any) -> Any:
        shape = (self._batch, *x.shape[1:])
        check_input(x, shape)
        symbol = keras.KerasTensor(shape, dtype=x.dtype, name=x.name)
        self._remember(symbol, Tensor(self._name(x.name), shape))
        return symbol

    def _remember(self, symbol: Any, tensor: Tensor) -> None:
        self._alive.append(symbol)
        self._tensors[id(symbol)] = tensor

    def _run(self, model: Any, inputs: Sequence[Any], prefix: str) -> list[Any]:
        return keras_internals.run_symbolically(
            model, inputs, lambda layer, args, kwargs: self._call(prefix, layer, args, kwargs)
        )

    def _call(self, prefix: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        symbols = [a for a in keras.tree.flatten((args, kwargs)) if isinstance(a, keras.KerasTensor)]
        path = f"{prefix}{layer.name}"
        if isinstance(layer, keras.Model) and keras_internals.is_graph(layer):
            return self._run(layer, _in_order(layer, args, symbols), f"{path}/")
        check_layer(path, layer)
        kwargs = keras_internals.accepted_call_kwargs(layer, kwargs)
        self._masked |= makes_mask(layer)
        if (inside := expand_call(layer, args, kwargs, self._masked)) is not None:
            return self._run(inside.graph, inside.inputs, f"{path}/")
        inputs = tuple(self._tensors[id(s)] for s in symbols)
        check_operands(path, [t.shape for t in inputs])
        outputs = _outputs(path, layer, args, kwargs)
        call = self._recorded(path, layer, args, kwargs)
        floats = {x.dtype for x in symbols} == {"float32"}
        expansions = [self._expanded(call, inputs, index, y, floats) for index, y in enumerate(outputs)]
        if expansions == [()]:
            return symbols[:1]
        self._append(call, inputs, outputs, expansions)
        return outputs

    def _recorded(self, path: str, layer: Any, args: Any, kwargs: Any) -> Call:
        """The call at inference, with tensors of the graph in place of symbolic ones; its outputs come later."""
        if keras_internals.takes_training(layer):
            kwargs = {**kwargs, "training": False}
        args, kwargs = keras.tree.map_structure(lambda a: self._tensors.get(id(a), _bounded(a)), (args, dict(kwargs)))
        return Call(index=len(self._calls), layer=layer, name=path, args=args, kwargs=kwargs, outputs=())

    def _expanded(
        self, call: Call, inputs: tuple[Tensor, ...], index: int, output: Any, floats: bool
    ) -> Sequence[Step]:
        """The steps that compute one output of a call."""
        shape, floats = tuple(output.shape), floats and output.dtype == "float32"
        shapes, run = tuple(t.shape for t in inputs), output_function(call, inputs, index)
        arguments = tuple(None if isinstance(a, Tensor) else a for a in call.args)
        steps = expand(
            call.layer,
            CallSite(inputs=shapes, output=shape, run=run, arguments=arguments, keywords=call.kwargs, floats=floats),
        )
        if steps is not None:
            return tuple(steps)
        keys = tuple(id(v) for v in (*getattr(call.layer, "variables", ()), *_variable_operands(call)))
        return (Step(Opaque(evaluate=run, shapes=shapes, keys=keys), shape),)

    def _append(
        self, call: Call, inputs: tuple[Tensor, ...], symbols: Sequence[Any], expansions: Sequence[Sequence[Step]]
    ) -> None:
        """Adds a call, and the nodes of each of its outputs."""
        name = self._name(call.name)
        for index, symbol in enumerate(symbols):
            label = name if len(symbols) == 1 else f"{name}:{index}"
            self._remember(symbol, Tensor(label, tuple(symbol.shape)))
        call = replace(call, name=name, outputs=tuple(self._tensors[id(s)] for s in symbols))
        self._calls.append(call)
        for output, steps in zip(call.outputs, expansions, strict=True):
            if 0 not in output.shape:  # an empty tensor has no consumer
                self._nodes += _nodes(call, inputs, output, steps)

    def _name(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return name if count == 0 else f"{name}:call{count + 1}"


def _nodes(call: Call, inputs: tuple[Tensor, ...], output: Tensor, steps: Sequence[Step]) -> Iterator[Node]:
    """The steps of one output as nodes; the last step makes the output."""
    outputs: list[Tensor] = []

    def tensor(operand: Operand) -> Tensor:
        return inputs[operand.index] if isinstance(operand, LayerInput) else outputs[operand.index]

    for index, step in enumerate(steps):
        last = index == len(steps) - 1
        default = (StepOutput(index - 1),) if index else tuple(map(LayerInput, range(len(inputs))))
        operands = tuple(map(tensor, default if step.inputs is None else step.inputs))
        outputs.append(output if last else Tensor(f"{output.name}/{index}", step.shape))
        yield Node(primitive=step.primitive, inputs=operands, output=outputs[-1], call=call)


def _outputs(path: str, layer: Any, args: Any, kwargs: Any) -> list[Any]:
    """Symbolic outputs of one layer call, all of static shape and distinct."""
    specified = keras.tree.flatten(keras_internals.output_spec(layer, args, kwargs))
    check_outputs(path, [y.shape for y in specified])
    return [keras.KerasTensor(y.shape, dtype=y.dtype) for y in specified]  # a layer may return one twice


_INFINITE = 1e38
_BEYOND_ALL_VALUES = 1e9
"""What attention masks are made of."""


def _bounded(argument: Any) -> Any:
    """An argument of a call; a number that stands for an infinity, as in a padding before a maximum, is one that can be
    quantized."""
    if isinstance(argument, float | np.floating) and abs(float(argument)) > _INFINITE:
        return float(np.copysign(_BEYOND_ALL_VALUES, argument))
    return argument


def _variable_operands(call: Call) -> list[Any]:
    """Weights that stand among the arguments of an operation."""
    arguments = keras.tree.flatten((call.args, dict(call.kwargs)))
    return [a for a in arguments if isinstance(a, keras.Variable)]


def _in_order(model: Any, args: tuple[Any, ...], symbols: list[Any]) -> list[Any]:
    """The symbols in the order of a nested model's inputs, which a dict may be passed for by name."""
    if args and isinstance(args[0], dict) and not keras_internals.takes_dict(model):
        return [args[0][x.name] for x in model.inputs]
    return symbols


def _output_names(model: Any) -> list[str]:
    """The keys of a model that returns a dict, the names of the last layers of any other."""
    return keras_internals.output_keys(model) or list(keras_internals.graph_of(model).output_names)


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names, those that repeat with a counter appended: a signature needs them distinct."""
    result: list[str] = []
    for name in names:
        taken = {*names, *result}
        numbered = (f"{name}_{count}" for count in itertools.count(1))
        result.append(name if name not in result else next(other for other in numbered if other not in taken))
    return tuple(result)

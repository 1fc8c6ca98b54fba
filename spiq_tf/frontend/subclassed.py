"""Subclassed models, and layers that own others, as graphs of the user's own layers."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from spiq_tf.errors import InvalidModelError
from spiq_tf.frontend.keras_internals import accepted_call_kwargs, in_keras, recorded_input_shapes, run_symbolically
from spiq_tf.frontend.tracing import Traced, UntraceableError, traced

_ADVICE = (
    "write the call with Keras layers and keras.ops alone (keras.ops.relu for tf.nn.relu), without Python conditions"
    " on values and with tensors as the first operand, before weights (x * self.scale), or build the graph yourself:"
    " inputs = keras.Input(shape); keras.Model(inputs, outputs)"
)


def graph_of_subclassed(model: Any, batch_size: int) -> Any:
    """The model as a Functional one that runs the same layer objects.

    The batch stays open where the call allows that, else it is the given one.

    Args:
        model: a subclassed model that was built.
        batch_size: for a call that computes with the size of the batch.

    Raises:
        InvalidModelError: the shapes of the inputs are not known, or the call cannot be run on symbolic tensors.
    """
    try:
        graph = _graph(model, None)
        return graph if _is_static(graph, batch_size) else _graph(model, batch_size)
    except UntraceableError as first:
        try:
            return _graph(model, batch_size)  # for a call that computes with the size of the batch
        except UntraceableError:
            raise InvalidModelError(
                f"the call of the subclassed model {model.name!r} ({type(model).__name__}) cannot be read as a graph of"
                f" layers: {first}; {_ADVICE}"
            ) from first


def _graph(model: Any, batch: int | None) -> Any:
    args, kwargs = _symbolic_inputs(model, batch)
    return traced(model, args, kwargs).graph


def _is_static(graph: Any, batch: int) -> bool:
    """Whether all shapes are static once the batch is: another size may depend on an open batch."""
    shapes: list[Any] = []

    def recorded(layer: Any, args: Any, kwargs: Any) -> Any:
        outputs = layer.compute_output_spec(*args, **accepted_call_kwargs(layer, kwargs))
        shapes.extend(size for y in keras.tree.flatten(outputs) for size in y.shape)
        return outputs

    fixed = [keras.KerasTensor((batch, *x.shape[1:]), dtype=x.dtype) for x in graph.inputs]
    try:
        run_symbolically(graph, fixed, recorded)
    except TypeError:  # Keras before 3.15 multiplies the sizes of a reshape, an unknown one among them
        return False
    return None not in shapes


def expand_call(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], masked: bool) -> Traced | None:
    """The graph inside one call of a user's model or layer; None where there is none or it cannot be traced.

    A layer that receives a Keras mask stays whole, since the graph has no masks; so does one that computes from its
    weights alone, since the result would not follow when they absorb scales.

    Args:
        layer: any layer or operation.
        args, kwargs: the arguments of the call, symbolic tensors among them.
        masked: whether there are masks in the model, which Keras passes to calls that take one.
    """
    if not isinstance(layer, keras.layers.Layer) or not (_is_users(layer) or isinstance(layer, keras.layers.Lambda)):
        return None
    without_masks = isinstance(layer, (keras.Model, keras.layers.Lambda))
    if not without_masks and _receives_mask(layer, args, kwargs, masked):
        return None
    try:
        inside = traced(layer, args, kwargs)
    except UntraceableError:
        return None
    return None if inside.reads_weights else inside


def _is_users(layer: Any) -> bool:
    """Whether the layer's call is not Keras's own code, and its `__call__` is."""
    kind = type(layer)
    return not in_keras(kind.call) and in_keras(kind.__call__)


def _receives_mask(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], masked: bool) -> bool:
    signature = inspect.signature(layer.call)
    passed = signature.bind_partial(*args, **kwargs).arguments
    return any("mask" in name and (masked or passed.get(name) is not None) for name in signature.parameters)


def makes_mask(layer: Any) -> bool:
    """Whether a layer produces a Keras mask, which is passed on beside the tensors."""
    overrides = isinstance(layer, keras.layers.Layer) and not in_keras(type(layer).compute_mask)
    return overrides or isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False)


def _symbolic_inputs(model: Any, batch: int | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of the model's call, with inputs that are named after them (or after the keys of a dict)."""
    if getattr(model, "inputs", None):  # a Functional or Sequential model with another call around it
        symbols = [keras.Input(batch_shape=(batch, *x.shape[1:]), dtype=x.dtype, name=x.name) for x in model.inputs]
        return (symbols[0] if len(symbols) == 1 else symbols,), {}
    shapes = _recorded_shapes(model)
    return (), {name: _symbols(name, shape, batch) for name, shape in shapes.items()}


def _recorded_shapes(model: Any) -> dict[str, Any]:
    """Shapes of the call's arguments, nested as they are, that Keras recorded when it built the model."""
    recorded = recorded_input_shapes(model)
    names = list(inspect.signature(model.call).parameters)
    if not recorded:
        raise InvalidModelError(
            f"model {model.name!r} is a subclassed model ({type(model).__name__}) for which Keras has recorded no"
            " shapes of inputs: call it once on data; if it was, its call cannot be run on symbolic tensors: build the"
            " graph yourself, inputs = keras.Input(shape); keras.Model(inputs, outputs)"
        )
    if len(recorded) == 1:
        recorded = {f"{names[0]}_shape": next(iter(recorded.values()))}
    shapes = {key.removesuffix("_shape"): value for key, value in recorded.items()}
    if not set(shapes) <= set(names) or len(_required(model)) > len(shapes):
        raise InvalidModelError(
            f"the call of the subclassed model {model.name!r} ({type(model).__name__}) takes {', '.join(names)}, but"
            f" Keras knows only the shapes {shapes}: pass all inputs as one list or dict, or build the graph yourself:"
            " keras.Model([first, second], model.call(first, second)) with keras.Input tensors"
        )
    return shapes


def _required(model: Any) -> list[str]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(model.call).parameters.values()
    return [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in kinds]


def _symbols(name: str, shape: Any, batch: int | None) -> Any:
    if isinstance(shape, Mapping):
        return {key: _symbols(key, value, batch) for key, value in shape.items()}
    if isinstance(shape, (list, tuple)) and all(size is None or isinstance(size, int) for size in shape):
        return keras.Input(batch_shape=(batch, *shape[1:]), name=name)
    return [_symbols(f"{name}_{index}", value, batch) for index, value in enumerate(shape)]

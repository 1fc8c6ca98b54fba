"""Models of tf_keras (Keras 2) built again in Keras 3, layer by layer; tf_keras itself is not needed here."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from spiq_tf.errors import InvalidModelError, first_words
from spiq_tf.frontend.cloning import fill
from spiq_tf.frontend.keras2_layers import in_keras3

_CLOSE = 1e-3
"""Largest difference between the two models' outputs, relative to the largest output."""

_NEARBY, _TIMES = 1e-6, 10.0
"""What inputs move by, and how much more than the outputs then move the two may differ."""


def is_keras2(model: Any) -> bool:
    """Whether it is a model of tf_keras."""
    kinds = type(model).__mro__
    return any(kind.__module__.partition(".")[0] == "tf_keras" and kind.__name__ == "Model" for kind in kinds)


def as_keras3(model: Any) -> Any:
    """A Keras 3 model in float32 of the same layers and weights; checked against the given one on random inputs.

    Raises:
        InvalidModelError: the model is unbuilt or subclassed, or a layer computes something else in Keras 3.
    """
    if not is_graph(model):
        raise InvalidModelError(
            f"the tf_keras model {model.name!r} ({type(model).__name__}) has no graph of layers: expected a Functional"
            " or built Sequential model; build the graph yourself with tf_keras.Input and tf_keras.Model(inputs,"
            " model.call(inputs)), or port the class to Keras 3"
        )
    twin = _Rebuilt().model(model)
    _check_same(model, twin)
    return twin


def is_graph(model: Any) -> bool:
    """Whether a tf_keras model does nothing but run a graph of layers."""
    own_call = type(model).call.__module__.partition(".")[0] != "tf_keras"
    return bool(getattr(model, "_is_graph_network", False)) and not own_call


class _Rebuilt:
    """Runs tf_keras graphs on Keras 3 tensors; a layer that is called twice is built once."""

    def __init__(self) -> None:
        self._layers: dict[int, Any] = {}

    def model(self, model: Any) -> Any:
        inputs = [_input(x, name) for x, name in zip(model.inputs, model.input_names, strict=True)]
        known = {id(x): y for x, y in zip(model.inputs, inputs, strict=True)}
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if not node.is_input:
                    known |= self._outputs(node, known)
        outputs = tf.nest.map_structure(lambda x: known[id(x)], model._nested_outputs)
        return keras.Model(inputs[0] if len(inputs) == 1 else inputs, outputs, name=model.name.replace("/", "_"))

    def _outputs(self, node: Any, known: dict[int, Any]) -> dict[int, Any]:
        args, kwargs = tf.nest.map_structure(lambda a: known.get(id(a), a), (node.call_args, dict(node.call_kwargs)))
        kwargs = {k: v for k, v in kwargs.items() if k != "training" and not (k == "mask" and v is None)}
        try:
            produced = self._layer(node.layer)(*args, **kwargs)
            self._fill(node.layer)
        except InvalidModelError:
            raise
        except Exception as error:  # whatever Keras or the layer's own code raises
            raise InvalidModelError(
                f"layer {node.layer.name!r} ({type(node.layer).__name__}) of the tf_keras model cannot be made again in"
                f" Keras 3: {error}; replace it by a layer that both have, or port the model to Keras 3"
            ) from error
        return {id(x): y for x, y in zip(tf.nest.flatten(node.outputs), keras.tree.flatten(produced), strict=True)}

    def _layer(self, layer: Any) -> Any:
        if id(layer) not in self._layers:
            inner = is_keras2(layer) and is_graph(layer)
            self._layers[id(layer)] = self.model(layer) if inner else in_keras3(layer)
        return self._layers[id(layer)]

    def _fill(self, layer: Any) -> None:
        new, values = self._layers[id(layer)], layer.get_weights()
        if isinstance(new, keras.layers.Normalization):
            values = values[: len(new.weights)]  # without the count of what it adapted to
        if isinstance(new, keras.layers.Layer) and not isinstance(new, keras.Model):
            fill(new, [np.asarray(w, np.float32) for w in values])


def _input(x: Any, name: str) -> Any:
    dtype = "float32" if x.dtype.is_floating else x.dtype.name
    return keras.Input(batch_shape=tuple(x.shape), dtype=dtype, name=name)


def _check_same(model: Any, twin: Any) -> None:
    """Raises where the two differ on random inputs: Keras 2 and 3 give some arguments another meaning.

    By more than rounding can: of a network whose BatchNorms never saw such inputs the outputs may be huge, and move
    much where the inputs move by their last bits.
    """
    if any(None in x.shape[1:] for x in twin.inputs):
        return  # of dynamic size, which is refused with advice where sizes are read
    random = np.random.default_rng(0)
    fields = [random.uniform(-1, 1, [size or 1 for size in x.shape]).astype(np.float32) for x in twin.inputs]
    nearby = [np.float32(1 + _NEARBY) * field for field in fields]
    expected, moved = _run(model, fields), _run(model, nearby)
    try:
        made = _run(twin, fields)
    except Exception as error:  # whatever the layers' own code raises
        raise InvalidModelError(
            f"the tf_keras model {model.name!r} cannot be run in Keras 3: {first_words(error)}; where it computes with"
            " the number of examples, tf.shape(x)[0], let it use -1; or port the model to Keras 3"
        ) from error
    for index, (reference, near, found) in enumerate(zip(expected, moved, made, strict=True)):
        close = _CLOSE if reference.dtype == np.float32 else 30 * _CLOSE
        reference = reference.astype(np.float32)
        if found.shape != reference.shape:
            raise InvalidModelError(
                f"output {index} of the tf_keras model {model.name!r} has the shape {found.shape} in Keras 3: expected"
                f" {reference.shape}; where it computes with the number of examples, tf.shape(x)[0], let it use -1"
            )
        limit = max(close * np.abs(reference).max(), _TIMES * np.abs(near.astype(np.float32) - reference).max())
        if not np.allclose(found, reference, rtol=0, atol=limit, equal_nan=True):
            raise InvalidModelError(
                f"output {index} of the tf_keras model {model.name!r} differs in Keras 3 by"
                f" {np.abs(found - reference).max():.3g}, on random inputs: a layer computes something else there; port"
                " the model to Keras 3 and compare it layer by layer"
            )


def _run(model: Any, inputs: list[Any]) -> list[Any]:
    """A model's outputs; those in a type that numpy does not have as float16."""
    outputs = tf.nest.flatten(model(inputs if len(inputs) > 1 else inputs[0], training=False))
    return [np.asarray(y if y.dtype != tf.bfloat16 else tf.cast(y, tf.float16)) for y in outputs]

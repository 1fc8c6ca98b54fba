"""Models of tf_keras (Keras 2) rebuilt in Keras 3, layer by layer; tf_keras itself is not imported here."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from spiq_tf.errors import InvalidModelError, short_reason
from spiq_tf.frontend import keras2_internals
from spiq_tf.frontend.cloning import set_weights
from spiq_tf.frontend.keras2_layers import in_keras3

_TOLERANCE = 1e-3
"""Largest difference between the two models' outputs, relative to the largest output."""

_PERTURBATION, _PERTURBATION_FACTOR = 1e-6, 10.0
"""A relative change of the inputs, and how many times the resulting change of the outputs the two may differ by."""


def is_keras2(model: Any) -> bool:
    """Whether it is a model of tf_keras."""
    return keras2_internals.is_keras2(model, "Model")


def as_keras3(model: Any) -> Any:
    """A Keras 3 model in float32 of the same layers and weights; checked against the given one on random inputs.

    Raises:
        InvalidModelError: the model is unbuilt or subclassed, or a layer computes something else in Keras 3.
    """
    if not keras2_internals.is_graph(model):
        raise InvalidModelError(
            f"the tf_keras model {model.name!r} ({type(model).__name__}) has no graph of layers: expected a Functional"
            " or built Sequential model; build the graph yourself with tf_keras.Input and tf_keras.Model(inputs,"
            " model.call(inputs)), or port the class to Keras 3"
        )
    rebuilt = _Rebuilt().model(model)
    _check_same(model, rebuilt)
    return rebuilt


class _Rebuilt:
    """Runs tf_keras graphs on Keras 3 tensors; a layer that is called twice is built once."""

    def __init__(self) -> None:
        self._layers: dict[int, Any] = {}

    def model(self, model: Any) -> Any:
        inputs = [_input(x, name) for x, name in zip(model.inputs, model.input_names, strict=True)]
        values = {id(x): y for x, y in zip(model.inputs, inputs, strict=True)}
        for node in keras2_internals.layer_calls(model):
            values |= self._outputs(node, values)
        outputs = tf.nest.map_structure(lambda x: values[id(x)], keras2_internals.nested_outputs(model))
        return keras.Model(inputs[0] if len(inputs) == 1 else inputs, outputs, name=model.name.replace("/", "_"))

    def _outputs(self, node: Any, values: dict[int, Any]) -> dict[int, Any]:
        args, kwargs = tf.nest.map_structure(lambda a: values.get(id(a), a), (node.call_args, dict(node.call_kwargs)))
        kwargs = {k: v for k, v in kwargs.items() if k != "training" and not (k == "mask" and v is None)}
        try:
            produced = self._layer(node.layer)(*args, **kwargs)
            self._set_weights(node.layer)
        except InvalidModelError:
            raise
        except Exception as error:  # whatever Keras or the layer's own code raises
            raise InvalidModelError(
                f"layer {node.layer.name!r} ({type(node.layer).__name__}) of the tf_keras model cannot be rebuilt in"
                f" Keras 3: {error}; replace it by a layer that both have, or port the model to Keras 3"
            ) from error
        return {id(x): y for x, y in zip(tf.nest.flatten(node.outputs), keras.tree.flatten(produced), strict=True)}

    def _layer(self, layer: Any) -> Any:
        if id(layer) not in self._layers:
            inner = is_keras2(layer) and keras2_internals.is_graph(layer)
            self._layers[id(layer)] = self.model(layer) if inner else in_keras3(layer)
        return self._layers[id(layer)]

    def _set_weights(self, layer: Any) -> None:
        new, values = self._layers[id(layer)], layer.get_weights()
        if isinstance(new, keras.layers.Normalization):
            values = values[: len(new.weights)]  # without the count of what it adapted to
        if isinstance(new, keras.layers.Layer) and not isinstance(new, keras.Model):
            set_weights(new, [np.asarray(w, np.float32) for w in values])


def _input(x: Any, name: str) -> Any:
    dtype = "float32" if x.dtype.is_floating else x.dtype.name
    return keras.Input(batch_shape=tuple(x.shape), dtype=dtype, name=name)


def _check_same(model: Any, rebuilt: Any) -> None:
    """Refuses a model that differs on random inputs: Keras 2 and 3 give some arguments another meaning.

    By more than rounding explains: a network whose BatchNorms never saw such inputs may have huge outputs, which change
    much with the last bits of the inputs.

    Raises:
        InvalidModelError: the outputs differ, in shape or value, or Keras 3 cannot compute them.
    """
    if any(None in x.shape[1:] for x in rebuilt.inputs):
        return  # of dynamic size, which is refused with advice where sizes are read
    random = np.random.default_rng(0)
    inputs = [random.uniform(-1, 1, [size or 1 for size in x.shape]).astype(np.float32) for x in rebuilt.inputs]
    nearby = [np.float32(1 + _PERTURBATION) * x for x in inputs]
    expected, changed = _run(model, inputs), _run(model, nearby)
    try:
        actual = _run(rebuilt, inputs)
    except Exception as error:  # whatever the layers' own code raises
        raise InvalidModelError(
            f"the tf_keras model {model.name!r} cannot be run in Keras 3: {short_reason(error)}; where it computes with"
            " the number of examples, tf.shape(x)[0], let it use -1; or port the model to Keras 3"
        ) from error
    for index, (reference, perturbed, output) in enumerate(zip(expected, changed, actual, strict=True)):
        close = _TOLERANCE if reference.dtype == np.float32 else 30 * _TOLERANCE
        reference = reference.astype(np.float32)
        if output.shape != reference.shape:
            raise InvalidModelError(
                f"output {index} of the tf_keras model {model.name!r} has the shape {output.shape} in Keras 3: expected"
                f" {reference.shape}; where it computes with the number of examples, tf.shape(x)[0], let it use -1"
            )
        change = np.abs(perturbed.astype(np.float32) - reference).max()
        limit = max(close * np.abs(reference).max(), _PERTURBATION_FACTOR * change)
        if not np.allclose(output, reference, rtol=0, atol=limit, equal_nan=True):
            raise InvalidModelError(
                f"output {index} of the tf_keras model {model.name!r} differs in Keras 3 by"
                f" {np.abs(output - reference).max():.3g}, on random inputs: a layer computes something else there;"
                " port the model to Keras 3 and compare it layer by layer"
            )


def _run(model: Any, inputs: list[Any]) -> list[Any]:
    """A model's outputs; those in a type that numpy does not have as float16."""
    outputs = tf.nest.flatten(model(inputs if len(inputs) > 1 else inputs[0], training=False))
    return [np.asarray(y if y.dtype != tf.bfloat16 else tf.cast(y, tf.float16)) for y in outputs]

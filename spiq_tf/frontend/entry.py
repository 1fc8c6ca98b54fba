"""The entry point: from the user's model to the float32 graph of layers that is converted."""

from typing import Any

import keras

from spiq_tf.errors import InvalidModelError, ModelTypeError
from spiq_tf.frontend import keras2
from spiq_tf.frontend.cast_to_float32 import cast_model_to_float32, check_not_quantized, is_reduced
from spiq_tf.frontend.keras_internals import is_graph
from spiq_tf.frontend.subclassed import graph_of_subclassed


def to_float32_functional(model: Any, batch_size: int) -> Any:
    """A Functional or Sequential Keras 3 model in float32 that computes what the given one computes at inference.

    Args:
        model: a Keras 3 model in any precision, Functional, Sequential or subclassed, or a tf_keras model with a graph
            of layers; never changed.
        batch_size: the batch of a subclassed model whose call computes with it.

    Returns:
        The given model where it has that form; a graph of its own layers where it is subclassed; a copy where it
        computes in another precision or is a model of tf_keras.

    Raises:
        ModelTypeError: it is no Keras model.
        InvalidModelError: its shapes are not known, or it cannot be brought into that form.
    """
    if keras2.is_keras2(model):
        model = keras2.as_keras3(model)
    if not isinstance(model, keras.Model):
        kind = f"{type(model).__module__}.{type(model).__name__}"
        raise ModelTypeError(f"expected a keras.Model, found {kind}; load a file with spiq_tf.load_model")
    if type(model).call is keras.Sequential.call and not model.built:
        raise InvalidModelError(
            f"model {model.name!r} is not built: expected known input shapes; call model.build(input_shape) or"
            " start it with keras.Input(shape)"
        )
    check_not_quantized(model)
    graph = model if is_graph(model) else graph_of_subclassed(model, batch_size)
    return cast_model_to_float32(graph) if is_reduced(graph) else graph

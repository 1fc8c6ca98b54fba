"""Single layers run on arrays: what expansion rules learn of a layer by trying it."""

from collections.abc import Callable, Sequence
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from spiq_tf.distributions.values import Array
from spiq_tf.errors import InvalidModelError
from spiq_tf.execution.executor import call_outputs
from spiq_tf.graph.layer_graph import Call, Tensor


def output_function(call: Call, inputs: Sequence[Tensor], index: int) -> Callable[[Sequence[Array]], Array]:
    """One output of a layer call as a function of arrays in place of its input tensors, at inference.

    Args:
        call: of any layer.
        inputs: its input tensors.
        index: of the output, among the flattened ones.

    Returns:
        Takes float64 arrays of any batch that is a multiple of the tensors'; returns float64.
    """
    return partial(_output, call, inputs, index)


def _output(call: Call, inputs: Sequence[Tensor], index: int, values: Sequence[Array]) -> Array:
    batch = inputs[0].shape[0]
    chunks = [[v[k : k + batch] for v in values] for k in range(0, len(values[0]), batch)]
    try:
        with keras.StatelessScope():  # a layer that counts its calls, or keeps other state, must not notice
            results = [call_outputs(call, _by_name(inputs, chunk))[index] for chunk in chunks]
            return np.concatenate([np.asarray(y, np.float64) for y in results])
    except Exception as error:  # whatever a custom layer's own code raises
        raise InvalidModelError(
            f"layer {call.name!r} cannot be run on samples of its input, shapes {[t.shape for t in inputs]}: {error}"
        ) from error


def _by_name(inputs: Sequence[Tensor], values: Sequence[Array]) -> dict[str, tf.Tensor]:
    return {t.name: tf.constant(v, tf.float32) for t, v in zip(inputs, values, strict=True)}

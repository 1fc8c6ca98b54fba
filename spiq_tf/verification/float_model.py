"""The float model, run so that the values of all its tensors are known."""

from typing import Any

import tensorflow as tf

from spiq_tf.execution.differentiable import run_differentiable
from spiq_tf.execution.executor import execute
from spiq_tf.graph.layer_graph import LayerGraph
from spiq_tf.verification.inputs import Batch


def run_float(graph: LayerGraph, batch: Batch, tape: tf.GradientTape | None = None) -> dict[str, Any]:
    """Runs the float model on one batch.

    Args:
        graph: the float model.
        batch: values of its inputs, in the model's order.
        tape: records the run, where the derivative by a tensor is wanted.

    Returns:
        The values of the inputs and of every layer call's outputs, in model units, by tensor name.
    """
    values: dict[str, Any] = {t.name: tf.constant(x) for t, x in zip(graph.inputs, batch, strict=True)}
    if tape is not None:
        for value in values.values():
            tape.watch(value)
    return execute(graph.calls, values, run_differentiable)

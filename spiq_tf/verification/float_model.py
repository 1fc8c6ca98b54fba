"""The float model, run with all its tensors kept."""

from typing import Any

import keras
import tensorflow as tf

from spiq_tf.graph.layer_graph import LayerGraph
from spiq_tf.statistics.differentiable import replay_differentiable
from spiq_tf.verification.inputs import Batch


def run_float(graph: LayerGraph, batch: Batch, tape: tf.GradientTape | None = None) -> dict[str, Any]:
    """The inputs and what every layer call makes of them, by tensor name; the tape, if there is one, watches."""
    values: dict[str, Any] = {t.name: tf.constant(x) for t, x in zip(graph.inputs, batch, strict=True)}
    if tape is not None:
        for value in values.values():
            tape.watch(value)
    with keras.StatelessScope():  # a layer with state must not notice
        for call in graph.calls:
            values |= {t.name: y for t, y in zip(call.outputs, replay_differentiable(call, values), strict=True)}
    return values

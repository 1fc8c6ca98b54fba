"""Absorbs the scales into the weights: the same function in units of one scale a channel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from spiq_tf.distributions.values import Array, ChannelRanges, Moments
from spiq_tf.errors import NotCloneableError
from spiq_tf.frontend.cloning import clone_of, set_weights, variable_operands
from spiq_tf.graph.layer_graph import LayerGraph


@dataclass(frozen=True)
class RescaledModel:
    """A model in new units; nothing behind this stage knows that scales existed.

    Attributes:
        graph: the original structure.
        weights: values of all its variables, by key, in the variables' own data types.
        moments: of every tensor, in the new units.
        ranges: of every tensor, in the new units.
    """

    graph: LayerGraph
    weights: Mapping[int, Any]
    moments: Mapping[str, Moments]
    ranges: Mapping[str, ChannelRanges]


def absorb_scales(
    graph: LayerGraph, scales: Mapping[str, Array], moments: Mapping[str, Moments], ranges: Mapping[str, ChannelRanges]
) -> RescaledModel:
    """New weights for which every tensor x becomes x / scale, and its statistics with it.

    A channel that ReLU(max) cut at max is now cut at scale * max in the original's units, scale <= 1.
    """
    weights = {key: graph.weights[key].astype(v.numpy().dtype) for key, v in graph.variables.items()}
    for node in graph.nodes:
        inputs = [scales[t.name] for t in node.inputs]
        if all(np.all(s == 1.0) for s in [*inputs, scales[node.output.name]]):
            continue
        for key, value in node.primitive.absorb(graph.weights, inputs, scales[node.output.name]).items():
            weights[key] = value.astype(weights[key].dtype)
    return RescaledModel(
        graph,
        weights,
        {name: Moments(m.mean / scales[name], m.variance / scales[name] ** 2) for name, m in moments.items()},
        {name: ChannelRanges(r.low / scales[name], r.high / scales[name], r.source) for name, r in ranges.items()},
    )


def clone_with(model: keras.Model, rewritten: RescaledModel) -> keras.Model:
    """A new Keras model of the same architecture that holds the rewritten weights.

    Raises:
        NotCloneableError: a layer of the model cannot be made again from its configuration.
    """
    for variable in variable_operands(model):
        raise NotCloneableError(
            f"model {model.name!r} cannot be cloned, so there is no rewritten Keras model (spiq_tf.convert works all"
            f" the same): its call reads the weight {variable.path!r} itself; move that into a layer of its own"
        )
    try:
        clone = clone_of(model)
    except Exception as error:  # whatever a custom layer's own code raises
        raise NotCloneableError(
            f"model {model.name!r} cannot be cloned, so there is no rewritten Keras model (spiq_tf.convert works"
            f" all the same); give its custom layers a get_config: {error}"
        ) from error
    set_weights(clone, [rewritten.weights[id(v)] for v in model.weights])
    return clone

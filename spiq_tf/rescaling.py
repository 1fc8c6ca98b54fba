"""Absorbs channel scales into the weights: the same function in rescaled units, each channel over its scale."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from spiq_tf.distributions.values import Array, ChannelRanges, Moments
from spiq_tf.errors import NotCloneableError
from spiq_tf.frontend.cloning import clone_of, fill, read_by_operations
from spiq_tf.graph.layer_graph import LayerGraph


@dataclass(frozen=True, kw_only=True)
class RescaledModel:
    """A model in rescaled units (the model's value over the channel's scale); no later stage knows of scales.

    Attributes:
        graph: the original structure, with the original weights.
        weights: rescaled values of all its variables, by key, in the variables' own data types.
        moments: of every tensor, by name, in rescaled units.
        ranges: of every tensor, by name, in rescaled units.
    """

    graph: LayerGraph
    weights: Mapping[int, Any]
    moments: Mapping[str, Moments]
    ranges: Mapping[str, ChannelRanges]


def absorb_scales(
    graph: LayerGraph, scales: Mapping[str, Array], moments: Mapping[str, Moments], ranges: Mapping[str, ChannelRanges]
) -> RescaledModel:
    """New weights for which every tensor x becomes x / scale, and its statistics with it (SPIQ, section 3.3).

    A channel that ReLU(max) saturated at max now saturates at scale * max in the model's units, scale <= 1.

    Args:
        graph: the model.
        scales: of each channel of each tensor, by name, shape (channels,).
        moments: by tensor name, in the model's units.
        ranges: by tensor name, in the model's units.
    """
    weights = {key: graph.weights[key].astype(v.numpy().dtype) for key, v in graph.variables.items()}
    for node in graph.nodes:
        inputs = [scales[t.name] for t in node.inputs]
        if all(np.all(s == 1.0) for s in [*inputs, scales[node.output.name]]):
            continue
        for key, value in node.primitive.absorb(graph.weights, inputs, scales[node.output.name]).items():
            weights[key] = value.astype(weights[key].dtype)
    return RescaledModel(
        graph=graph,
        weights=weights,
        moments={n: Moments(m.mean / scales[n], m.variance / scales[n] ** 2) for n, m in moments.items()},
        ranges={n: ChannelRanges(r.low / scales[n], r.high / scales[n], r.source) for n, r in ranges.items()},
    )


def clone_with(model: keras.Model, rescaled: RescaledModel) -> keras.Model:
    """A new Keras model of the same architecture with the rescaled weights.

    Raises:
        NotCloneableError: a layer of the model cannot be made again from its configuration.
    """
    for variable in read_by_operations(model):
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
    fill(clone, [rescaled.weights[id(v)] for v in model.weights])
    return clone

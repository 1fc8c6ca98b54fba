"""SPIQ as it was published (Yvinec et al., WACV 2023, section 3): what the default method is measured against."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from spiq_tf.distributions.tails import ChannelDistribution
from spiq_tf.distributions.values import Array
from spiq_tf.graph.layer_graph import LayerGraph, Tensor
from spiq_tf.search.constraints import ScaleClasses
from spiq_tf.search.minimum_noise import ScaleSolution

_DEVIATIONS = 6.0
_SMALLEST = 2.0**-10


def spiq(graph: LayerGraph, classes: ScaleClasses, distributions: Mapping[str, ChannelDistribution]) -> ScaleSolution:
    """Every channel uses all levels for its own range, mean - 6 deviations to mean + 6 deviations.

    s_c = range_c / range, where range_c is the largest magnitude that any tensor of the class reaches and range that
    of the coupled tensors; at most 1 where an activation saturates.

    Args:
        graph: the model.
        classes: which channels share a scale, and which scales are pinned.
        distributions: of every tensor, by name, in the model's units.
    """
    ranges = {name: distribution.range(_DEVIATIONS) for name, distribution in distributions.items()}
    amplitude = np.zeros(classes.count)
    for tensor in graph.materialized:
        np.maximum.at(amplitude, classes.of[tensor.name], ranges[tensor.name].amplitude)
    reference = _reference_amplitude(graph.materialized, classes, amplitude)
    is_used = reference > 0
    ratio = np.divide(amplitude, reference, out=np.ones_like(amplitude), where=is_used)
    scale = np.clip(ratio, _SMALLEST, np.where(classes.saturates, 1.0, 1 / _SMALLEST))
    scale = np.where(classes.pinned | ~is_used, 1.0, scale)
    return ScaleSolution({name: scale[label] for name, label in classes.of.items()}, ranges, {})


def _reference_amplitude(tensors: Sequence[Tensor], classes: ScaleClasses, amplitude: Array) -> Array:
    """For each class the amplitude to which that of its coupled tensors is scaled.

    That of their pinned channels, if they have any, or else the largest.

    Args:
        tensors: the materialized ones.
        classes: which channels share a scale.
        amplitude: the largest magnitude of each class, in the model's units, shape (classes,).

    Returns:
        Of shape (classes,).
    """
    labels = [classes.of[t.name] for t in tensors if t.channels > 0]
    rows = np.concatenate([np.full(len(label), label[0]) for label in labels])
    columns = np.concatenate(labels)
    edges = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(classes.count, classes.count))
    count, group = connected_components(edges, directed=False)
    free, pinned = np.zeros(count), np.zeros(count)
    np.maximum.at(free, group, np.where(classes.pinned, 0.0, amplitude))
    np.maximum.at(pinned, group, np.where(classes.pinned, amplitude, 0.0))
    return np.where(pinned > 0, pinned, free)[group]

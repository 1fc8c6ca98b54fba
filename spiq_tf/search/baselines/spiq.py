"""SPIQ as it was published (Yvinec et al., WACV 2023, section 3): what the default method is measured against."""

from collections.abc import Mapping

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
    """Every channel gets all steps of its own range, mean - 6 deviations to mean + 6 deviations.

    s_c = range_c / range, where range_c is the largest magnitude that any tensor of the class reaches and range that
    of its family; at most 1 where an activation saturates.
    """
    ranges = {name: distribution.range(_DEVIATIONS) for name, distribution in distributions.items()}
    held = [t for t in graph.tensors if t.name not in graph.fused]
    amplitude = np.zeros(classes.count)
    for tensor in held:
        np.maximum.at(amplitude, classes.of[tensor.name], ranges[tensor.name].amplitude)
    reference = _family_amplitude(held, classes, amplitude)
    used = reference > 0
    ratio = np.divide(amplitude, reference, out=np.ones_like(amplitude), where=used)
    scale = np.clip(ratio, _SMALLEST, np.where(classes.saturates, 1.0, 1 / _SMALLEST))
    scale = np.where(classes.unscaled | ~used, 1.0, scale)
    return ScaleSolution({name: scale[label] for name, label in classes.of.items()}, ranges, {})


def _family_amplitude(held: list[Tensor], classes: ScaleClasses, amplitude: Array) -> Array:
    """For each class the amplitude that its family is brought to: that of its unscaled channels, if any."""
    links = [classes.of[t.name] for t in held if t.channels > 0]
    rows = np.concatenate([np.full(len(label), label[0]) for label in links])
    columns = np.concatenate(links)
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(classes.count, classes.count))
    count, family = connected_components(graph, directed=False)
    free, fixed = np.zeros(count), np.zeros(count)
    np.maximum.at(free, family, np.where(classes.unscaled, 0.0, amplitude))
    np.maximum.at(fixed, family, np.where(classes.unscaled, amplitude, 0.0))
    return np.where(fixed > 0, fixed, free)[family]

"""Inputs of functions that saturate, without the ends at which the function does not change."""

from collections.abc import Callable, Collection, Mapping

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.tails import ChannelDistribution
from spiq_tf.distributions.values import Array
from spiq_tf.graph.layer_graph import LayerGraph

_POINTS = 513
_FLATNESS = 1 / 2048  # of a function's extent: an eighth of a step of its output


def trimmed_to_unsaturated(
    graph: LayerGraph, distributions: Mapping[str, ChannelDistribution], untouched: Collection[str]
) -> dict[str, ChannelDistribution]:
    """Distributions of tensors that one function alone reads, within the domain in which the function changes: from -3
    on for a hard swish.

    Args:
        graph: the model.
        distributions: of every tensor.
        untouched: names of the tensors that keep theirs.

    Returns:
        By tensor name, of those that are trimmed.
    """
    trimmed = {}
    for node in graph.nodes:
        function, name = node.primitive.elementwise_function, node.inputs[0].name
        if function is None or name in untouched or len(graph.consumers[name]) != 1:
            continue
        domain = _changing_domain(function, distributions[name], distributions[node.output.name])
        if domain is not None:
            trimmed[name] = distributions[name].clipped_to(*domain)
    return trimmed


def _changing_domain(
    function: Callable[[Array], Array], x: ChannelDistribution, y: ChannelDistribution
) -> tuple[float, float] | None:
    """The part of the range of x, with 0, in which function(x) changes; None if it is constant or not finite."""
    domain, image = x.range(priors.FAR_SIGMAS.value), y.range(priors.FAR_SIGMAS.value)
    points = np.linspace(domain.low.min(), domain.high.max(), _POINTS)
    # an exponential is flat wherever it is far below its largest values
    values = np.clip(function(points), image.low.min(), image.high.max())
    if not np.all(np.isfinite(values)) or np.ptp(values) == 0:
        return None
    return min(points[_flat_points(values)], 0.0), max(points[::-1][_flat_points(values[::-1])], 0.0)


def _flat_points(values: Array) -> int:
    """The index of the last of the first values that are all about equal."""
    extent = np.maximum.accumulate(values) - np.minimum.accumulate(values)
    return int(np.searchsorted(extent, _FLATNESS * extent[-1], side="right")) - 1

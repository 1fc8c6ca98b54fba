"""The scale of every channel and the range of every tensor: those that minimize the predicted noise."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from spiq_tf import priors
from spiq_tf.distributions.tails import ChannelDistribution, TensorStatistics, bounded_distribution
from spiq_tf.distributions.values import Array, ChannelRanges, Moments, Source
from spiq_tf.graph.layer_graph import LayerGraph
from spiq_tf.search.constraints import ScaleClasses
from spiq_tf.search.noise_gain import Gains
from spiq_tf.search.noise_problem import NoiseProblem
from spiq_tf.search.noise_terms import PredictedNoise


@dataclass(frozen=True)
class ScaleSolution:
    """The channel scales that are absorbed, and the ranges of the tensors' channels; all by tensor name.

    Attributes:
        scales: of each channel, shape (channels,): the model's value over the rescaled one.
        ranges: of each channel, in the model's units: what the file can hold of it.
        noise: predicted, for the materialized tensors and the outputs of the linear primitives that read them.
    """

    scales: Mapping[str, Array]
    ranges: Mapping[str, ChannelRanges]
    noise: Mapping[str, PredictedNoise]


def minimize_noise(
    graph: LayerGraph,
    classes: ScaleClasses,
    moments: Mapping[str, Moments],
    distributions: Mapping[str, ChannelDistribution],
    gains: Mapping[str, Gains],
    per_channel_dense: bool,
    pools_as_convolutions: bool,
) -> ScaleSolution:
    """Scales and ranges for which the least noise reaches the model's outputs, one group of coupled tensors at a time.

    The groups are independent: a convolution's weights are rounded an output channel at a time, so the scale of its
    output cancels. On one thread: the solver's algebra is small, and the threads of a BLAS that wait for each other
    there take ten times as long where other processes want the cores.

    Args:
        graph: the model.
        classes: which channels share a scale, and which scales are pinned.
        moments: of every tensor, by name, in the model's units.
        distributions: of every tensor, by name, in the model's units.
        gains: noise gains of every tensor, by name.
        per_channel_dense: whether a fully connected layer has a weight scale for each output, not one for all.
        pools_as_convolutions: whether depthwise convolutions take the place of average pools, see `has_depthwise_form`.
    """
    problem = NoiseProblem(
        graph=graph,
        classes=classes,
        moments=moments,
        distributions=distributions,
        gains=gains,
        per_channel_dense=per_channel_dense,
        pools_as_convolutions=pools_as_convolutions,
    )
    scale = np.ones(classes.count)
    ranges = {t.name: distributions[t.name].range(priors.FAR_SIGMAS.value) for t in graph.tensors}
    noise: dict[str, PredictedNoise] = {}
    with threadpool_limits(1, "blas"):
        for tensors in problem.coupled_tensors():
            free_classes = problem.free_classes(tensors)
            range_indices = problem.range_indices(tensors)
            solution = problem.terms(tensors, free_classes, range_indices).solve()
            scale[free_classes] = solution.scales
            noise |= solution.noise
            for tensor in tensors:
                channel_scale, index = scale[classes.of[tensor.name]], range_indices[tensor.name]
                low, high = channel_scale * solution.low[index], channel_scale * solution.high[index]
                ranges[tensor.name] = ChannelRanges(low, high, distributions[tensor.name].source)
    scales = {name: scale[label] for name, label in classes.of.items()}
    return ScaleSolution(scales, _reachable(graph, moments, ranges), noise)


def _reachable(
    graph: LayerGraph, moments: Mapping[str, Moments], ranges: Mapping[str, ChannelRanges]
) -> dict[str, ChannelRanges]:
    """The ranges without what cannot be reached from those of the materialized tensors upstream.

    Args:
        graph: the model.
        moments: of every tensor, by name, in the model's units.
        ranges: of every tensor, by name, in the model's units.
    """
    bounded = {
        t.name: bounded_distribution(ranges[t.name].low, ranges[t.name].high, Source.FIXED) for t in graph.inputs
    }
    result = dict(ranges)
    for node in graph.nodes:
        name = node.output.name
        # of the distribution bounds alone are read, which neither a contrast exponent nor a role changes
        inputs = [TensorStatistics(moments[t.name], bounded[t.name], np.ones(t.channels)) for t in node.inputs]
        distribution = node.primitive.distribution(inputs, moments[name], graph.weights)
        if name in graph.fused:
            bounded[name] = distribution
            continue
        chosen = ranges[name]
        low = np.maximum(chosen.low, -distribution.below.bound)
        high = np.minimum(chosen.high, distribution.above.bound)
        if chosen.source != Source.GIVEN:
            result[name] = ChannelRanges(np.minimum(low, high), high, chosen.source)
        bounded[name] = bounded_distribution(result[name].low, result[name].high, Source.FIXED)
    return result

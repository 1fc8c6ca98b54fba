"""Distributions of feature maps that are limited by what samples show of them."""

from collections.abc import Collection, Mapping

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.tails import ChannelDistribution
from spiq_tf.distributions.values import Array, Moments
from spiq_tf.graph.decoder import decoder_feature_maps
from spiq_tf.graph.layer_graph import LayerGraph, Node
from spiq_tf.statistics.sampled import ObservedRange, SampledStatistics


def bounded_feature_maps(
    graph: LayerGraph, moments: Mapping[str, Moments], dense_outputs: Collection[str]
) -> Mapping[str, bool]:
    """Feature maps with bounds of their own, which the kurtosis of a sum does not tell, and whether a decoder's.

    They are pixels and class maps, and the feature maps of a decoder that they are computed from: synthetic inputs
    reach 2 to 7 deviations in six networks, images up to 1.3 times as far, while the predicted tail asks for 7 to 19.

    Args:
        graph: the model.
        moments: of every tensor.
        dense_outputs: names of the last linear feature maps before the outputs.
    """
    decoder = (
        set() if _has_objectness_output(moments, dense_outputs) else decoder_feature_maps(graph.nodes, graph.inputs)
    )
    primitives = {node.output.name: node.primitive for node in graph.nodes}
    decoder = {name for name in decoder if primitives[name].is_linear or primitives[name].states_input_moments}
    return {**dict.fromkeys(dense_outputs, False), **dict.fromkeys(decoder, True)}


def _has_objectness_output(moments: Mapping[str, Moments], dense_outputs: Collection[str]) -> bool:
    """Whether a dense output has channels that are seldom positive: scores of objects. Then what matters is rare, and
    so are the features that it is computed from, of which samples know little."""
    sigmas = priors.OBJECTNESS_SIGMAS.value
    return any(bool(np.any(moments[name].mean < -sigmas * moments[name].deviation)) for name in dense_outputs)


def limited_to_samples(
    node: Node,
    predicted: ChannelDistribution,
    moments: Moments,
    sampled: SampledStatistics,
    bounded: Mapping[str, bool],
) -> ChannelDistribution:
    """The distribution of a node's output, where samples show that the predicted one cannot be.

    Synthetic inputs have lighter tails than images, whose contrast varies: a sum's excess kurtosis is 1 to 2 less than
    on images in four networks. Where it is more than predicted, as in the decoder of a U-Net (34 on synthetic inputs,
    32 on images, 1.4 predicted), it counts.

    Args:
        node: whose output it is.
        predicted: its distribution in closed form.
        moments: of the output.
        sampled: what the samples show.
        bounded: see `bounded_feature_maps`.
    """
    name = node.output.name
    if name in sampled.ranges:
        observed, limited = sampled.ranges[name], name in bounded
        if node.primitive.is_steep:
            limited = _overshoots(predicted, observed)
        elif (lacking := observed.excess_kurtosis - float(np.median(predicted.excess_kurtosis))) > 0:
            predicted, limited = predicted.with_added_kurtosis(lacking), True
        if limited:
            gap = sampled.gap.decoder if bounded.get(name, False) else sampled.gap.features
            predicted = predicted.clipped_to(*_widened(observed, moments, gap))
    return predicted.clipped_to(0.0, np.inf) if name in sampled.non_negative else predicted


def _overshoots(predicted: ChannelDistribution, observed: ObservedRange) -> bool:
    """Whether a function that grows faster than its argument is predicted to reach many times too far: it maps a tail
    that a Gaussian has and the values have not."""
    farthest = np.maximum(np.abs(observed.low), np.abs(observed.high)).max()
    reach = predicted.range(priors.FAR_SIGMAS.value).amplitude.max()
    return bool(reach > priors.MAX_STEEP_OVERSHOOT.value * farthest)


def _widened(observed: ObservedRange, moments: Moments, gap: float) -> tuple[Array, Array]:
    """Ends of the observed range times the gap, about its middle, but no nearer than NEAR_SIGMAS, shape (channels,)."""
    middle, half = (observed.high + observed.low) / 2, gap * (observed.high - observed.low) / 2
    near = priors.NEAR_SIGMAS.value * moments.deviation
    return np.minimum(middle - half, moments.mean - near), np.maximum(middle + half, moments.mean + near)

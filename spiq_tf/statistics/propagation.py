"""Moments, contrast exponents and distributions of every tensor, by one pass through the graph each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.tails import ChannelDistribution, TensorStatistics, bounded_distribution
from spiq_tf.distributions.values import Array, ChannelRanges, InputStatistics, Moments, Source, Weights
from spiq_tf.errors import InvalidArgumentError, InvalidModelError
from spiq_tf.graph.classifier_head import network_roles
from spiq_tf.graph.layer_graph import LayerGraph, Node
from spiq_tf.primitives.base import Primitive
from spiq_tf.statistics.batch_norms import all_batch_norm_moments, refined_by_batch_norms
from spiq_tf.statistics.observed_range import bounded_feature_maps, limited_to_samples
from spiq_tf.statistics.sampled import NO_SAMPLES, SampledStatistics
from spiq_tf.statistics.saturation import trimmed_to_unsaturated


def all_moments(
    graph: LayerGraph, inputs: Mapping[str, InputStatistics], sampled: SampledStatistics = NO_SAMPLES
) -> dict[str, Moments]:
    """Mean and variance of every tensor's channels, in model units, without data (SPIQ, section 3.2).

    The running statistics of a BatchNorm count more for the tensor that it reads than what was propagated.

    Args:
        graph: the model.
        inputs: what is assumed of the model's inputs, by tensor name.
        sampled: on samples; it counts where no BatchNorm states anything.
    """
    moments_of = {name: refined_by_batch_norms(graph, name, x.moments) for name, x in inputs.items()}
    stated, preprocessed, roles = all_batch_norm_moments(graph), set(inputs), network_roles(graph)
    for node in graph.nodes:
        name = node.output.name
        if name in stated:
            moments = stated[name]
        else:
            primitive, read = node.primitive.in_role(roles[name]), [moments_of[t.name] for t in node.inputs]
            moments = _output_moments(primitive, name, read, graph.weights, sampled)
        if node.primitive.is_fixed_affine and node.inputs[0].name in preprocessed:
            moments = refined_by_batch_norms(graph, name, moments)
            preprocessed.add(name)
        _check_finite(node, moments.mean, moments.variance)
        moments_of[name] = moments
    return moments_of


def _output_moments(
    primitive: Primitive, name: str, inputs: Sequence[Moments], weights: Weights, sampled: SampledStatistics
) -> Moments:
    """Moments of a primitive's output, its name given, in closed form or by samples."""
    if name in sampled.moments:
        return primitive.sampled_moments(sampled.moments[name], inputs, weights)
    moments = primitive.moments(inputs, weights)
    if name not in sampled.example_moments:
        return moments
    over_examples = sampled.example_moments[name]
    moments = replace(moments, mean=over_examples.mean) if primitive.uses_sampled_mean else moments
    return _scaled_to_samples(moments, over_examples, sampled.gap.features)


def _scaled_to_samples(moments: Moments, over_examples: Moments, gap: float) -> Moments:
    """The moments with the variance over real examples, which is larger than that over samples by the gap's square; the
    variances of the channels keep their ratios in closed form.

    The samples' distance is that from the predicted mean: where it is wrong, they lie on one side of it.
    """
    predicted = moments.variance.mean()
    if predicted == 0:
        return moments
    measured = np.mean(over_examples.variance + (over_examples.mean - moments.mean) ** 2)
    factor = max(gap**2 * measured / predicted, priors.MIN_SAMPLED_DEVIATION.value**2)
    return replace(moments, variance=moments.variance * factor)


def _check_finite(node: Node, *values: Array) -> None:
    if not all(np.all(np.isfinite(v)) for v in values):
        raise InvalidModelError(
            f"layer {node.call.name!r}: expected values that float32 can hold, found an output that leaves them over"
            " the range of its input (an exponential that grows without bound, a function outside its domain?);"
            " bound its input"
        )


def all_contrast_exponents(graph: LayerGraph, moments: Mapping[str, Moments]) -> dict[str, Array]:
    """The contrast exponent of every tensor's channels: d ln sigma / d ln contrast, shape (channels,).

    By how many per cent the deviation grows with one per cent more contrast in the image. The contrast of images, and
    of locations in them, varies, and what all terms of a sum have in common makes its tail heavy, see
    `priors.COMMON_KURTOSIS`: the more so, the more a network exaggerates it.

    Args:
        graph: the model.
        moments: of every tensor.
    """
    result = {t.name: np.ones(t.channels) for t in graph.inputs}
    for node in graph.nodes:
        read, exponents = [moments[t.name] for t in node.inputs], [result[t.name] for t in node.inputs]
        exponent = node.primitive.contrast_exponent(read, exponents, graph.weights)
        result[node.output.name] = np.broadcast_to(exponent, node.output.channels)
    return result


def all_distributions(
    graph: LayerGraph,
    moments: Mapping[str, Moments],
    inputs: Mapping[str, InputStatistics],
    given: Mapping[str, ChannelRanges] | None = None,
    sampled: SampledStatistics = NO_SAMPLES,
) -> dict[str, ChannelDistribution]:
    """The distribution of every tensor's channels, in model units.

    Args:
        graph: the model.
        moments: of every tensor.
        inputs: what is known of the model's inputs.
        given: ranges that the user gives, by tensor name, in place of those that would be predicted.
        sampled: on samples: where it shows that the predicted distribution of a feature map cannot be, it counts.

    Raises:
        InvalidArgumentError: a range is given to a tensor whose range its operator fixes.
    """
    given = given or {}
    distributions = {
        name: bounded_distribution(x.range.low, x.range.high, x.range.source) for name, x in inputs.items()
    }
    exponents, doubt, roles = all_contrast_exponents(graph, moments), _propagation_kurtosis(graph), network_roles(graph)
    dense_outputs = [name for name, role in roles.items() if role.is_dense_output]
    bounded = bounded_feature_maps(graph, moments, dense_outputs)
    for node in graph.nodes:
        name, role = node.output.name, roles[node.output.name]
        read = [TensorStatistics(moments[t.name], distributions[t.name], exponents[t.name]) for t in node.inputs]
        distribution = node.primitive.in_role(role).distribution(read, moments[name], graph.weights)
        if node.primitive.is_linear and role.head is None:
            distribution = distribution.with_added_kurtosis(doubt[name])
        distribution = limited_to_samples(node, distribution, moments[name], sampled, bounded)
        reach = distribution.range(priors.FAR_SIGMAS.value)
        _check_finite(node, reach.low.astype(np.float32), reach.high.astype(np.float32))
        distributions[name] = _given_distribution(node, distribution, given[name]) if name in given else distribution
    untouched = {*inputs, *given, *(t.name for t in graph.outputs)}
    return {**distributions, **trimmed_to_unsaturated(graph, distributions, untouched)}


def _given_distribution(node: Node, predicted: ChannelDistribution, given: ChannelRanges) -> ChannelDistribution:
    if predicted.source == Source.FIXED:
        fixed = predicted.range(priors.FAR_SIGMAS.value)
        raise InvalidArgumentError(
            f"ranges: layer {node.call.name!r} has the range [{fixed.low.min():g}, {fixed.high.max():g}], which"
            " int8 operators fix; it cannot be given another"
        )
    return bounded_distribution(given.low, given.high, given.source)


def _propagation_kurtosis(graph: LayerGraph) -> Mapping[str, float]:
    """Excess kurtosis that stands for the doubt in propagated moments, by tensor name: for each linear primitive since
    the last BatchNorm that states moments, or the last opaque layer, whose whole output is sampled and most of which
    normalize."""
    stated = all_batch_norm_moments(graph)
    depths: dict[str, int] = {}
    for node in graph.nodes:
        name, primitive = node.output.name, node.primitive
        depth = max((depths.get(t.name, 0) for t in node.inputs), default=0)
        anchored = name in stated or primitive.states_input_moments or primitive.is_opaque
        depths[name] = 0 if anchored else depth + primitive.is_linear
    each, most = priors.UNANCHORED_KURTOSIS.value, priors.MAX_UNANCHORED_DEPTH.value
    return {name: each * min(depth, most) for name, depth in depths.items()}

"""Moments and spreads of every tensor, one pass through the graph each."""

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.tails import ChannelDistribution, TensorStatistics, bounded_distribution
from spiq_tf.distributions.values import Array, ChannelRanges, InputStatistics, Moments, Source
from spiq_tf.errors import InvalidArgumentError, InvalidModelError
from spiq_tf.graph.classifier_head import network_roles
from spiq_tf.graph.decoder import decoder_feature_maps
from spiq_tf.graph.layer_graph import LayerGraph, Node
from spiq_tf.primitives.activation import Elementwise
from spiq_tf.primitives.affine import BatchNorm, FixedAffine
from spiq_tf.primitives.base import Primitive
from spiq_tf.primitives.linear import Layout, Linear
from spiq_tf.primitives.opaque import Opaque
from spiq_tf.primitives.shape import Pad
from spiq_tf.statistics.sampled import NO_SAMPLES, ObservedRange, SampledStatistics

_TINY = 1e-12


def all_moments(
    graph: LayerGraph, inputs: Mapping[str, InputStatistics], shown: SampledStatistics = NO_SAMPLES
) -> dict[str, Moments]:
    """Mean and variance of every tensor's channels, without data (SPIQ, section 3.2).

    What a BatchNorm's running statistics say of the tensor it reads counts more than what was propagated.

    Args:
        graph: the model.
        inputs: what is assumed of the model's inputs, by tensor name.
        shown: on random fields; it counts where no BatchNorm states anything.
    """
    known = {name: _seen_by_first_norm(graph, name, x.moments) for name, x in inputs.items()}
    stated, preprocessed, roles = _all_stated(graph), set(inputs), network_roles(graph)
    for node in graph.nodes:
        name = node.output.name
        primitive = node.primitive.in_role(roles[name])
        read = [known[t.name] for t in node.inputs]
        if name in stated:
            own = stated[name]
        elif name in shown.moments:
            own = primitive.sampled_moments(shown.moments[name], read, graph.weights)
        else:
            own = primitive.moments(read, graph.weights)
            if name in shown.averages:
                own = replace(own, mean=shown.averages[name].mean) if node.primitive.uses_sampled_mean else own
                own = _varying(own, shown.averages[name])
        if isinstance(node.primitive, FixedAffine) and node.inputs[0].name in preprocessed:
            own = _seen_by_first_norm(graph, name, own)
            preprocessed.add(name)
        _check_finite(node, own.mean, own.variance)
        known[name] = own
    return known


def _varying(own: Moments, shown: Moments) -> Moments:
    """Moments of what differs from field to field, and more from image to image; the channels relative to each other as
    in closed form.

    Fields are compared with the mean that is predicted: where it is wrong, they lie on one side of it.
    """
    variance, distance = own.variance.mean(), np.mean(shown.variance + (shown.mean - own.mean) ** 2)
    if variance == 0:
        return own
    gap, least = priors.SAMPLE_GAP.value, priors.MIN_SAMPLED_DEVIATION.value
    return replace(own, variance=own.variance * max(gap**2 * distance / variance, least**2))


def _all_stated(graph: LayerGraph) -> dict[str, Moments]:
    """What BatchNorms state of the tensors that they read, and of those that a concatenation in front joins."""
    found: dict[str, Moments] = {}
    for node in reversed(graph.nodes):
        name = node.output.name
        own = stated_moments(graph, name) or found.get(name)
        if own is None:
            continue
        found[name] = own
        back = node.primitive.inverse_moments(own, [t.channels for t in node.inputs])
        for tensor, moments in zip(node.inputs, back or (), strict=False):
            found.setdefault(tensor.name, moments)
    return found


def _check_finite(node: Node, *values: Array) -> None:
    if not all(np.all(np.isfinite(v)) for v in values):
        raise InvalidModelError(
            f"layer {node.call.name!r}: expected values that float32 can hold, found an output that leaves them over"
            " the range of its input (an exponential that grows without bound, a function outside its domain?);"
            " bound its input"
        )


def _seen_by_first_norm(graph: LayerGraph, name: str, assumed: Moments) -> Moments:
    """The moments of an input, its mean sharpened by the BatchNorm behind the first convolution.

    The running mean of output o is sum over c of A_oc E[x_c] + b_o, A the kernel summed over its taps: a few
    unknowns and many equations. Solved by least squares, each equation trusted to 0.1 of the output's
    deviation, and what was assumed to its own deviation.
    """
    deviation = np.maximum(assumed.deviation, _TINY)
    rows, values = [np.zeros((0, len(deviation)))], [np.zeros(0)]
    for linear, stated in _normed_readers(graph, name):
        response, offset = linear.mean_map(graph.weights)
        trust = 1 / (priors.FIRST_NORM_TRUST.value * np.maximum(stated.deviation, _TINY))
        rows.append(response * deviation * trust[:, None])
        values.append((stated.mean - offset - response @ assumed.mean) * trust)
    # with steps d of one deviation: the least of |d|^2 + |rows d - values|^2
    outputs, strength, channels = np.linalg.svd(np.concatenate(rows), full_matrices=False)
    steps = (outputs.T @ np.concatenate(values)) * strength / (strength**2 + 1) @ channels
    return Moments(assumed.mean + steps * deviation, assumed.variance)


def _normed_readers(graph: LayerGraph, name: str) -> list[tuple[Linear, Moments]]:
    """The convolutions that read a tensor, directly or padded, with what a BatchNorm says of their outputs."""
    readers = graph.consumers[name]
    while len(readers) == 1 and isinstance(readers[0].primitive, Pad):
        readers = graph.consumers[readers[0].output.name]
    found = []
    for node in readers:
        stated = stated_moments(graph, node.output.name)
        if stated is not None and isinstance(node.primitive, Linear):
            found.append((node.primitive, stated))
    return found


def first_norms(graph: LayerGraph, name: str) -> list[tuple[Array, Array, Moments]]:
    """Kernels (height, width, channels, outputs), biases and running statistics of the convolutions of images
    that read a tensor."""
    found = []
    for linear, stated in _normed_readers(graph, name):
        kernel = graph.weights[linear.kernel]
        if kernel.ndim == 4 and linear.layout == Layout():
            bias = np.zeros(kernel.shape[-1]) if linear.bias is None else graph.weights[linear.bias]
            found.append((kernel, bias, stated))
    return found


def stated_moments(graph: LayerGraph, name: str) -> Moments | None:
    """What the running statistics of a BatchNorm that reads the tensor say of it, if one does."""
    stated = (node.primitive.input_moments(graph.weights) for node in graph.consumers[name])
    return next((m for m in stated if m is not None), None)


def all_contrast_exponents(graph: LayerGraph, moments: Mapping[str, Moments]) -> dict[str, Array]:
    """By how many per cent the deviation of every tensor's channels grows with one per cent more contrast in the image.

    The contrast of images, and of places in them, varies, and what all terms of a sum have in common makes its tail
    heavy, see `priors.COMMON_KURTOSIS`: the more so, the more a network exaggerates it.
    """
    known = {t.name: np.ones(t.channels) for t in graph.inputs}
    for node in graph.nodes:
        read, rates = [moments[t.name] for t in node.inputs], [known[t.name] for t in node.inputs]
        own = node.primitive.contrast_exponent(read, rates, graph.weights)
        known[node.output.name] = np.broadcast_to(own, node.output.channels)
    return known


def all_distributions(
    graph: LayerGraph,
    moments: Mapping[str, Moments],
    inputs: Mapping[str, InputStatistics],
    given: Mapping[str, ChannelRanges] | None = None,
    shown: SampledStatistics = NO_SAMPLES,
) -> dict[str, ChannelDistribution]:
    """How far every tensor's channels reach.

    Args:
        graph: the model.
        moments: of every tensor.
        inputs: what is known of the model's inputs.
        given: ranges that the user gives, by tensor name, in place of those that would be found.
        shown: on random fields: where it says that the spread of a map cannot be what was predicted, it counts.

    Raises:
        InvalidArgumentError: a range is given to a tensor whose range its operator fixes.
    """
    given = given or {}
    known = {name: bounded_distribution(x.range.low, x.range.high, x.range.source) for name, x in inputs.items()}
    contrast_exponent, unstated = all_contrast_exponents(graph, moments), _unstated(graph)
    roles = network_roles(graph)
    dense_outputs = {name for name, role in roles.items() if role.is_dense_output}
    decoder = set() if _detects(moments, dense_outputs) else decoder_feature_maps(graph.nodes, graph.inputs)
    for node in graph.nodes:
        read = [TensorStatistics(moments[t.name], known[t.name], contrast_exponent[t.name]) for t in node.inputs]
        role = roles[node.output.name]
        own = node.primitive.in_role(role).distribution(read, moments[node.output.name], graph.weights)
        if node.primitive.is_linear and role.head is None:
            depth = min(unstated[node.output.name], priors.MAX_UNANCHORED_DEPTH.value)
            own = own.with_added_kurtosis(priors.UNANCHORED_KURTOSIS.value * depth)
        if node.output.name in shown.reach:
            decoded = node.output.name in decoder and isinstance(node.primitive, Linear | BatchNorm)
            bounded = decoded or role.is_dense_output
            times = (priors.DECODER_SAMPLE_GAP if decoded else priors.SAMPLE_GAP).value
            reached = shown.reach[node.output.name]
            own = _as_shown(node.primitive, bounded, times, own, reached, moments[node.output.name])
        if node.output.name in shown.non_negative:
            own = own.clipped_to(0.0, np.inf)
        reach = own.range(priors.FAR_SIGMAS.value)
        _check_finite(node, reach.low.astype(np.float32), reach.high.astype(np.float32))
        if (stated := given.get(node.output.name)) is not None:
            if own.source == Source.FIXED:
                raise InvalidArgumentError(
                    f"ranges: layer {node.call.name!r} has the range [{reach.low.min():g}, {reach.high.max():g}], which"
                    " int8 operators fix; it cannot be given another"
                )
            own = bounded_distribution(stated.low, stated.high, stated.source)
        known[node.output.name] = own
    return {**known, **_without_flat_ends(graph, known, {*inputs, *given, *(t.name for t in graph.outputs)})}


def _detects(moments: Mapping[str, Moments], dense_outputs: Collection[str]) -> bool:
    """Whether a map that leaves the model has channels that are seldom positive: scores of objects. Then what matters
    is rare, and so are the features that it is made of, of which fields know little.

    Class scores of positions lie at most 2.3 deviations below 0 in six networks, those of objects 4 to 10 in two.
    """
    return any(
        bool(np.any(moments[n].mean < -priors.OBJECTNESS_SIGMAS.value * moments[n].deviation)) for n in dense_outputs
    )


def _as_shown(
    primitive: Primitive,
    bounded: bool,
    times: float,
    own: ChannelDistribution,
    shown: ObservedRange,
    moments: Moments,
) -> ChannelDistribution:
    """The spread of a map, where fields show that the one that was predicted cannot be.

    Fields are less heavy than images, whose contrast varies: a sum's excess kurtosis is 1 to 2 less than on images in
    four networks. Where it is more than predicted, as in the decoder of a U-Net (34 on fields, 32 on images, 1.4
    predicted), it counts. Functions that grow faster than their argument map a tail that a Gaussian has and values
    have not to ranges many times too wide.

    Pixels and class maps, and the maps of a decoder that they are made of, have bounds of their own, which no kurtosis
    of a sum tells: fields reach 2 to 7 deviations in six networks, images up to 1.3 times as far, while the tail that
    is predicted asks for 7 to 19.
    """
    if isinstance(primitive, Elementwise):  # a steep one
        farthest = np.maximum(np.abs(shown.low), np.abs(shown.high)).max()
        bounded = bool(own.range(priors.FAR_SIGMAS.value).amplitude.max() > priors.MAX_STEEP_OVERSHOOT.value * farthest)
    elif (lacking := shown.excess_kurtosis - float(np.median(own.excess_kurtosis))) > 0:
        own, bounded = own.with_added_kurtosis(lacking), True
    return own.clipped_to(*_as_images_may(shown, moments, times)) if bounded else own


def _as_images_may(shown: ObservedRange, moments: Moments, times: float) -> tuple[Array, Array]:
    """So many times as far as fields, but no nearer than 4 deviations."""
    middle, half = (shown.high + shown.low) / 2, times * (shown.high - shown.low) / 2
    near = priors.NEAR_SIGMAS.value * moments.deviation
    return np.minimum(middle - half, moments.mean - near), np.maximum(middle + half, moments.mean + near)


def _unstated(graph: LayerGraph) -> dict[str, int]:
    """How many linear primitives each tensor's moments have passed since the last BatchNorm that states any, or the
    last layer whose whole output is shown on fields, most of which normalise."""
    stated = _all_stated(graph)
    found: dict[str, int] = {}
    for node in graph.nodes:
        before = max((found.get(t.name, 0) for t in node.inputs), default=0)
        anchored = node.output.name in stated or isinstance(node.primitive, BatchNorm | Opaque)
        found[node.output.name] = 0 if anchored else before + node.primitive.is_linear
    return found


_POINTS = 513
_SEEN = 1 / 2048  # of a function's extent: an eighth of a step of its output


def _without_flat_ends(
    graph: LayerGraph, known: Mapping[str, ChannelDistribution], kept: Collection[str]
) -> dict[str, ChannelDistribution]:
    """Spreads of what a function alone reads, without the ends at which it does not change: a hard swish below -3."""
    found = {}
    for node in graph.nodes:
        function, name = node.primitive.elementwise_function, node.inputs[0].name
        if function is None or name in kept or len(graph.consumers[name]) != 1:
            continue
        distribution = known[name]
        reach = distribution.range(priors.FAR_SIGMAS.value)
        places = np.linspace(reach.low.min(), reach.high.max(), _POINTS)
        # an exponential is flat below what it reaches in the far
        made = known[node.output.name].range(priors.FAR_SIGMAS.value)
        values = np.clip(function(places), made.low.min(), made.high.max())
        if not np.all(np.isfinite(values)) or np.ptp(values) == 0:
            continue
        low, high = min(places[_flat(values)], 0.0), max(places[::-1][_flat(values[::-1])], 0.0)
        found[name] = distribution.clipped_to(low, high)
    return found


def _flat(values: Array) -> int:
    """The last of the first values that are all alike."""
    extent = np.maximum.accumulate(values) - np.minimum.accumulate(values)
    return int(np.searchsorted(extent, _SEEN * extent[-1], side="right")) - 1

"""What is decided of a conversion before a flatbuffer exists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spiq_tf.distributions.tails import ChannelDistribution
from spiq_tf.distributions.values import InputStatistics, Moments, Source
from spiq_tf.frontend.capture import capture
from spiq_tf.frontend.entry import to_float32_functional
from spiq_tf.frontend.weight_checks import check_weights
from spiq_tf.graph.layer_graph import LayerGraph
from spiq_tf.metadata.tflite_metadata import check_labels
from spiq_tf.options import Options
from spiq_tf.overrides import float_calls, given_ranges
from spiq_tf.rescaling import RescaledModel, absorb_scales
from spiq_tf.search import constraints, minimum_noise, noise_gain
from spiq_tf.search.baselines import dfq, high_bias_absorption, spiq
from spiq_tf.search.constraints import ScaleClasses
from spiq_tf.search.minimum_noise import ScaleSolution
from spiq_tf.search.sensitivity import measured_gains
from spiq_tf.statistics import propagation
from spiq_tf.statistics.input_range import InputRange, input_statistics
from spiq_tf.statistics.opaque_inputs import OpaqueInputs, opaque_layer_inputs
from spiq_tf.statistics.sample_run import run_samples
from spiq_tf.statistics.sampled import sampled_statistics
from spiq_tf.statistics.samples import NO_EXAMPLES, SampleRun
from spiq_tf.statistics.synthetic import synthetic_samples


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that is decided before a flatbuffer exists. It never changes.

    Attributes:
        options: what the user chose.
        model: what is converted: the user's model as a float32 graph of layers.
        inputs: what is known of the model's inputs, by tensor name.
        distributions: of each channel, by tensor name, in the model's units.
        classes: which channels share a scale, and which are pinned.
        solution: scales and ranges of all tensors.
        rescaled: the model in rescaled units.
        user_ranges: names of the tensors that keep to the very range that the user gave.
        float_calls: indices of the layer calls that stay float.
        opaque_inputs: what opaque layers read on samples.
    """

    options: Options
    model: Any
    inputs: Mapping[str, InputStatistics]
    distributions: Mapping[str, ChannelDistribution]
    classes: ScaleClasses
    solution: ScaleSolution
    rescaled: RescaledModel
    user_ranges: frozenset[str]
    float_calls: frozenset[int]
    opaque_inputs: OpaqueInputs


def plan(model: Any, input_range: InputRange | None, options: Options) -> Plan:
    """Analyses the model, chooses scales and ranges, and absorbs the scales into its weights.

    Args:
        model: as `spiq_tf.convert` takes it.
        input_range: of the model's inputs, in model units, as `spiq_tf.convert` takes it.
        options: the checked arguments.

    Raises:
        ModelTypeError, InvalidModelError, InputRangeError, InvalidArgumentError: as for `spiq_tf.convert`.
    """
    model = to_float32_functional(model, options.batch_size)
    graph = _captured(model, options)
    inputs = input_statistics(graph, input_range)
    given, float_layer_calls = given_ranges(graph, options.ranges), float_calls(graph, options.float_layers)
    samples = synthetic_samples(graph, inputs) if options.parts.samples else NO_EXAMPLES
    runs = run_samples(graph, samples)
    sampled = sampled_statistics(graph, runs, samples.gap)
    moments = propagation.all_moments(graph, inputs, sampled)
    distributions = propagation.all_distributions(graph, moments, inputs, given, sampled)
    classes = constraints.scale_classes(graph, given)
    if options.parts.scales == "none":
        classes = classes.without_scales()
    solution = _solution(graph, classes, moments, distributions, runs, options)
    return Plan(
        options=options,
        model=model,
        inputs=inputs,
        distributions=distributions,
        classes=classes,
        solution=solution,
        rescaled=absorb_scales(graph, solution.scales, moments, solution.ranges),
        user_ranges=frozenset(name for name, ranges in solution.ranges.items() if ranges.source == Source.GIVEN),
        float_calls=float_layer_calls,
        opaque_inputs=opaque_layer_inputs(graph, runs, moments, samples.gap),
    )


def _captured(model: Any, options: Options) -> LayerGraph:
    graph = capture(model, options.batch_size)
    check_weights(graph)
    check_labels(options.labels, [t.shape for t in graph.outputs])
    return high_bias_absorption.absorb_high_biases(graph) if options.parts.bias_absorption else graph


def _solution(
    graph: LayerGraph,
    classes: ScaleClasses,
    moments: Mapping[str, Moments],
    distributions: Mapping[str, ChannelDistribution],
    runs: Sequence[SampleRun],
    options: Options,
) -> ScaleSolution:
    """Scales and ranges by the chosen method."""
    if options.parts.scales == "spiq":
        return spiq.spiq(graph, classes, distributions)
    if options.parts.scales == "dfq":
        return dfq.equalize(graph, classes, distributions)
    gains = noise_gain.output_gains(graph, moments, measured_gains(graph, runs, moments))
    return minimum_noise.minimize_noise(
        graph,
        classes,
        moments,
        distributions,
        gains,
        per_channel_dense=options.per_channel_dense,
        pools_as_convolutions=options.target.prefers_xnnpack,
    )

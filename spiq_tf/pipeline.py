"""The conversion on one screen: data goes one way, each stage a function of what the one before returned."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from spiq_tf import priors
from spiq_tf.conformance.checking import violations_of, warn_of_violations
from spiq_tf.conformance.violation import Violation
from spiq_tf.distributions.tails import ChannelDistribution
from spiq_tf.distributions.values import ChannelRanges, InputStatistics, Source
from spiq_tf.frontend.capture import capture
from spiq_tf.frontend.entry import to_float32_functional
from spiq_tf.frontend.weight_checks import check_weights
from spiq_tf.graph.classifier_head import image_derived_tensors
from spiq_tf.metadata.description import model_description
from spiq_tf.metadata.tflite_metadata import check_labels, with_metadata
from spiq_tf.options import Options
from spiq_tf.overrides import check_held, float_calls, given_ranges
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.rescaling import RescaledModel, absorb_scales
from spiq_tf.search import constraints, minimum_noise, noise_gain
from spiq_tf.search.baselines import dfq, high_bias_absorption, spiq
from spiq_tf.search.constraints import ScaleClasses
from spiq_tf.search.minimum_noise import ScaleSolution
from spiq_tf.search.noise_terms import PredictedNoise
from spiq_tf.search.sensitivity import measured_gains
from spiq_tf.statistics import propagation
from spiq_tf.statistics.input_range import InputRange, input_statistics
from spiq_tf.statistics.opaque_inputs import OpaqueInputs, opaque_layer_inputs
from spiq_tf.statistics.sample_run import run_samples
from spiq_tf.statistics.sampled import sampled_statistics
from spiq_tf.statistics.samples import NO_EXAMPLES
from spiq_tf.statistics.synthetic import synthetic_samples
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.lowering.lower import LoweredModel, lower
from spiq_tf.tflite.parameters.assign import assign_tensor_ranges
from spiq_tf.tflite.parameters.concatenation_resolution import warn_of_concatenation_resolution
from spiq_tf.tflite.passes.div_to_reciprocal import div_to_reciprocal
from spiq_tf.tflite.passes.elementwise_to_lut import fill_lookup_tables, place_lookup_tables
from spiq_tf.tflite.passes.legalize_for_target import legalize_for_target
from spiq_tf.tflite.passes.pixel_inputs import PixelInputs, take_pixel_inputs
from spiq_tf.tflite.passes.prelu_decomposition import fold_norm_into_prelu
from spiq_tf.tflite.ranges.interval_arithmetic import check_bounded, file_ranges
from spiq_tf.tflite.ranges.opaque_sampling import opaque_intermediate_ranges
from spiq_tf.tflite.weights.bias_correction import correct_biases
from spiq_tf.tflite.weights.rounding import round_weights
from spiq_tf.tflite.writing import litert_quantizer
from spiq_tf.tflite.writing.complete_int8 import complete_int8
from spiq_tf.tflite.writing.float_operators import float_operators, warn_of_floats
from spiq_tf.tflite.writing.io_types import finish
from spiq_tf.verification.degenerate_output import warn_if_degenerate


@dataclass(frozen=True)
class Plan:
    """All that is decided before a flatbuffer exists.

    Attributes:
        model: what is converted: the user's model as a float32 graph of layers.
        inputs: what is known of the model's inputs, by tensor name.
        spreads: how far each channel reaches, by tensor name, in the model's units.
        classes: which channels share a scale, and which have none.
        choice: scales and ranges of all tensors.
        rewritten: the model in the new units.
        float_calls: indices of the layer calls that stay float.
        opaque_inputs: what opaque layers read on samples.
    """

    model: Any
    inputs: Mapping[str, InputStatistics]
    distributions: Mapping[str, ChannelDistribution]
    classes: ScaleClasses
    choice: ScaleSolution
    rewritten: RescaledModel
    float_calls: frozenset[int]
    opaque_inputs: OpaqueInputs


@dataclass(frozen=True)
class ConversionResult:
    """The finished file, and what became of each of its tensors.

    Attributes:
        content: the finished file.
        quantized: the same before its ends were changed; tensors keep their indices.
        lowered: the float file.
        ranges: of every activation's channels, by tensor index.
        intervals: of every activation as a whole, by tensor index: what its scale is made of.
        uncorrected: operators whose bias is not corrected.
        float_operators: those that read or make float activations, by kind and tensor.
        violations: what keeps the file from running on the target.
    """

    content: bytes
    quantized: FlatModel
    lowered: LoweredModel
    ranges: Mapping[int, ChannelRanges]
    intervals: Mapping[int, TensorRange]
    uncorrected: tuple[str, ...]
    float_operators: tuple[str, ...]
    violations: tuple[Violation, ...]


def plan(model: Any, input_range: InputRange | None, options: Options) -> Plan:
    """Captures the model in the one form, computes statistics and scales, and absorbs the scales into its weights."""
    model = to_float32_functional(model, options.batch_size)
    graph = capture(model, options.batch_size)
    check_weights(graph)
    check_labels(options.labels, [t.shape for t in graph.outputs])
    if options.parts.bias_absorption:
        graph = high_bias_absorption.absorb_high_biases(graph)
    inputs = input_statistics(graph, input_range)
    given, float_outputs = given_ranges(graph, options.ranges), float_calls(graph, options.float_layers)
    samples = synthetic_samples(graph, inputs) if options.parts.fields else NO_EXAMPLES
    runs = run_samples(graph, samples)
    sampled = sampled_statistics(graph, runs, samples.gap)
    moments = propagation.all_moments(graph, inputs, sampled)
    distributions = propagation.all_distributions(graph, moments, inputs, given, sampled)
    classes = constraints.scale_classes(graph, given)
    if options.parts.scales == "spiq":
        choice = spiq.spiq(graph, classes, distributions)
    elif options.parts.scales == "dfq":
        choice = dfq.equalize(graph, classes, distributions)
    else:
        classes = classes if options.parts.scales == "noise" else classes.without_scales()
        gains = noise_gain.output_gains(graph, moments, measured_gains(graph, runs, moments))
        choice = minimum_noise.minimize_noise(graph, classes, moments, distributions, gains, options.per_channel_dense)
    rewritten = absorb_scales(graph, choice.scales, moments, choice.ranges)
    return Plan(
        model,
        inputs,
        distributions,
        classes,
        choice,
        rewritten,
        float_outputs,
        opaque_layer_inputs(graph, runs, moments, samples.gap),
    )


def convert_plan(plan: Plan, options: Options) -> ConversionResult:
    """Lowers the rewritten model, corrects its weights, quantizes and finishes the file."""
    rewritten, graph = plan.rewritten, plan.rewritten.graph
    lowered = lower(rewritten, options.target.runs)
    check_held(options.ranges, {held.name for held in lowered.tensors.values()}, graph)
    float_outputs = lowered.outputs_of(plan.float_calls)
    known = {index: rewritten.ranges[held.name].scaled_by(held.factor) for index, held in lowered.tensors.items()}
    moments = {index: rewritten.moments[held.name].scaled_by(held.factor) for index, held in lowered.tensors.items()}
    inside = opaque_intermediate_ranges(lowered, graph, plan.opaque_inputs, known)
    tables = place_lookup_tables(lowered.flat, graph, lowered.tensors, float_outputs)
    reaching = {
        index: plan.distributions[held.name].range(priors.NEAR_SIGMAS.value).scaled_by(held.factor)
        for index, held in lowered.tensors.items()
    }
    reciprocals = div_to_reciprocal(lowered.flat, {**inside, **reaching}, float_outputs)
    ranges = file_ranges(lowered.flat, {**inside, **known, **reciprocals.ranges})
    layers = {index: graph.calls[call].name for index, call in lowered.origin_calls.items()}
    check_bounded(lowered.flat, ranges, float_outputs, layers)
    found = fold_norm_into_prelu(lowered.flat, ranges, float_outputs)
    found = legalize_for_target(lowered.flat, found, float_outputs, options.target.runs)
    entering = [plan.inputs[t.name] for t in graph.inputs]
    bytewise = options.inference_input_type == "uint8"
    pixels = take_pixel_inputs(lowered, graph, found, entering) if bytewise else PixelInputs(found, entering, {})
    images = image_derived_tensors(graph.nodes, graph.inputs)
    rescaled = [index for index, held in lowered.tensors.items() if held.name in images]
    whole = assign_tensor_ranges(
        lowered.flat,
        pixels.ranges,
        rescaled,
        _noise(lowered, plan, float_outputs, options),
        options.target.requantization,
    )
    warn_of_concatenation_resolution(lowered.flat, pixels.ranges, whole, lowered.tensors, plan.classes.scaled)
    steps = {index: interval.scale for index, interval in whole.items()}
    weights = round_weights(
        lowered.flat,
        moments,
        steps,
        float_outputs,
        per_channel_dense=options.per_channel_dense,
        sum_preserving=options.parts.sum_preserving_rounding,
    )
    uncorrected = correct_biases(
        lowered.flat,
        weights,
        moments,
        pixels.offsets,
        float_outputs,
        rounding_shift=options.parts.bias_correction,
    )
    quantized = litert_quantizer.quantize(lowered.flat, whole, float_outputs, options.per_channel_dense)
    complete_int8(quantized, whole, float_outputs)
    fill_lookup_tables(quantized, {**tables, **reciprocals.functions})
    types = options.inference_input_type, options.inference_output_type
    content = finish(quantized, graph.input_names, graph.output_names, whole, *types)
    content = with_metadata(content, model_description(plan.model.name, graph, pixels.fed, options))
    shapes = [t.shape for t in graph.inputs]
    warn_if_degenerate((content, pixels.fed), (lowered.content, entering), shapes, graph.output_names)
    violations = violations_of(content, options.target)
    warn_of_violations(violations, options.target)
    floats = float_operators(quantized, lowered.tensors)
    if options.target.runs_floats:  # or else they are violations
        warn_of_floats([text for index, text in floats.items() if index not in float_outputs])
    left = tuple(floats.values())
    return ConversionResult(content, quantized, lowered, pixels.ranges, whole, tuple(uncorrected), left, violations)


def _noise(
    lowered: LoweredModel, plan: Plan, float_outputs: Collection[int], options: Options
) -> dict[int, PredictedNoise]:
    """Predicted for the int8 tensors whose ranges are the method's own, by index; of none where steps stay apart."""
    if not options.parts.equal_scale_adds:
        return {}
    noise, ranges = plan.choice.noise, plan.choice.ranges
    return {
        index: noise[held.name]
        for index, held in lowered.tensors.items()
        if held.name in noise and ranges[held.name].source != Source.GIVEN and index not in float_outputs
    }

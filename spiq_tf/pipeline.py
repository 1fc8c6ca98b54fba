"""The conversion on one screen: data goes one way, each stage a function of what the one before returned."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spiq_tf.device.checking import violations_of, warn_of_violations
from spiq_tf.device.describing import model_description
from spiq_tf.device.metadata import check_labels, with_metadata
from spiq_tf.device.violation import Violation
from spiq_tf.graph.capture import capture
from spiq_tf.graph.checks import check_weights
from spiq_tf.graph.head import made_of_pixels
from spiq_tf.intake.accept import accepted
from spiq_tf.options import Options
from spiq_tf.overrides import check_held, float_calls, given_ranges
from spiq_tf.primitives.spread import Spread
from spiq_tf.primitives.values import Array, InputChannels, Range, Source
from spiq_tf.probe import warn_if_degenerate
from spiq_tf.rewriting import Rewritten, absorb_scales
from spiq_tf.scales import dfq, high_bias, least_noise, noise, published, ties
from spiq_tf.scales.least_noise import Choice
from spiq_tf.scales.noise_sources import Noise
from spiq_tf.scales.sensitivity import measured_gains
from spiq_tf.scales.ties import ScaleClasses
from spiq_tf.statistics import propagation
from spiq_tf.statistics.fields import run_fields
from spiq_tf.statistics.input_range import InputRange, input_channels
from spiq_tf.statistics.shown import read_by_unknown, shown_on
from spiq_tf.tflite import correct, quantize
from spiq_tf.tflite.coarse import warn_of_coarse_scales
from spiq_tf.tflite.division import multiply_by_reciprocals
from spiq_tf.tflite.finish import finish
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.floats import float_operators, warn_of_floats
from spiq_tf.tflite.inside import inside_ranges
from spiq_tf.tflite.interval import Interval
from spiq_tf.tflite.lower import Lowered, lower
from spiq_tf.tflite.parametric import separate_from_norm
from spiq_tf.tflite.pixels import PixelInputs, take_pixels
from spiq_tf.tflite.ranges import check_bounded, file_ranges
from spiq_tf.tflite.tables import fill_tables, place_tables
from spiq_tf.tflite.unmapped import replace_unmapped


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
        shown: what layers that no rule describes read on random fields, by tensor name, a mapping for each field.
    """

    model: Any
    inputs: Mapping[str, InputChannels]
    spreads: Mapping[str, Spread]
    classes: ScaleClasses
    choice: Choice
    rewritten: Rewritten
    float_calls: frozenset[int]
    shown: Sequence[Mapping[str, Array]]


@dataclass(frozen=True)
class Converted:
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
    lowered: Lowered
    ranges: Mapping[int, Range]
    intervals: Mapping[int, Interval]
    uncorrected: tuple[str, ...]
    float_operators: tuple[str, ...]
    violations: tuple[Violation, ...]


_NEAR = 4.0  # deviations: how far what divides reaches towards 0


def plan(model: Any, input_range: InputRange | None, options: Options) -> Plan:
    """Captures the model in the one form, computes statistics and scales, and absorbs the scales into its weights."""
    model = accepted(model, options.batch_size)
    graph = capture(model, options.batch_size)
    check_weights(graph)
    check_labels(options.labels, [t.shape for t in graph.outputs])
    if options.parts.absorbed_biases:
        graph = high_bias.absorbed(graph)
    inputs = input_channels(graph, input_range)
    given, kept = given_ranges(graph, options.ranges), float_calls(graph, options.float_layers)
    batches = run_fields(graph, inputs) if options.parts.fields else ()
    shown = shown_on(graph, batches)
    moments = propagation.all_moments(graph, inputs, shown)
    spreads = propagation.all_spreads(graph, moments, inputs, given, shown)
    classes = ties.scale_classes(graph, given)
    if options.parts.scales == "spiq":
        choice = published.spiq(graph, classes, spreads)
    elif options.parts.scales == "dfq":
        choice = dfq.equalised(graph, classes, spreads)
    else:
        classes = classes if options.parts.scales == "noise" else classes.without_scales()
        gains = noise.output_gains(graph, moments, measured_gains(graph, batches, moments))
        choice = least_noise.minimise_noise(graph, classes, moments, spreads, gains, options.per_channel_dense)
    rewritten = absorb_scales(graph, choice.scales, moments, choice.ranges)
    return Plan(model, inputs, spreads, classes, choice, rewritten, kept, read_by_unknown(graph, batches, moments))


def convert_plan(plan: Plan, options: Options) -> Converted:
    """Lowers the rewritten model, corrects its weights, quantizes and finishes the file."""
    rewritten, graph = plan.rewritten, plan.rewritten.graph
    lowered = lower(rewritten, options.target.runs)
    check_held(options.ranges, {held.name for held in lowered.tensors.values()}, graph)
    kept = lowered.made_by(plan.float_calls)
    known = {index: rewritten.ranges[held.name].times(held.factor) for index, held in lowered.tensors.items()}
    moments = {index: rewritten.moments[held.name].times(held.factor) for index, held in lowered.tensors.items()}
    inside = inside_ranges(lowered, graph, plan.shown, known)
    tables = place_tables(lowered.flat, graph, lowered.tensors, kept)
    reaching = {
        index: plan.spreads[held.name].range(_NEAR).times(held.factor) for index, held in lowered.tensors.items()
    }
    reciprocals = multiply_by_reciprocals(lowered.flat, {**inside, **reaching}, kept)
    ranges = file_ranges(lowered.flat, {**inside, **known, **reciprocals.ranges})
    layers = {index: graph.calls[call].name for index, call in lowered.owners.items()}
    check_bounded(lowered.flat, ranges, kept, layers)
    found = separate_from_norm(lowered.flat, ranges, kept)
    found = replace_unmapped(lowered.flat, found, kept, options.target.runs)
    entering = [plan.inputs[t.name] for t in graph.inputs]
    bytewise = options.inference_input_type == "uint8"
    pixels = take_pixels(lowered, graph, found, entering) if bytewise else PixelInputs(found, entering, {})
    images = made_of_pixels(graph.nodes, graph.inputs)
    rescaled = [index for index, held in lowered.tensors.items() if held.name in images]
    whole = quantize.tensor_intervals(lowered.flat, pixels.ranges, rescaled, _noise(lowered, plan, kept, options))
    warn_of_coarse_scales(lowered.flat, pixels.ranges, whole, lowered.tensors, plan.classes.scaled)
    steps = {index: interval.scale for index, interval in whole.items()}
    uncorrected = correct.correct(lowered.flat, moments, steps, pixels.offsets, kept, options)
    quantized = quantize.quantize(lowered.flat, whole, kept, options.per_channel_dense)
    fill_tables(quantized, {**tables, **reciprocals.functions})
    types = options.inference_input_type, options.inference_output_type
    content = finish(quantized, graph.input_names, graph.output_names, whole, *types)
    content = with_metadata(content, model_description(plan.model.name, graph, pixels.fed, options))
    shapes = [t.shape for t in graph.inputs]
    warn_if_degenerate((content, pixels.fed), (lowered.content, entering), shapes, graph.output_names)
    violations = violations_of(content, options.target)
    warn_of_violations(violations, options.target)
    floats = float_operators(quantized, lowered.tensors)
    if options.target.operators is None:  # or else they are violations
        warn_of_floats([text for index, text in floats.items() if index not in kept])
    left = tuple(floats.values())
    return Converted(content, quantized, lowered, pixels.ranges, whole, tuple(uncorrected), left, violations)


def _noise(lowered: Lowered, plan: Plan, kept: Collection[int], options: Options) -> dict[int, Noise]:
    """Predicted for the int8 tensors whose ranges are the method's own, by index; of none where steps stay apart."""
    if not options.parts.shared_steps:
        return {}
    noise, ranges = plan.choice.noise, plan.choice.ranges
    return {
        index: noise[held.name]
        for index, held in lowered.tensors.items()
        if held.name in noise and ranges[held.name].source != Source.GIVEN and index not in kept
    }

"""The conversion on one screen: data goes one way, each stage a function of what the one before returned."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spiq_tf import scales, statistics
from spiq_tf.capture import capture
from spiq_tf.checks import check_weights
from spiq_tf.input_range import InputRange, input_channels
from spiq_tf.options import Options
from spiq_tf.primitives.base import Array, Channels, Range
from spiq_tf.probe import warn_if_degenerate
from spiq_tf.rewriting import Rewritten, absorb_scales
from spiq_tf.tflite import correct, quantize
from spiq_tf.tflite.finish import finish
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interval import Interval
from spiq_tf.tflite.lower import Lowered, lower
from spiq_tf.tflite.ranges import file_ranges

# How far a channel's range reaches, in standard deviations of its Gaussian (SPIQ's lambda), and how much of
# the spread between channels is absorbed, as an exponent: 1 is SPIQ, 0 is one range a tensor. Rectified
# tensors have heavier tails on their one side, and the weights behind them pay for a spread of scales.
SIGNED_DEVIATIONS, RECTIFIED_DEVIATIONS = 7.0, 8.0
SIGNED_EXPONENT, RECTIFIED_EXPONENT = 1.0, 0.25


@dataclass(frozen=True)
class Plan:
    """All that is decided before a flatbuffer exists.

    Attributes:
        inputs: what is known of the model's inputs, by tensor name.
        scales: of each channel of each tensor, by tensor name; what was absorbed.
        rewritten: the model in the new units.
    """

    inputs: Mapping[str, Channels]
    scales: Mapping[str, Array]
    rewritten: Rewritten


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
    """

    content: bytes
    quantized: FlatModel
    lowered: Lowered
    ranges: Mapping[int, Range]
    intervals: Mapping[int, Interval]
    uncorrected: tuple[str, ...]


def plan(model: Any, input_range: InputRange | None, options: Options) -> Plan:
    """Captures the model, computes statistics and scales, and absorbs the scales into its weights."""
    graph = capture(model, options.batch_size)
    check_weights(graph)
    inputs = input_channels(graph, input_range)
    moments = statistics.all_moments(graph, inputs)
    narrow = statistics.all_ranges(graph, moments, inputs, SIGNED_DEVIATIONS)
    wide = statistics.all_ranges(graph, moments, inputs, RECTIFIED_DEVIATIONS)
    ranges = statistics.by_sign(narrow, wide)
    classes = scales.scale_classes(graph)
    chosen = scales.choose_scales(graph, classes, ranges, SIGNED_EXPONENT, RECTIFIED_EXPONENT)
    return Plan(inputs, chosen, absorb_scales(graph, chosen, moments, ranges))


def convert_plan(plan: Plan, options: Options) -> Converted:
    """Lowers the rewritten model, corrects its weights, quantizes and finishes the file."""
    rewritten, graph = plan.rewritten, plan.rewritten.graph
    lowered = lower(rewritten)
    known = {index: rewritten.ranges[name] for index, name in lowered.tensors.items()}
    means = {index: rewritten.moments[name].mean for index, name in lowered.tensors.items()}
    found = file_ranges(lowered.flat, known)
    whole = quantize.tensor_intervals(lowered.flat, found)
    steps = {index: interval.scale for index, interval in whole.items()}
    uncorrected = correct.correct(lowered.flat, means, steps, options.per_channel_dense)
    quantized = quantize.quantize(lowered.flat, whole, options.per_channel_dense)
    types = options.inference_input_type, options.inference_output_type
    content = finish(quantized, graph.input_names, graph.output_names, whole, *types)
    inputs = [plan.inputs[t.name] for t in graph.inputs]
    warn_if_degenerate(content, lowered.content, inputs, [t.shape for t in graph.inputs], graph.output_names)
    return Converted(content, quantized, lowered, found, whole, tuple(uncorrected))

"""The result of `spiq_tf.quantize`, from what the stages of a conversion returned."""

from dataclasses import replace

import numpy as np

from spiq_tf.distributions.tails import ChannelDistribution
from spiq_tf.pipeline import ConversionResult, Plan
from spiq_tf.result import QuantizedModel
from spiq_tf.tensor_info import REPORTED_SIGMAS, TensorInfo
from spiq_tf.tflite.delegation import delegation_of
from spiq_tf.tflite.flatbuffer import FlatModel


def describe(plan: Plan, converted: ConversionResult) -> QuantizedModel:
    """The result for users, from what the stages returned."""
    graph = plan.rescaled.graph
    unknown = (node.call.name for node in graph.nodes if node.primitive.is_opaque)
    total = sum(noise.total for noise in plan.solution.noise.values())
    return QuantizedModel(
        name=str(plan.model.name),
        content=converted.content,
        target=plan.options.target.name,
        expected_db=float(-10 * np.log10(total)) if total > 0 else None,
        tensors=tuple(_tensor(plan, converted, index) for index in converted.state.flat.activations()),
        float_operators=converted.float_operators,
        fallback_layers=tuple(dict.fromkeys(unknown)),
        uncorrected=converted.uncorrected,
        violations=converted.violations,
        delegation=delegation_of(FlatModel(converted.content)) if plan.options.target.prefers_xnnpack else None,
        _model=plan.model,
        _rewritten=plan.rescaled,
    )


def _tensor(plan: Plan, converted: ConversionResult, index: int) -> TensorInfo:
    tensor_range = converted.tensor_ranges[index].stretched(converted.quantized.multiples.get(index, 1.0))
    quantization = converted.quantized.flat.quantization(index)
    origin = converted.quantized.provenance.get(index)
    info = TensorInfo(
        name=converted.quantized.flat.name(index),
        layer=None,
        low=tensor_range.low,
        high=tensor_range.high,
        scale=None if quantization is None else quantization.scale,
        zero_point=None if quantization is None else quantization.zero_point,
        source=converted.state.ranges[index].source.label,
        channel_scales=None,
        channel_ranges=None,
        noise=None,
        unscaled=None,
    )
    if origin is None:
        return info
    return replace(
        info,
        layer=origin.name,
        channel_scales=tuple((plan.solution.scales[origin.name] / origin.factor).tolist()),
        channel_ranges=_reached(plan.distributions[origin.name]),
        noise=_noise(plan, origin.name),
        unscaled=plan.classes.pinned_reason(origin.name),
    )


def _reached(distribution: ChannelDistribution) -> tuple[tuple[float, float], ...]:
    """What the channels reach themselves: the ranges of the choice are what the file can hold of each."""
    ranges = distribution.range(REPORTED_SIGMAS)
    high = np.maximum(ranges.high, -distribution.below.bound)  # of a dead channel after a ReLU
    return tuple(zip(np.minimum(ranges.low, high).tolist(), high.tolist(), strict=True))


def _noise(plan: Plan, name: str) -> float | None:
    """Of a tensor, and of the weights of a linear primitive whose output is fused away into it."""
    graph, predicted = plan.rescaled.graph, plan.solution.noise
    if not predicted:
        return None
    chain = [name]
    while chain[-1] in graph.producers and graph.producers[chain[-1]].inputs[0].name in graph.fused:
        chain.append(graph.producers[chain[-1]].inputs[0].name)
    return float(sum(predicted[each].total for each in chain if each in predicted))

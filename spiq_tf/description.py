"""Puts together what `spiq_tf.quantize` tells of a finished conversion."""

import keras
import numpy as np

from spiq_tf.pipeline import Converted, Plan
from spiq_tf.primitives.opaque import Opaque
from spiq_tf.result import QuantizedModel
from spiq_tf.tensors import TensorInfo


def describe(model: keras.Model, plan: Plan, converted: Converted) -> QuantizedModel:
    """The result for users, from what the stages returned."""
    graph = plan.rewritten.graph
    unknown = (node.call.name for node in graph.nodes if isinstance(node.rule, Opaque))
    return QuantizedModel(
        content=converted.content,
        tensors=tuple(_tensor(plan, converted, index) for index in converted.lowered.flat.activations()),
        float_operators=_float_operators(converted),
        fallback_layers=tuple(dict.fromkeys(unknown)),
        uncorrected=converted.uncorrected,
        violations=converted.violations,
        _model=model,
        _rewritten=plan.rewritten,
    )


def _tensor(plan: Plan, converted: Converted, index: int) -> TensorInfo:
    held = converted.lowered.tensors.get(index)
    layer = None if held is None else held.name
    interval = converted.intervals[index]
    quantization = converted.quantized.quantization(index)
    scales = None if held is None else tuple(float(s) for s in plan.choice.scales[held.name] / held.factor)
    return TensorInfo(
        name=converted.quantized.name(index),
        layer=layer,
        low=interval.low,
        high=interval.high,
        scale=None if quantization is None else quantization[0],
        zero_point=None if quantization is None else quantization[1],
        source=converted.ranges[index].source.label,
        channel_scales=scales,
        unscaled=None if layer is None else plan.classes.why_unscaled(layer),
    )


def _float_operators(converted: Converted) -> tuple[str, ...]:
    """Operators that read or make float activations, by kind and tensor."""
    flat = converted.quantized
    found = []
    for operator in flat.operators:
        if flat.kind(operator) in ("QUANTIZE", "DEQUANTIZE"):
            continue
        output = int(operator.outputs[0])
        activations = [int(i) for i in (*operator.inputs, output) if i >= 0 and not flat.is_constant(int(i))]
        if any(flat.dtype(index) == np.float32 for index in activations):
            held = converted.lowered.tensors.get(output)
            found.append(f"{flat.kind(operator)} ({flat.name(output) if held is None else held.name})")
    return tuple(found)

"""Ranges for every activation of the file, converter-generated intermediates included.

A tensor that holds one of the graph's has the range that was chosen for it. What lies inside a layer follows by
interval arithmetic, a channel at a time (the range rules of the operator table); where an operator has no rule, the
float file is run on noise. All ranges are in file units.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from spiq_tf import priors
from spiq_tf.distributions.values import Array, ChannelRanges, Source, derived_source
from spiq_tf.errors import InvalidModelError
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.operators import range_rules
from spiq_tf.tflite.passes.affine_to_depthwise import is_pointwise_depthwise

_SAMPLES = 4


def file_ranges(flat: FlatModel, known: Mapping[int, ChannelRanges]) -> dict[int, ChannelRanges]:
    """The range of every activation of the file.

    Args:
        flat: the float file.
        known: ranges of tensors that hold the graph's, by index.
    """
    ranges: dict[int, ChannelRanges] = {i: r for i, r in known.items() if not flat.is_constant(i)}
    ceilings, consumers = _ceilings(flat), flat.all_consumers()
    sampled: dict[int, ChannelRanges] | None = None
    for operator in flat.operators:
        for output in map(int, operator.outputs):
            if output in ranges:
                continue
            derived = derived_range(flat, operator, ranges) or _sum_from_mean(flat, output, known, consumers)
            if derived is None:
                sampled = _sample(flat, ranges) if sampled is None else sampled
                derived = sampled[output]
            ceiling = ceilings.get(output, np.inf)
            ranges[output] = ChannelRanges(
                np.minimum(derived.low, ceiling), np.minimum(derived.high, ceiling), derived.source
            )
    return ranges


def _sum_from_mean(
    flat: FlatModel, index: int, known: Mapping[int, ChannelRanges], consumers: Mapping[int, list[Any]]
) -> ChannelRanges | None:
    """The range of a sum of squares whose mean is known: it is reshaped, multiplied and shifted into that."""
    factor, offset = 1.0, 0.0
    while index not in known:
        if len(consumers.get(index, ())) != 1:
            return None
        (consumer,) = consumers[index]
        constants = [flat.value(int(i)) for i in consumer.inputs if flat.is_constant(int(i))]
        if flat.kind(consumer) == "MUL" or is_pointwise_depthwise(flat, consumer):
            if any(np.ptp(value) for value in constants) or len(constants) != len(consumer.inputs) - 1:
                return None
            by, plus = (*(float(value.flat[0]) for value in constants), 0.0)[:2]
            factor, offset = factor * by, offset * by + plus
        elif flat.kind(consumer) != "RESHAPE":
            return None
        index = int(consumer.outputs[0])
    if factor <= 0:
        return None
    low, high = ((end - offset) / factor for end in (known[index].low.min(), known[index].high.max()))
    return ChannelRanges(np.array([low]), np.array([high]), known[index].source)


def check_bounded(
    flat: FlatModel, ranges: Mapping[int, ChannelRanges], float_outputs: Collection[int], layers: Mapping[int, str]
) -> None:
    """Checks that int8 tensors have ranges that float32 holds: others may end LiteRT's process.

    Args:
        flat: the float file.
        ranges: of every activation, by tensor index.
        float_outputs: outputs of the operators that stay float.
        layers: the name of the layer that each tensor comes from, by index, where there is one.

    Raises:
        InvalidModelError: a range is wider than float32, or NaN.
    """
    for operator in flat.operators:
        if int(operator.outputs[0]) in float_outputs:
            continue
        for index in (*flat.activation_inputs(operator), *map(int, operator.outputs)):
            reach = float(ranges[index].amplitude.max())
            if not reach < np.finfo(np.float32).max:
                raise InvalidModelError(
                    f"layer {layers.get(index, flat.name(index))!r} has values of up to {reach:.3g}: expected what"
                    " float32 holds; where it divides by what may be 0, as in x / relu(y), add an epsilon; use -1e9 in"
                    " a mask; or keep the layers that compute and read the values float: float_layers=[...]"
                )


def _ceilings(flat: FlatModel) -> dict[int, float]:
    """The value above which all consumers of a tensor clip it, by index: the file need not hold what lies above."""
    ceilings: dict[int, list[float]] = {}
    for operator in flat.operators:
        constants = [flat.value(int(i)) for i in operator.inputs if i >= 0 and flat.is_constant(int(i))]
        for index in flat.activation_inputs(operator):
            ceilings.setdefault(index, []).append(flat.row(operator).input_ceiling(constants))
    outputs = set(map(int, flat.subgraph.outputs))
    return {index: max(each) for index, each in ceilings.items() if index not in outputs and max(each) < np.inf}


def derived_range(flat: FlatModel, operator: Any, ranges: Mapping[int, ChannelRanges]) -> ChannelRanges | None:
    """What an operator can make of inputs of the given ranges; None where it has no range rule.

    Args:
        flat: the float file.
        operator: one of its operators.
        ranges: of the activations that it reads, by tensor index.
    """
    rule = _factor_and_offset if is_pointwise_depthwise(flat, operator) else flat.row(operator).range_rule
    if rule is None:
        return None
    indices = [int(i) for i in operator.inputs if i >= 0]
    data_first = sorted(indices, key=lambda index: index != flat.data(operator))
    inputs = [_constant(flat.value(i)) if flat.is_constant(i) else ranges[i] for i in data_first]
    options = getattr(operator, "builtinOptions", None)
    low, high = rule(inputs, options)
    if flat.is_square(operator):
        low = np.maximum(low, 0.0)
    low, high = _activated(low, high, getattr(options, "fusedActivationFunction", 0))
    return ChannelRanges(low, high, derived_source(ranges[i].source for i in indices if i in ranges))


def _factor_and_offset(inputs: list[ChannelRanges], options: Any) -> tuple[Array, Array]:
    """A depthwise convolution of one tap."""
    low, high = range_rules.product(inputs[:2], options)
    return low + inputs[2].low, high + inputs[2].high


def _constant(value: npt.NDArray[np.float32]) -> ChannelRanges:
    """The range of each channel of a constant."""
    flat = np.atleast_1d(value.astype(np.float64))
    flat = flat.reshape(-1, flat.shape[-1])
    return ChannelRanges(flat.min(axis=0), flat.max(axis=0), Source.FIXED)


def _activated(low: Array, high: Array, activation: int) -> tuple[Array, Array]:
    """Both ends after a fused activation."""
    floor, ceiling = _FUSED_BOUNDS.get(activation, (-np.inf, np.inf))
    return np.clip(low, floor, ceiling), np.clip(high, floor, ceiling)


_FUSED_BOUNDS = {
    schema.ActivationFunctionType.RELU: (0.0, np.inf),
    schema.ActivationFunctionType.RELU6: (0.0, 6.0),
    schema.ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0),
}


def _sample(flat: FlatModel, ranges: Mapping[int, ChannelRanges]) -> dict[int, ChannelRanges]:
    """Smallest and largest value of every tensor of the float file over a few noise inputs (fixed seed)."""
    interpreter = Interpreter(flat.content(), keep_all=True)
    random = np.random.default_rng(0)
    ends: dict[int, tuple[float, float]] = {}
    for _ in range(_SAMPLES):
        noise = [
            random.uniform(ranges[int(i)].low, ranges[int(i)].high, flat.shape(int(i))) for i in flat.subgraph.inputs
        ]
        interpreter.run(noise)
        for index in flat.activations():
            value = interpreter.value(index)
            low, high = ends.get(index, (np.inf, -np.inf))
            ends[index] = min(low, float(value.min())), max(high, float(value.max()))
    gap = priors.WHITE_NOISE_SAMPLE_GAP.value
    return {
        index: ChannelRanges(np.array([low * gap]), np.array([high * gap]), Source.FALLBACK)
        for index, (low, high) in ends.items()
    }

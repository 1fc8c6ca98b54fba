"""Ranges of what lies inside layers that no rule describes: their operators are run on what the layers read on
samples.

Interval arithmetic takes the worst of every operand, and the variance in a LayerNormalization comes out thirty times as
wide as it is.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.values import Array, ChannelRanges, Source
from spiq_tf.statistics.opaque_inputs import OpaqueInputs
from spiq_tf.statistics.samples import SampleGap
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.ranges.interval_arithmetic import derived_range
from spiq_tf.tflite.state import FileState


def opaque_intermediate_ranges(state: FileState, sampled: OpaqueInputs) -> dict[int, ChannelRanges]:
    """Ranges of the tensors that operators inside opaque layers compute, by index, in file units.

    Args:
        state: the float file, with the ranges of the tensors that hold the graph's.
        sampled: what the opaque layers read on samples, in model units. Layers of which it is not known are left out.
    """
    operators = _inside(state, sampled.examples[0] if sampled.examples else {})
    if not operators:
        return {}
    flat = state.flat
    outputs = [int(i) for o in operators for i in o.outputs]
    inputs = [i for i in dict.fromkeys(i for o in operators for i in flat.activation_inputs(o)) if i not in outputs]
    origins = [(state.provenance[index], flat.shape(index)) for index in inputs]
    interpreter = Interpreter(flat.part(operators, inputs, outputs).content(), delegate=False)
    low, high = np.full(len(outputs), np.inf), np.full(len(outputs), -np.inf)
    for example in sampled.examples:
        # an example has a batch of one; repeated where the file's is larger
        values = interpreter.run([np.resize(example[origin.name], shape) * origin.factor for origin, shape in origins])
        low = np.minimum(low, [value.min() for value in values])
        high = np.maximum(high, [value.max() for value in values])
    observed = {index: (float(a), float(b)) for index, a, b in zip(outputs, low, high, strict=True)}
    return _widened(flat, operators, observed, state.ranges, sampled.gap)


def _widened(
    flat: FlatModel,
    operators: Sequence[Any],
    observed: Mapping[int, tuple[float, float]],
    known: Mapping[int, ChannelRanges],
    gap: SampleGap,
) -> dict[int, ChannelRanges]:
    """The sampled ranges with a margin, of what interval arithmetic allows.

    An average that is positive on a few samples may be negative on an image: where there are few values that can be
    negative, they are given as much room below. What cannot keeps a lower end above 0, reduced by the margin alone: a
    norm that something is divided by. A square reaches as far as what is squared.
    """
    result: dict[int, ChannelRanges] = {}
    for operator in operators:
        possible = derived_range(flat, operator, {**known, **result})
        for index in map(int, operator.outputs):
            values, squared = math.prod(flat.shape(index)), flat.is_square(operator)
            result[index] = _with_margin(observed[index], possible, values, squared, gap)
    return result


def _with_margin(
    observed: tuple[float, float], possible: ChannelRanges | None, values: int, squared: bool, gap: SampleGap
) -> ChannelRanges:
    (low, high), few = observed, values < priors.MIN_VALUES_FOR_GAP.value
    if possible is not None and few:
        low, high = min(low, -high), max(high, -low)
    margin = gap.few_values if few else gap.intermediates
    low, high = min(low, margin * low), max(high, margin * high)
    if possible is None:
        return ChannelRanges(np.array([low]), np.array([high]), Source.FALLBACK)
    lowest, highest = float(possible.low.min()), float(possible.high.max())
    # a range that the user gave may have nothing in common with what the samples show
    if max(low, lowest) < min(high, highest):
        low, high = max(low, lowest), highest if squared else min(high, highest)
    if observed[0] > 0 and lowest >= 0:
        low = max(low, min(observed[0] / margin, high))
    return ChannelRanges(np.array([low]), np.array([high]), Source.FALLBACK)


def _inside(state: FileState, example: Mapping[str, Array]) -> list[Any]:
    """The operators of opaque layers that can be run on an example of what those layers read."""
    opaque = {node.call.index for node in state.graph.nodes if node.primitive.is_opaque}
    inside = state.outputs_of(opaque)
    ready = set(state.holding(example))
    result = []
    for operator in state.flat.operators:
        outputs = {int(i) for i in operator.outputs}
        if outputs <= inside and all(i in ready for i in state.flat.activation_inputs(operator)):
            result.append(operator)
            ready |= outputs
    return result

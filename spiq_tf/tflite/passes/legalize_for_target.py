"""Operators that a target does not map -> others that it does: mapping stops at the first that it does not know."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.distributions.values import ChannelRanges, Source
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.passes.affine_to_depthwise import depthwise
from spiq_tf.tflite.state import FileState

_Replacement: TypeAlias = Callable[[FlatModel, Any, dict[int, ChannelRanges]], list[Any]]
"""Operators in place of one, from the file, that operator, and the ranges, to which those of new tensors are added."""


def legalize_for_target(state: FileState, runs: Callable[[str], bool]) -> None:
    """Replaces, in place, the operators that the target does not map, where there is a way.

    Given:
        y = HARD_SWISH(x)
        y = LEAKY_RELU(x, a)

    Result:
        g = DEPTHWISE_CONV_2D(x, 1 / 6, 1 / 2) clipped by its int8 range [0, 1]; y = MUL(x, g). Right in int8 only.
        s = MUL(x, a); y = MAXIMUM(x, s), for a > 1 MINIMUM

    Args:
        state: with the ranges of all activations.
        runs: whether the target has an operator, by its name in the schema.
    """
    flat, result = state.flat, []
    for operator in flat.operators:
        replacement = _REPLACEMENTS.get(flat.kind(operator))
        if replacement is None or runs(flat.kind(operator)) or int(operator.outputs[0]) in state.float_outputs:
            result.append(operator)
        else:
            result += replacement(flat, operator, state.ranges)
    flat.subgraph.operators = result


def _gated_product(flat: FlatModel, operator: Any, ranges: dict[int, ChannelRanges]) -> list[Any]:
    """x hard_sigmoid(x), where the int8 range of the gate, [0, 1], is what clips x / 6 + 1 / 2 at both ends."""
    value, output = int(operator.inputs[0]), int(operator.outputs[0])
    gate = flat.add_activation("gate", output)
    ranges[gate] = ChannelRanges(np.zeros(1), np.ones(1), Source.FIXED)
    product = flat.operator(schema.BuiltinOperator.MUL, [value, gate], output, schema.MulOptionsT())
    return [*_affine(flat, value, gate, 1 / 6, 1 / 2, ranges), product]


def _affine(
    flat: FlatModel, value: int, output: int, factor: float, offset: float, ranges: dict[int, ChannelRanges]
) -> list[Any]:
    """factor x + offset: one operator on feature maps, two on vectors."""
    if len(flat.shape(value)) == 4:
        ones = np.ones(flat.shape(value)[-1], np.float32)
        return [depthwise(flat, value, output, factor * ones, offset * ones)]
    product, scaled = _scaled(flat, value, output, factor, ranges)
    constant = _constant(flat, output, "offset", offset)
    return [product, flat.operator(schema.BuiltinOperator.ADD, [scaled, constant], output, schema.AddOptionsT())]


def _scaled(
    flat: FlatModel, value: int, output: int, factor: float, ranges: dict[int, ChannelRanges]
) -> tuple[Any, int]:
    """The operator that computes factor x on the way to an output, and its own output."""
    scaled = flat.add_activation("scaled", output)
    ranges[scaled] = ranges[value].scaled_by(factor)
    constant = _constant(flat, output, "factor", factor)
    return flat.operator(schema.BuiltinOperator.MUL, [value, constant], scaled, schema.MulOptionsT()), scaled


def _constant(flat: FlatModel, output: int, name: str, number: float) -> int:
    value = np.full([1] * len(flat.shape(output)), number, np.float32)
    return flat.add_constant(f"{flat.name(output)}/{name}", value)


def _larger_of_both(flat: FlatModel, operator: Any, ranges: dict[int, ChannelRanges]) -> list[Any]:
    """The larger of x and slope x; the smaller where the slope is above 1."""
    value, output, slope = int(operator.inputs[0]), int(operator.outputs[0]), operator.builtinOptions.alpha
    product, scaled = _scaled(flat, value, output, slope, ranges)
    whole = ranges[scaled]  # above what x itself reaches it is never chosen, and all three tensors share one scale
    ranges[scaled] = replace(whole, high=np.minimum(whole.high, ranges[value].high))
    kind = schema.BuiltinOperator.MAXIMUM if slope <= 1 else schema.BuiltinOperator.MINIMUM
    return [product, flat.operator(kind, [value, scaled], output, schema.MaximumMinimumOptionsT())]


_REPLACEMENTS: Mapping[str, _Replacement] = {"HARD_SWISH": _gated_product, "LEAKY_RELU": _larger_of_both}

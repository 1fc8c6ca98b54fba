"""Operators that a target does not map -> others that it does: mapping stops at the first that it does not know."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.distributions.values import ChannelRanges, Source
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.passes.affine_to_depthwise import depthwise

_Replacement: TypeAlias = Callable[[FlatModel, Any, dict[int, ChannelRanges]], list[Any]]
"""Operators in place of one, from the file, that operator, and the ranges, to which those of new tensors are added."""


def legalize_for_target(
    flat: FlatModel, ranges: Mapping[int, ChannelRanges], float_outputs: Collection[int], runs: Callable[[str], bool]
) -> dict[int, ChannelRanges]:
    """Replaces, in place, the operators that the target does not map, where there is a way.

    Args:
        flat: the float file; what replaces a hard swish is right in int8 only.
        ranges: of every activation, by tensor index.
        kept: outputs of the operators that stay float.
        runs: whether the target has an operator, by its name in the schema.

    Returns:
        The ranges, with those of the new tensors.
    """
    found, result = dict(ranges), []
    for operator in flat.operators:
        replacement = _REPLACEMENTS.get(flat.kind(operator))
        if replacement is None or runs(flat.kind(operator)) or int(operator.outputs[0]) in float_outputs:
            result.append(operator)
        else:
            result += replacement(flat, operator, found)
    flat.subgraph.operators = result
    return found


def _gated(flat: FlatModel, operator: Any, ranges: dict[int, ChannelRanges]) -> list[Any]:
    """x hard_sigmoid(x), where the int8 range of the gate, [0, 1], is what cuts x / 6 + 1 / 2 at both ends."""
    value, output = int(operator.inputs[0]), int(operator.outputs[0])
    gate = flat.add_activation("gate", output)
    ranges[gate] = ChannelRanges(np.zeros(1), np.ones(1), Source.FIXED)
    product = flat.operator(schema.BuiltinOperator.MUL, [value, gate], output, schema.MulOptionsT())
    return [*_affine(flat, value, gate, 1 / 6, 1 / 2, ranges), product]


def _affine(
    flat: FlatModel, value: int, output: int, factor: float, offset: float, ranges: dict[int, ChannelRanges]
) -> list[Any]:
    """factor x + offset: one operator on maps, two on vectors."""
    if len(flat.shape(value)) == 4:
        ones = np.ones(flat.shape(value)[-1], np.float32)
        return [depthwise(flat, value, output, factor * ones, offset * ones)]
    product, scaled = _scaled(flat, value, output, factor, ranges)
    constant = _constant(flat, output, "offset", offset)
    return [product, flat.operator(schema.BuiltinOperator.ADD, [scaled, constant], output, schema.AddOptionsT())]


def _scaled(
    flat: FlatModel, value: int, output: int, factor: float, ranges: dict[int, ChannelRanges]
) -> tuple[Any, int]:
    """The operator that makes factor x, for the sake of an output, and the tensor that it makes."""
    scaled = flat.add_activation("scaled", output)
    ranges[scaled] = ranges[value].scaled_by(factor)
    constant = _constant(flat, output, "factor", factor)
    return flat.operator(schema.BuiltinOperator.MUL, [value, constant], scaled, schema.MulOptionsT()), scaled


def _constant(flat: FlatModel, output: int, name: str, number: float) -> int:
    value = np.full([1] * len(flat.shape(output)), number, np.float32)
    return flat.add_constant(f"{flat.name(output)}/{name}", value)


def _larger(flat: FlatModel, operator: Any, ranges: dict[int, ChannelRanges]) -> list[Any]:
    """The larger of x and slope x; the smaller where the slope is above 1."""
    value, output, slope = int(operator.inputs[0]), int(operator.outputs[0]), operator.builtinOptions.alpha
    product, scaled = _scaled(flat, value, output, slope, ranges)
    whole = ranges[scaled]  # above what x itself reaches it is never chosen, and all three tensors share one scale
    ranges[scaled] = replace(whole, high=np.minimum(whole.high, ranges[value].high))
    kind = schema.BuiltinOperator.MAXIMUM if slope <= 1 else schema.BuiltinOperator.MINIMUM
    return [product, flat.operator(kind, [value, scaled], output, schema.MaximumMinimumOptionsT())]


_REPLACEMENTS: Mapping[str, _Replacement] = {"HARD_SWISH": _gated, "LEAKY_RELU": _larger}

"""AVERAGE_POOL_2D, which XNNPACK leaves to slower kernels in int8 -> a depthwise convolution of equal weights.

All weights of a channel are one number, which its own scale holds exactly. A window that reaches over the border is
divided by the number of values inside it: with their mean in the place of what lies outside, that of the whole window
is the same. A product with a map of factors does it too, but multiplies the rounding error by 1.5 along a border.

Measured with XNNPACK on x86, a delegated operator before and after each pool: 0.27 to 0.34 of the pool's time for
windows of 3 x 3 that are padded, 0.43 to 0.48 for 2 x 2 or a stride of 2, 0.37 for 5 x 5 of stride 1, 0.7 to 0.8 where
windows of 4 x 4 and 5 x 5 do not overlap. Its depthwise kernels end at 25 taps, on ARM too: beyond, the convolution
takes 5 to 50 times as long as the pool. The pool is the same code on ARM, with one integer division for each output.
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.primitives.pool import MAX_DEPTHWISE_OVERHANG, MAX_DEPTHWISE_TAPS, overhangs
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.state import FileState

_OPERATORS = schema.BuiltinOperator

_Padding: TypeAlias = tuple[int, int]
"""How far windows reach over the border before the first and after the last value along an axis."""


def average_pool_to_depthwise(state: FileState) -> None:
    """Replaces, in place, average pools whose windows have at most 25 taps and reach over the border by one at most.

    The output may then have a scale of its own, which a pool shares with its input.

    Given:
        y = AVERAGE_POOL_2D(x), windows of n taps

    Result:
        y = DEPTHWISE_CONV_2D(x, 1 / n)

    Result, where the first and the last of 3 rows reach over the border, of columns likewise:
        e = DEPTHWISE_CONV_2D(x, 1 / 2), windows of 2 x 1, the first and the last alone
        a, b = SPLIT(e)
        p = CONCATENATION(a, x, b), the scale of all that of x
        y = DEPTHWISE_CONV_2D(p, 1 / n)

    Left alone where y stays float.
    """
    shared, result = _Shared(), []
    for operator in state.flat.operators:
        paddings = _paddings(state.flat, operator) if state.flat.kind(operator) == "AVERAGE_POOL_2D" else None
        if paddings is None or int(operator.outputs[0]) in state.float_outputs:
            result.append(operator)
        else:
            result += _convolution(state, operator, paddings, shared)
    state.flat.subgraph.operators = result


@dataclass(frozen=True)
class _Shared:
    """What several pools read.

    Attributes:
        weights: constants, by shape.
        padded: tensors, by what they are made of: see `_padded`.
    """

    weights: dict[tuple[int, ...], int] = field(default_factory=dict)
    padded: dict[tuple[int, int, int, _Padding], int] = field(default_factory=dict)


def _paddings(flat: FlatModel, pool: Any) -> tuple[_Padding, _Padding] | None:
    """Of rows and columns; None where the pool is to stay."""
    options = pool.builtinOptions
    windows = (options.filterHeight, options.strideH), (options.filterWidth, options.strideW)
    if not 1 < options.filterHeight * options.filterWidth <= MAX_DEPTHWISE_TAPS:
        return None
    if options.padding == schema.Padding.VALID:
        return (0, 0), (0, 0)
    before, after = (flat.shape(int(i))[1:3] for i in (pool.inputs[0], pool.outputs[0]))
    rows, columns = (overhangs(n, m, *window) for n, m, window in zip(before, after, windows, strict=True))
    return (rows, columns) if max(*rows, *columns) <= MAX_DEPTHWISE_OVERHANG else None


def _convolution(state: FileState, pool: Any, paddings: tuple[_Padding, _Padding], shared: _Shared) -> list[Any]:
    """The operators in place of a pool; what is known of new tensors is added to the state."""
    x, y, options = int(pool.inputs[0]), int(pool.outputs[0]), pool.builtinOptions
    window = options.filterHeight, options.filterWidth
    operators = []
    for axis, padding in enumerate(paddings, start=1):
        if any(padding):
            x, made = _padded(state, (x, y), axis, window[axis - 1], padding, shared)
            operators += made
    mean = _mean(state.flat, x, y, window, (options.strideH, options.strideW), shared)
    mean.builtinOptions.fusedActivationFunction = options.fusedActivationFunction
    return [*operators, mean]


def _mean(flat: FlatModel, x: int, y: int, window: tuple[int, int], strides: tuple[int, int], shared: _Shared) -> Any:
    """The depthwise convolution that computes the means y of the windows that lie inside x."""
    shape = (1, *window, flat.shape(x)[-1])
    if shape not in shared.weights:
        value = np.full(shape, 1 / np.prod(window), np.float32)
        shared.weights[shape] = flat.add_constant(f"{flat.name(y)}/weights", value)
    bias = flat.add_constant(f"{flat.name(y)}/bias", np.zeros(shape[-1], np.float32))
    options = schema.DepthwiseConv2DOptionsT(
        padding=schema.Padding.VALID, strideH=strides[0], strideW=strides[1], depthMultiplier=1
    )
    return flat.operator(_OPERATORS.DEPTHWISE_CONV_2D, [x, shared.weights[shape], bias], y, options)


def _padded(
    state: FileState, ends: tuple[int, int], axis: int, taps: int, padding: _Padding, shared: _Shared
) -> tuple[int, list[Any]]:
    """A tensor with the means of what lies inside the first and the last window beyond its border.

    Args:
        state: gets the new tensors and what is known of them.
        ends: the tensor, and the pool's output, whose name new tensors continue: they are of the pool's layer.
        axis: 1 for rows, 2 for columns.
        taps: of the windows along the axis.
        padding: along the axis.
        shared: extended.

    Returns:
        The padded tensor, and the operators that compute it where none did before.
    """
    x, y = ends
    key = (x, axis, taps, padding)
    if key in shared.padded:
        return shared.padded[key], []
    flat, size = state.flat, state.flat.shape(x)[axis]

    def made(name: str, length: int) -> int:
        shape = [*flat.shape(x)]
        shape[axis] = length
        index = flat.add_activation(f"{name}{axis}", y, shape=shape)
        state.ranges[index], state.equal_scales[index] = state.ranges[x], state.equal_scales.get(x, x)
        return index

    window = (taps - 1, 1) if axis == 1 else (1, taps - 1)
    if all(padding):
        strides = (size - taps + 1, 1) if axis == 1 else (1, size - taps + 1)
        both, first, last = made("ends", 2), made("first", 1), made("last", 1)
        split = flat.operator(_OPERATORS.SPLIT, [_axis(flat, x, axis), both], first, schema.SplitOptionsT(numSplits=2))
        split.outputs = np.array([first, last], np.int32)
        operators, parts = [_mean(flat, x, both, window, strides, shared), split], [first, x, last]
    else:
        inside, last = made("inside", taps - 1), made("last", 1)
        operators = [_last(flat, x, inside, axis), _mean(flat, inside, last, window, (1, 1), shared)]
        parts = [x, last]
    shared.padded[key] = made("padded", size + sum(padding))
    options = schema.ConcatenationOptionsT(axis=axis)
    operators.append(flat.operator(_OPERATORS.CONCATENATION, parts, shared.padded[key], options))
    return shared.padded[key], operators


def _axis(flat: FlatModel, x: int, axis: int) -> int:
    return flat.add_constant(f"{flat.name(x)}/axis{axis}", np.array(axis, np.int32))


def _last(flat: FlatModel, x: int, y: int, axis: int) -> Any:
    """The operator that takes the last values y of x along an axis."""
    begin = np.zeros(len(flat.shape(x)), np.int32)
    begin[axis] = flat.shape(x)[axis] - flat.shape(y)[axis]
    bounds = {"begin": begin, "size": np.array(flat.shape(y), np.int32)}
    constants = [flat.add_constant(f"{flat.name(y)}/{name}", value) for name, value in bounds.items()]
    return flat.operator(_OPERATORS.SLICE, [x, *constants], y, schema.SliceOptionsT())

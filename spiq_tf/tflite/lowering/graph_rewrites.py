"""Rewrites of the traced TensorFlow graph, for which TFLite then has one operator.

- A softmax over several axes: Keras writes exp(x - log(sum(exp(x)))), of which an int8 file keeps EXP and LOG in float
  and rounds the sum of exponentials to nothing. Attention over both axes of an image is made of it.
- Nearest upsampling: Keras repeats rows and columns one after the other, two TILEs between three reshapes. The CPU
  delegate takes RESIZE_NEAREST_NEIGHBOR.
- Argmax and argmin: before them Keras tells -0 from 0 by their bits, for which TFLite has no operator.
- A vector that is added along the first spatial axis: Keras calls it a bias of channels_first, whose channels the
  converter transposes to the end and back, or refuses.

They are found in the graph, whatever code of Keras or of the user made it; Keras itself runs unchanged. Graphs inside a
function that a layer has compiled itself (tf.function) are left alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from spiq_tf.tflite.lowering.tensorflow_graph import NewNodes, with_replaced

_Rewrite = Callable[[Any, NewNodes], str | None]
"""Adds the nodes that compute an operation's output otherwise; returns the name of the last, or None where it is not of
the form."""


def converter_friendly(traced: Any, variables: Sequence[Any]) -> Any:
    """A concrete function that computes the same, by operations that TFLite has.

    Args:
        traced: a concrete function of static shapes.
        variables: those that it may read.

    Returns:
        The given one where there is nothing to rewrite.
    """
    nodes, replaced = NewNodes(), {}
    for operation in traced.graph.get_operations():
        rewrite = _REWRITES.get(operation.type)
        if rewrite is not None and (output := rewrite(operation, nodes)) is not None:
            replaced[operation.name] = output
    return with_replaced(traced, variables, nodes, replaced) if replaced else traced


def _path(operation: Any, *steps: tuple[int, str]) -> list[Any] | None:
    """The producers upstream of an operation, each of an operand of the one before: those of the given kinds.

    Args:
        operation: where the path begins.
        steps: the index of an operand, and the type of the operation that must have made it.

    Returns:
        One operation a step; None where one is of another type.
    """
    producers: list[Any] = []
    for index, kind in steps:
        operation = operation.inputs[index].op
        if operation.type != kind:
            return None
        producers.append(operation)
    return producers


def _is_same(x: Any, y: Any) -> bool:
    return bool(x.name == y.name)


def _joint_softmax(operation: Any, nodes: NewNodes) -> str | None:
    """exp(x - (log(sum(exp(x - m))) + m)), whatever m is, with a sum over several axes."""
    path = _path(operation, (0, "Sub"), (1, "AddV2"), (0, "Log"), (0, "Sum"), (0, "Exp"), (0, "Sub"))
    if path is None:
        return None
    difference, total, _, summation, _, shifted = path
    x = difference.inputs[0]
    axes = tf.get_static_value(summation.inputs[1])
    same = _is_same(x, shifted.inputs[0]) and _is_same(total.inputs[1], shifted.inputs[1])
    if not same or np.size(axes) < 2 or not summation.get_attr("keep_dims") or not x.shape.is_fully_defined():
        return None
    rank, name = len(x.shape), operation.name
    joined = [int(axis) % rank for axis in axes]
    order = [*(axis for axis in range(rank) if axis not in joined), *joined]
    shape = [x.shape[axis] for axis in order]
    flat = [*shape[: -len(joined)], int(np.prod(shape[-len(joined) :]))]
    y = nodes.transpose(f"{name}/transpose", x.name, order, x.dtype)
    y = nodes.reshape(f"{name}/reshape", y, flat, x.dtype)
    y = nodes.operation(f"{name}/softmax", "Softmax", [y], T=x.dtype)
    y = nodes.reshape(f"{name}/reshape_back", y, shape, x.dtype)
    return nodes.transpose(f"{name}/transpose_back", y, [order.index(axis) for axis in range(rank)], x.dtype)


def _nearest_upsampling(operation: Any, nodes: NewNodes) -> str | None:
    """Columns repeated after rows: each an axis that is inserted, tiled, and merged with the one before."""
    repeated = ((0, "Tile"), (0, "ExpandDims"))
    path = _path(operation, *repeated, (0, "Reshape"), *repeated)
    if path is None:
        return None
    column_tile, column_axis, rows, row_tile, row_axis = path
    x, y = row_axis.inputs[0], operation.outputs[0]
    inserted = [tf.get_static_value(expansion.inputs[1]) for expansion in (row_axis, column_axis)]
    if inserted != [2, 3] or len(x.shape) != 4 or len(y.shape) != 4:
        return None
    batch, height, width, channels = x.shape
    expected = {
        row_tile: (batch, height, y.shape[1] // height, width, channels),
        rows: (batch, y.shape[1], width, channels),
        column_tile: (batch, y.shape[1], width, y.shape[2] // width, channels),
        operation: (batch, *y.shape[1:3], channels),
    }
    if any(producer.outputs[0].shape != shape for producer, shape in expected.items()):
        return None
    inputs = (x.name, nodes.constant(f"{operation.name}/size", y.shape[1:3]))
    return nodes.operation(f"{operation.name}/resize", "ResizeNearestNeighbor", inputs, T=x.dtype)


def _signed_zeros(operation: Any, nodes: NewNodes) -> str | None:
    """A tensor in which -0, which differs from 0 in its bits, becomes the next number below: the tensor itself."""
    path = _path(operation, (0, "LogicalAnd"), (0, "Equal"))
    _, value, x = operation.inputs
    value = tf.get_static_value(value)
    if path is None or not _is_same(path[1].inputs[0], x) or value is None:
        return None
    if np.any(np.abs(value) > np.finfo(np.float32).tiny):
        return None
    return nodes.operation(f"{operation.name}/unchanged", "Identity", [x.name], T=x.dtype)


def _row_bias(operation: Any, nodes: NewNodes) -> str | None:
    """A bias of channels_first as an addition."""
    if operation.get_attr("data_format") != b"NCHW":
        return None
    value, bias = operation.inputs
    shape = (-1, *[1] * (len(value.shape) - 2))
    reshaped = nodes.reshape(f"{operation.name}/reshape", bias.name, shape, bias.dtype)
    return nodes.operation(f"{operation.name}/add", "AddV2", (value.name, reshaped), T=value.dtype)


_REWRITES: Mapping[str, _Rewrite] = {
    "Exp": _joint_softmax,
    "Reshape": _nearest_upsampling,
    "SelectV2": _signed_zeros,
    "BiasAdd": _row_bias,
}
"""By the type of the operation whose output is computed otherwise."""

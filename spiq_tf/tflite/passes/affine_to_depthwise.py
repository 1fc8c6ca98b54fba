"""MUL and ADD by a constant for each channel -> DEPTHWISE_CONV_2D of one tap.

A BatchNorm that no convolution can take (after a concatenation or an addition, before an activation) would be two int8
operators with a range in between, and its constants would share one int8 scale. As a depthwise convolution it is one
operator with exact weights, a 32-bit bias and a fused activation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.flatbuffer import FlatModel

ChannelVector = npt.NDArray[np.float32]
_NO_ACTIVATION = schema.ActivationFunctionType.NONE


@dataclass(frozen=True, kw_only=True)
class _Affine:
    """What an operator computes of its one input that is not constant: activation(factor x + offset).

    Attributes:
        input: index of that input.
        factor, offset: shape (channels,).
        activation: fused, of schema.ActivationFunctionType.
    """

    input: int
    factor: ChannelVector
    offset: ChannelVector
    activation: int


def affine_to_depthwise(flat: FlatModel) -> None:
    """Replaces, in place, every MUL, ADD or SUB of a feature map and constants, a chain of them by one operator.

    Given:
        s = MUL(x, factor), constant, one for each channel or a scalar
        y = ADD(s, offset)

    Result:
        y = DEPTHWISE_CONV_2D(x, factor, offset), of a window of 1 x 1
    """
    consumers = _only_consumers(flat)
    pending: dict[int, _Affine] = {}  # the first of a chain, by its output: the operators that follow are still to come
    result = []
    for operator in flat.operators:
        output = int(operator.outputs[0])
        affine = _affine(flat, operator)
        if affine is None:
            result.append(operator)
            continue
        if affine.input in pending:
            first = pending.pop(affine.input)
            factor, offset = first.factor * affine.factor, first.offset * affine.factor + affine.offset
            affine = _Affine(input=first.input, factor=factor, offset=offset, activation=affine.activation)
        consumer = consumers.get(output)
        if affine.activation == _NO_ACTIVATION and consumer is not None and _affine(flat, consumer) is not None:
            pending[output] = affine
        else:
            result.append(depthwise(flat, affine.input, output, affine.factor, affine.offset, affine.activation))
    flat.subgraph.operators = result


def depthwise(
    flat: FlatModel,
    value: int,
    output: int,
    factor: ChannelVector,
    offset: ChannelVector,
    activation: int = _NO_ACTIVATION,
) -> Any:
    """The operator output = activation(factor value + offset), with its constants.

    Args:
        flat: the file, which gets the constants; the operator is not yet in it.
        value, output: tensors of shape (batch, height, width, channels).
        factor, offset: shape (channels,).
        activation: fused, of schema.ActivationFunctionType.
    """
    name = flat.name(output)
    weights = flat.add_constant(f"{name}/factor", factor.reshape(1, 1, 1, -1).astype(np.float32))
    bias = flat.add_constant(f"{name}/offset", offset.astype(np.float32))
    options = schema.DepthwiseConv2DOptionsT(
        padding=schema.Padding.VALID, strideW=1, strideH=1, depthMultiplier=1, fusedActivationFunction=activation
    )
    return flat.operator(schema.BuiltinOperator.DEPTHWISE_CONV_2D, [value, weights, bias], output, options)


def is_pointwise_depthwise(flat: FlatModel, operator: Any) -> bool:
    """Whether the operator is a depthwise convolution of one tap: factor x + offset, for each channel."""
    options = operator.builtinOptions
    if flat.kind(operator) != "DEPTHWISE_CONV_2D" or (options.strideH, options.strideW) != (1, 1):
        return False
    value, weights, bias = (int(i) for i in operator.inputs)
    same_channels = flat.shape(value)[-1:] == flat.shape(weights)[-1:]
    return bias >= 0 and flat.is_constant(weights) and flat.shape(weights)[1:3] == (1, 1) and same_channels


def _only_consumers(flat: FlatModel) -> dict[int, Any]:
    """The consumer of each tensor that has one, the model's outputs counting as consumers."""
    count = flat.consumer_counts()
    return {int(i): operator for operator in flat.operators for i in operator.inputs if count[int(i)] == 1}


def _affine(flat: FlatModel, operator: Any) -> _Affine | None:
    """The operator as factor x + offset of a feature map, if it is one."""
    kind = flat.kind(operator)
    if kind not in ("MUL", "ADD", "SUB"):
        return None
    shape = flat.shape(int(operator.outputs[0]))
    constant = [flat.is_constant(int(i)) for i in operator.inputs]
    value, other = (int(operator.inputs[constant.index(c)]) if c in constant else -1 for c in (False, True))
    if value < 0 or other < 0 or len(shape) != 4 or flat.shape(value) != shape:
        return None
    numbers = flat.value(other)
    if numbers.size not in (1, shape[-1]) or (numbers.size > 1 and numbers.shape[-1] != numbers.size):
        return None
    channels = numbers.reshape(-1) * np.ones(shape[-1], np.float32)
    factor, offset = _factor_and_offset(kind, channels, constant[0])
    activation = operator.builtinOptions.fusedActivationFunction
    return _Affine(input=value, factor=factor, offset=offset, activation=activation)


def _factor_and_offset(kind: str, constant: ChannelVector, constant_first: bool) -> tuple[ChannelVector, ChannelVector]:
    """Of MUL, ADD or SUB with a constant of shape (channels,)."""
    one, zero = np.ones_like(constant), np.zeros_like(constant)
    if kind == "MUL":
        return constant, zero
    if kind == "ADD":
        return one, constant
    return (-one, constant) if constant_first else (one, -constant)

"""MUL and ADD by a constant a channel -> DEPTHWISE_CONV_2D of one tap.

A BatchNorm that no convolution can take (behind a concatenation or an addition, in front of an activation) would be
two int8 operators with a range in between, and its constants would share one int8 scale. As a depthwise convolution it
is one operator with exact weights, a 32-bit bias and an activation of its own.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.flatbuffer import FlatModel

ChannelVector = npt.NDArray[np.float32]
_PLAIN = schema.ActivationFunctionType.NONE


@dataclass(frozen=True)
class _Affine:
    """What an operator computes of its only input that is no constant; factor and offset of shape (channels,)."""

    input: int
    factor: ChannelVector
    offset: ChannelVector
    activation: int


def affine_to_depthwise(flat: FlatModel) -> None:
    """Replaces, in place, every MUL, ADD or SUB of constants, a chain of them by one operator."""
    consumers = _readers(flat)
    pending: dict[int, _Affine] = {}  # of a MUL, by the tensor that it makes: its ADD is still to come
    result = []
    for operator in flat.operators:
        output = int(operator.outputs[0])
        own = _affine(flat, operator)
        if own is None:
            result.append(operator)
            continue
        if own.input in pending:
            first = pending.pop(own.input)
            own = _Affine(
                first.input, first.factor * own.factor, first.offset * own.factor + own.offset, own.activation
            )
        behind = consumers.get(output)
        if own.activation == _PLAIN and behind is not None and _affine(flat, behind) is not None:
            pending[output] = own
        else:
            result.append(depthwise(flat, own.input, output, own.factor, own.offset, own.activation))
    flat.subgraph.operators = result


def depthwise(
    flat: FlatModel, value: int, output: int, factor: ChannelVector, offset: ChannelVector, activation: int = _PLAIN
) -> Any:
    """The operator output = activation(factor value + offset), with its constants.

    Args:
        flat: the file, which gets the constants; the operator is not yet in it.
        value, output: tensors of shape (batch, height, width, channels).
        factor, offset: shape (channels,).
        activation: fused.
    """
    name = flat.name(output)
    weights = flat.add_constant(f"{name}/factor", factor.reshape(1, 1, 1, -1).astype(np.float32))
    bias = flat.add_constant(f"{name}/offset", offset.astype(np.float32))
    options = schema.DepthwiseConv2DOptionsT(
        padding=schema.Padding.VALID, strideW=1, strideH=1, depthMultiplier=1, fusedActivationFunction=activation
    )
    return flat.operator(schema.BuiltinOperator.DEPTHWISE_CONV_2D, [value, weights, bias], output, options)


def is_pointwise_depthwise(flat: FlatModel, operator: Any) -> bool:
    """Whether the operator is factor x + offset a channel, as a depthwise convolution of one tap is."""
    options = operator.builtinOptions
    if flat.kind(operator) != "DEPTHWISE_CONV_2D" or (options.strideH, options.strideW) != (1, 1):
        return False
    value, weights, bias = (int(i) for i in operator.inputs)
    same_channels = flat.shape(value)[-1:] == flat.shape(weights)[-1:]
    return bias >= 0 and flat.is_constant(weights) and flat.shape(weights)[1:3] == (1, 1) and same_channels


def _readers(flat: FlatModel) -> dict[int, Any]:
    """The operator that reads each tensor of which there is one reader, the model's outputs counting as one."""
    count = flat.consumer_counts()
    return {int(i): operator for operator in flat.operators for i in operator.inputs if count[int(i)] == 1}


def _affine(flat: FlatModel, operator: Any) -> _Affine | None:
    """The operator as factor x + offset of maps, if it is one."""
    kind = flat.kind(operator)
    if kind not in ("MUL", "ADD", "SUB"):
        return None
    shape = flat.shape(int(operator.outputs[0]))
    constant = [flat.is_constant(int(i)) for i in operator.inputs]
    value, other = (int(operator.inputs[constant.index(c)]) if c in constant else -1 for c in (False, True))
    if value < 0 or other < 0 or len(shape) != 4 or flat.shape(value) != shape:
        return None
    found = flat.value(other)
    if found.size not in (1, shape[-1]) or (found.size > 1 and found.shape[-1] != found.size):
        return None
    channels = found.reshape(-1) * np.ones(shape[-1], np.float32)
    one, zero = np.ones_like(channels), np.zeros_like(channels)
    if kind == "MUL":
        factor, offset = channels, zero
    elif kind == "ADD":
        factor, offset = one, channels
    else:
        factor, offset = (-one, channels) if constant[0] else (one, -channels)
    return _Affine(value, factor, offset, operator.builtinOptions.fusedActivationFunction)

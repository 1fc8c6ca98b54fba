"""Inputs that take pixels as they come: byte p is integer p, and a Rescaling in front is in scale and zero point.

Readers of TFLite files copy an image's bytes into a uint8 input as they are. So the step of such an input is that of
the pixels, to the last bit, and a Rescaling needs no operator: that p stands for factor p + offset is what scale and
zero point say. The zero point is a whole number, which -offset / factor need not be (127.5 for pixels in [-1, 1]); what
that leaves, the same for all pixels, is added to the biases of the convolutions that read them.
"""

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.distributions.values import Array, ChannelRanges, InputStatistics, Moments
from spiq_tf.errors import PixelBytesWarning
from spiq_tf.graph.layer_graph import LayerGraph
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.lowering.lower import LoweredModel
from spiq_tf.tflite.operators.table import WEIGHTED_OPERATORS
from spiq_tf.tflite.passes.affine_to_depthwise import ChannelVector, is_pointwise_depthwise

_LARGEST = 255  # pixel
_STEPS = 2.0  # that bytes may be off: 1.5 where half-way values are avoided
_SAME = 1e-5  # relative: steps of two channels that float32 makes differ by less are one


@dataclass(frozen=True)
class PixelInputs:
    """What is changed by inputs that take pixels.

    Attributes:
        ranges: of every activation's channels, by tensor index.
        fed: what the file's inputs stand for, in the order of the model's: behind a Rescaling that it took in.
        offsets: by how much the model's values are larger than the file's, by index of the tensor.
    """

    ranges: Mapping[int, ChannelRanges]
    fed: Sequence[InputStatistics]
    offsets: Mapping[int, float]


def take_pixel_inputs(
    lowered: LoweredModel, graph: LayerGraph, ranges: Mapping[int, ChannelRanges], inputs: Sequence[InputStatistics]
) -> PixelInputs:
    """Gives the inputs that may be images the step of their pixels, and takes Rescalings in, in place.

    Only where convolutions alone read them, which can make up for the offset, and with one range for all channels.
    A zero point half-way between two integers is rounded down: pixels in [-1, 1] that are quantized by scale and zero
    point, halves rounded up, are then the bytes again.

    Args:
        lowered: the float file; its flatbuffer is changed.
        graph: the model.
        ranges: of every activation, by tensor index.
        inputs: what is known of the model's inputs, in its order.
    """
    flat, rescaled = lowered.flat, _rescaled_tensors(lowered, graph)
    found, fed, offsets = dict(ranges), list(inputs), {}
    for place, (index, known) in enumerate(zip(map(int, flat.subgraph.inputs), inputs, strict=True)):
        rescaling = _rescaling(flat, index, rescaled)
        entry = index if rescaling is None else int(rescaling.outputs[0])
        behind = (
            known if rescaling is None else _rescaled(known, flat.channels(rescaling, 1), flat.channels(rescaling, 2))
        )
        grid = _grid(behind.range)
        padded = _convolved(flat, entry)
        if len(flat.shape(index)) != 4:
            continue
        if grid is None or padded is None:
            _warn_of_bytes(graph.input_names[place], known.range, found[index])
            continue
        step, zero_point = grid
        whole = ChannelRanges(
            np.array([-zero_point * step]), np.array([(_LARGEST - zero_point) * step]), behind.range.source
        )
        for tensor in (entry, *padded):
            found[tensor] = whole
            offsets[tensor] = float(behind.range.low[0]) + zero_point * step
        if rescaling is not None:
            fed[place] = behind
            flat.subgraph.operators = [o for o in flat.operators if o is not rescaling]
            flat.subgraph.inputs = np.array([entry if i == index else int(i) for i in flat.subgraph.inputs], np.int32)
    return PixelInputs(found, fed, offsets)


def _rescaled_tensors(lowered: LoweredModel, graph: LayerGraph) -> frozenset[int]:
    """Indices of the tensors that a Rescaling or Normalization makes."""
    made = {node.output.name for node in graph.nodes if node.primitive.is_fixed_affine}
    return frozenset(index for index, held in lowered.tensors.items() if held.name in made)


def _rescaling(flat: FlatModel, index: int, rescaled: Collection[int]) -> Any | None:
    """The only operator that reads an input, where that is a Rescaling, factor x + offset with factor > 0."""
    consumers = flat.consumers(index)
    if len(consumers) != 1 or int(consumers[0].outputs[0]) not in rescaled or index in flat.subgraph.outputs:
        return None
    if not is_pointwise_depthwise(flat, consumers[0]):
        return None
    plain = consumers[0].builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.NONE
    return consumers[0] if plain and np.all(flat.channels(consumers[0], 1) > 0) else None


def _rescaled(known: InputStatistics, factor: ChannelVector, offset: ChannelVector) -> InputStatistics:
    def moved(value: Array) -> Array:
        return factor.astype(np.float64) * value + offset

    own = known.range
    moments = Moments(moved(known.moments.mean), factor.astype(np.float64) ** 2 * known.moments.variance)
    return InputStatistics(moments, replace(own, low=moved(own.low), high=moved(own.high)))


def _grid(own: ChannelRanges) -> tuple[float, int] | None:
    """Step and zero point for which all 256 pixels are spread over the range; None where channels differ."""
    steps = (own.high - own.low) / _LARGEST
    step = float(steps[0])
    alike = np.allclose(steps, step, rtol=_SAME, atol=0) and np.allclose(own.low, own.low[0], rtol=0, atol=_SAME * step)
    zero_point = math.ceil(-float(own.low[0]) / step - 0.5 - _SAME * _LARGEST)  # halves down: see `take_pixel_inputs`
    return (step, zero_point) if alike and 0 <= zero_point <= _LARGEST else None


def _warn_of_bytes(name: str, own: ChannelRanges, whole: ChannelRanges) -> None:
    """Warns where an image's bytes, copied as they are, would stand for something else than its pixels."""
    if len(own.low) not in (1, 3):
        return  # no image
    low, high = min(float(whole.low.min()), 0.0), float(whole.high.max())
    step = (high - low) / _LARGEST
    apart = np.max(np.abs([own.low - low, own.high - high])) / step
    if apart > _STEPS:
        text = (
            f"input {name!r}: copied as they are, an image's bytes would be up to {apart:.0f} steps off, since its"
            " channels have ranges of their own or 0 lies outside; quantize pixels by the input's scale and zero"
            " point, or put a Rescaling or Normalization layer into the model, so that it is fed 0..255"
        )
        warnings.warn(text, PixelBytesWarning, stacklevel=4)


def _convolved(flat: FlatModel, index: int) -> list[int] | None:
    """The padded copies of a tensor, if it and they are read by convolutions and paddings alone."""
    padded: list[int] = []
    consumers = flat.consumers(index)
    if not consumers or index in flat.subgraph.outputs:
        return None
    for operator in consumers:
        if flat.kind(operator) == "PAD":
            behind = _convolved(flat, int(operator.outputs[0]))
            if behind is None:
                return None
            padded += [int(operator.outputs[0]), *behind]
        elif flat.kind(operator) not in WEIGHTED_OPERATORS or not flat.is_constant(int(operator.inputs[1])):
            return None
    return padded

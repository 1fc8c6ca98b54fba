"""Inputs that take pixels as they come: byte p is integer p, and a Rescaling is in the input's scale and zero point.

Readers of TFLite files copy an image's bytes into a uint8 input as they are. So the scale of such an input is that of
the pixels, to the last bit, and a Rescaling needs no operator: that p stands for factor p + offset is what scale and
zero point say. The zero point is an integer, which -offset / factor need not be (127.5 for pixels in [-1, 1]); the
difference, the same for all pixels, is added to the biases of the convolutions that read them.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.distributions.values import Array, ChannelRanges, InputStatistics, Moments
from spiq_tf.errors import PixelBytesWarning, warn_user
from spiq_tf.quantization.bit_width import UINT8
from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.passes.affine_to_depthwise import is_pointwise_depthwise
from spiq_tf.tflite.state import FileState

_TOLERATED_STEPS = 2.0  # that bytes may be off: 1.5 where the range is widened to bring pixels onto the grid
_SAME = 1e-5  # relative: scales of two channels that float32 makes differ by less are one


def take_pixel_inputs(state: FileState) -> None:
    """Gives the inputs that may be images the scale and zero point of their pixels, and takes Rescalings in, in place.

    Only where convolutions alone read them, which can make up for the offset, and with one range for all channels.
    A zero point half-way between two integers is rounded down: pixels in [-1, 1] that are quantized by scale and zero
    point, halves rounded up, are then the bytes again.

    Given:
        r = DEPTHWISE_CONV_2D(x, factor, offset), x an input of the file
        y = CONV_2D(r, w, bias)

    Result:
        y = CONV_2D(r, w, bias), r an input of the file, with the range of pixels and state.bias_offsets[r]

    Left alone where the file's inputs are not of uint8.
    """
    for place, index in enumerate(map(int, state.flat.subgraph.inputs) if state.uint8_inputs else ()):
        if len(state.flat.shape(index)) == 4:
            _take_pixels(state, place, index)


def _take_pixels(state: FileState, place: int, index: int) -> None:
    """Gives one input the scale of its pixels, or warns if an image's bytes would stand for other values.

    Args:
        state: the file.
        place: among the model's inputs.
        index: the input's tensor.
    """
    flat, statistics = state.flat, state.inputs[place]
    rescaling = _rescaling(state, index)
    if rescaling is not None:
        statistics = _rescaled(statistics, flat.channels(rescaling, 1), flat.channels(rescaling, 2))
    entry = index if rescaling is None else int(rescaling.outputs[0])
    pixels, padded = _pixel_parameters(statistics.range), _padded_copies(flat, entry)
    if pixels is None or padded is None:
        _warn_of_bytes(state.graph.input_names[place], state.inputs[place].range, state.ranges[index])
        return
    whole = ChannelRanges(np.array([pixels.low]), np.array([pixels.high]), statistics.range.source)
    for tensor in (entry, *padded):
        state.ranges[tensor] = whole
        state.bias_offsets[tensor] = float(statistics.range.low[0]) + pixels.zero_point * pixels.scale
    state.inputs[place] = statistics
    if rescaling is not None:
        flat.subgraph.operators = [o for o in flat.operators if o is not rescaling]
        flat.subgraph.inputs = np.array([entry if i == index else int(i) for i in flat.subgraph.inputs], np.int32)


def _rescaling(state: FileState, index: int) -> Any | None:
    """The only consumer of an input, where that is a Rescaling or Normalization: factor x + offset with factor > 0."""
    flat, consumers = state.flat, state.flat.consumers(index)
    rescaled = state.holding({node.output.name for node in state.graph.nodes if node.primitive.is_fixed_affine})
    if len(consumers) != 1 or int(consumers[0].outputs[0]) not in rescaled or index in flat.subgraph.outputs:
        return None
    if not is_pointwise_depthwise(flat, consumers[0]):
        return None
    plain = consumers[0].builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.NONE
    return consumers[0] if plain and np.all(flat.channels(consumers[0], 1) > 0) else None


def _rescaled(statistics: InputStatistics, factor: Array, offset: Array) -> InputStatistics:
    """Of factor x + offset; both of shape (channels,)."""

    def moved(value: Array) -> Array:
        return factor.astype(np.float64) * value + offset

    ranges = statistics.range
    variance = factor.astype(np.float64) ** 2 * statistics.moments.variance
    moments = Moments(moved(statistics.moments.mean), variance)
    return InputStatistics(moments, replace(ranges, low=moved(ranges.low), high=moved(ranges.high)))


def _pixel_parameters(ranges: ChannelRanges) -> QuantizationParameters | None:
    """Scale and zero point for which all 256 pixels are spread over the range; None where channels differ."""
    scales = (ranges.high - ranges.low) / UINT8.levels
    scale = float(scales[0])
    same_scale = np.allclose(scales, scale, rtol=_SAME, atol=0)
    same = same_scale and np.allclose(ranges.low, ranges.low[0], rtol=0, atol=_SAME * scale)
    # halves are rounded down: see `take_pixel_inputs`
    zero_point = math.ceil(-float(ranges.low[0]) / scale - 0.5 - _SAME * UINT8.levels)
    if not same or not UINT8.qmin <= zero_point <= UINT8.qmax:
        return None
    return QuantizationParameters(scale, zero_point, UINT8)


def _warn_of_bytes(name: str, ranges: ChannelRanges, whole: ChannelRanges) -> None:
    """Warns where an image's bytes, copied as they are, would stand for something else than its pixels.

    Args:
        name: of the input.
        ranges: of its channels.
        whole: the range that the file's input has.
    """
    if len(ranges.low) not in (1, 3):
        return  # no image
    low, high = min(float(whole.low.min()), 0.0), float(whole.high.max())
    scale = (high - low) / UINT8.levels
    apart = np.max(np.abs([ranges.low - low, ranges.high - high])) / scale
    if apart > _TOLERATED_STEPS:
        text = (
            f"input {name!r}: copied as they are, an image's bytes would be up to {apart:.0f} steps off, since its"
            " channels have ranges of their own or 0 lies outside; quantize pixels by the input's scale and zero"
            " point, or put a Rescaling or Normalization layer into the model, so that it is fed 0..255"
        )
        warn_user(text, PixelBytesWarning)


def _padded_copies(flat: FlatModel, index: int) -> list[int] | None:
    """The padded copies of a tensor, if it and they are read by convolutions and paddings alone."""
    padded: list[int] = []
    consumers = flat.consumers(index)
    if not consumers or index in flat.subgraph.outputs:
        return None
    for operator in consumers:
        if flat.kind(operator) == "PAD":
            copies = _padded_copies(flat, int(operator.outputs[0]))
            if copies is None:
                return None
            padded += [int(operator.outputs[0]), *copies]
        elif flat.weights(operator) is None:
            return None
    return padded

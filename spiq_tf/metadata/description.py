"""The content of a file's TFLite Metadata, from the model and the options of the conversion."""

import re
from collections.abc import Sequence

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.values import Array, ChannelRanges, InputStatistics
from spiq_tf.graph.layer_graph import LayerGraph, Tensor
from spiq_tf.metadata.schema import ColorSpace
from spiq_tf.metadata.tflite_metadata import InputDescription, ModelDescription
from spiq_tf.options import Options
from spiq_tf.statistics.preprocessing import is_reversed
from spiq_tf.version import VERSION

_LARGEST_PIXEL = 255.0


def model_description(
    name: str, graph: LayerGraph, inputs: Sequence[InputStatistics], options: Options
) -> ModelDescription:
    """The metadata of a model's file.

    Args:
        name: of the model.
        graph: the model.
        inputs: ranges and moments of the file's inputs, in model units, in the model's order.
        options: what the user chose.
    """
    arguments = options.as_dict()
    labels = arguments.pop("labels")
    return ModelDescription(
        name=without_counter(name),
        text=f"Converted by spiq_tf {VERSION}, without data. Options:",
        options={**arguments, "spiq_tf": VERSION},
        inputs=[
            input_description(name, tensor, statistics)
            for name, tensor, statistics in zip(graph.input_names, graph.inputs, inputs, strict=True)
        ],
        output_names=graph.output_names,
        labels=labels,
    )


def without_counter(name: str) -> str:
    """A model's name, without the counter of names that Keras generates, which depends on what was built before."""
    return re.sub(r"^(functional|sequential)_\d+$", r"\1", name)


def input_description(name: str, tensor: Tensor, statistics: InputStatistics) -> InputDescription:
    """The metadata of an input; if it may be an image, with its normalization of pixels.

    Pixels of 0..255 are taken to fill the range of every channel: std = 255 / (high - low), mean = -low * std.

    Args:
        name: in the serving signature.
        tensor: the input; an image if it has height, width and 1 or 3 channels.
        statistics: its range and moments, in model units.
    """
    low, high = statistics.range.low, statistics.range.high
    if not _may_be_pixels(tensor, statistics):
        lows, highs = _per_channel_or_scalar(low, high)
        return InputDescription(name=name, text="real values, not yet quantized", low=lows, high=highs)
    std = _LARGEST_PIXEL / (high - low)
    mean = 0.0 - low * std  # not -low: a mean of 0 is not to be written as -0
    color_space, order = _colors(tensor, statistics.range)
    text = f"image, {order}; its real values are (pixel - mean) / std of pixels in 0..255"
    (lows, highs), (means, stds) = _per_channel_or_scalar(low, high), _per_channel_or_scalar(mean, std)
    return InputDescription(name=name, text=text, low=lows, high=highs, mean=means, std=stds, color_space=color_space)


def _colors(tensor: Tensor, statistics: ChannelRanges) -> tuple[ColorSpace, str]:
    """The schema has no name for reversed colors; readers refuse such a file rather than feed it the wrong order."""
    if tensor.channels == 1:
        return ColorSpace.GRAYSCALE, "one channel"
    if is_reversed(statistics):
        return ColorSpace.UNKNOWN, "channels in the order blue, green, red (BGR)"
    return ColorSpace.RGB, "channels in the order red, green, blue"


def _may_be_pixels(tensor: Tensor, statistics: InputStatistics) -> bool:
    """Height, width and 1 or 3 channels, and a range other than that of features that a layer standardizes."""
    features = np.allclose(
        statistics.range.high - statistics.range.low, 2 * priors.FEATURE_SIGMAS.value * statistics.moments.deviation
    )
    return len(tensor.shape) == 4 and tensor.channels in (1, 3) and not features


def _per_channel_or_scalar(first: Array, second: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """One number for all channels where they agree, else one per channel; of both as many, as readers require."""
    if np.all(first == first[0]) and np.all(second == second[0]):
        first, second = first[:1], second[:1]
    return tuple(map(float, first)), tuple(map(float, second))

"""Puts together what a file says of itself, from what the conversion knows."""

import re
from collections.abc import Sequence
from dataclasses import asdict

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
    """What the file of a model says of itself.

    Args:
        name: of the model.
        graph: the model.
        inputs: what is known of the file's inputs, in the order of the model's.
        options: what the user chose.
    """
    chosen = {**asdict(options), "target": options.target.name}
    labels = chosen.pop("labels")
    return ModelDescription(
        name=without_counter(name),
        text=f"Converted by spiq_tf {VERSION}, without data. Options:",
        options={**chosen, "spiq_tf": VERSION},
        inputs=[
            input_description(name, tensor, known)
            for name, tensor, known in zip(graph.input_names, graph.inputs, inputs, strict=True)
        ],
        output_names=graph.output_names,
        labels=labels,
    )


def without_counter(name: str) -> str:
    """A model's name; without the counter where Keras made it up, so that it does not tell what was built before."""
    return re.sub(r"^(functional|sequential)_\d+$", r"\1", name)


def input_description(name: str, tensor: Tensor, known: InputStatistics) -> InputDescription:
    """What is said of an input; where it may be an image, how its values are made of pixels.

    Pixels of 0..255 are taken to fill the range of every channel: std = 255 / (high - low), mean = -low * std.

    Args:
        name: in the serving signature.
        tensor: the input; an image if it has height, width and 1 or 3 channels.
        known: its range, and how far its values scatter.
    """
    low, high = known.range.low, known.range.high
    if not _may_be_pixels(tensor, known):
        return InputDescription(name, "real values, not yet quantized", *_alike(low, high))
    std = _LARGEST_PIXEL / (high - low)
    mean = 0.0 - low * std  # not -low: a mean of 0 is not to be written as -0
    color_space, order = _colors(tensor, known.range)
    text = f"image, {order}; its real values are (pixel - mean) / std of pixels in 0..255"
    return InputDescription(name, text, *_alike(low, high), *_alike(mean, std), color_space)


def _colors(tensor: Tensor, known: ChannelRanges) -> tuple[ColorSpace, str]:
    """The schema has no name for reversed colors; readers refuse such a file rather than feed it the wrong order."""
    if tensor.channels == 1:
        return ColorSpace.GRAYSCALE, "one channel"
    if is_reversed(known):
        return ColorSpace.UNKNOWN, "channels in the order blue, green, red (BGR)"
    return ColorSpace.RGB, "channels in the order red, green, blue"


def _may_be_pixels(tensor: Tensor, known: InputStatistics) -> bool:
    """Height, width and 1 or 3 channels, and a range that is not that of features which a layer standardises."""
    features = np.allclose(
        known.range.high - known.range.low, 2 * priors.FEATURE_SIGMAS.value * known.moments.deviation
    )
    return len(tensor.shape) == 4 and tensor.channels in (1, 3) and not features


def _alike(first: Array, second: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """One number for all channels where they agree, else one for each: of both, since readers want as many of each."""
    if np.all(first == first[0]) and np.all(second == second[0]):
        first, second = first[:1], second[:1]
    return tuple(map(float, first)), tuple(map(float, second))

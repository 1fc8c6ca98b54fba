"""Synthetic inputs: images whose amplitude falls with the spatial frequency as 1/f, and what is assumed of them."""

import functools
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from spiq_tf import priors
from spiq_tf.distributions.values import InputStatistics
from spiq_tf.graph.layer_graph import LayerGraph, Tensor
from spiq_tf.statistics.samples import SampleGap, Samples

_MAX_DIFFERENTIATED, _DIFFERENTIATED_LOCATIONS = 8, 224 * 224
"""Examples that are differentiated at most, and their spatial locations together: a matter of time."""

MIN_EXAMPLES, _MAX_EXAMPLES, _LOCATIONS = 4, 16, 4 * 224 * 224
"""Examples where they are compared with each other: fewer where they have many spatial locations."""

_TINY = 1e-30


def synthetic_samples(graph: LayerGraph, inputs: Mapping[str, InputStatistics]) -> Samples:
    """A few synthetic inputs of a model (fixed seed).

    Args:
        graph: the model.
        inputs: moments and range of each input, in model units, by tensor name.
    """
    random = np.random.default_rng(0)
    largest = max(math.prod(t.shape[1:-1]) for t in graph.inputs)
    differentiated = int(np.clip(_DIFFERENTIATED_LOCATIONS // largest, 1, _MAX_DIFFERENTIATED))
    count = differentiated
    if largest > 1 and _compares_examples(graph):
        count = max(differentiated, int(np.clip(_LOCATIONS // largest, MIN_EXAMPLES, _MAX_EXAMPLES)))
    examples = [{t.name: synthetic_input(t, inputs[t.name], random) for t in graph.inputs} for _ in range(count)]
    return Samples(inputs=examples, num_differentiated=differentiated, gap=synthetic_gap(), restores_batch_norms=True)


def synthetic_gap() -> SampleGap:
    """How much farther real images reach than synthetic ones."""
    return SampleGap(
        features=priors.SAMPLE_GAP.value,
        decoder=priors.DECODER_SAMPLE_GAP.value,
        intermediates=priors.OPAQUE_SAMPLE_GAP.value,
        few_values=priors.OPAQUE_SAMPLE_GAP_FEW_VALUES.value,
    )


def _compares_examples(graph: LayerGraph) -> bool:
    """Whether statistics over examples are taken: of averages over feature maps, of logits."""
    return any(node.primitive.varies_by_image and not node.output.is_feature_map for node in graph.nodes)


def synthetic_input(tensor: Tensor, channels: InputStatistics, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """An image whose amplitude falls with the spatial frequency as 1/f, as that of photographs does (Field, 1987).

    Without spatial locations it is white noise. Its channels are correlated, as those of photographs are.

    Args:
        tensor: the input.
        channels: mean, deviation and range of each channel, in model units; values beyond the range are clipped.
        random: source of the noise.

    Returns:
        Of the tensor's shape, but for the batch, which is 1.
    """
    shape = (1, *tensor.shape[1:])
    size = (*shape[:-1], tensor.channels + 1)  # one channel that all have in common
    noise = random.standard_normal(size)
    if tensor.is_feature_map:
        noise = _falling_with_frequency(noise)
    noise = noise / max(float(noise.std()), _TINY)
    if tensor.is_feature_map:
        brightness = random.standard_normal((*(1 for _ in size[1:-1]), size[-1]))
        noise = noise + np.sqrt(priors.BRIGHTNESS_VARIANCE.value) * brightness
    common = priors.IMAGE_CHANNEL_CORRELATION.value
    mixed = np.sqrt(1 - common) * noise[..., 1:] + np.sqrt(common) * noise[..., :1]
    scaled = channels.moments.mean + channels.moments.deviation * mixed
    return np.clip(scaled, channels.range.low, channels.range.high).astype(np.float32).reshape(shape)


def _falling_with_frequency(white: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """White noise (1, *spatial, channels), its amplitude multiplied by 1/f; the mean of each channel becomes 0."""
    axes = tuple(range(1, white.ndim - 1))
    frequencies = np.meshgrid(*(np.fft.fftfreq(white.shape[a]) for a in axes), indexing="ij", sparse=True)
    distance = np.sqrt(functools.reduce(np.add, (f**2 for f in frequencies), np.zeros(())))
    lowest = 1 / max((white.shape[a] for a in axes), default=1)
    amplitude = np.where(distance > 0, 1 / np.maximum(distance, lowest), 0.0)[None, ..., None]
    return np.fft.ifftn(np.fft.fftn(white, axes=axes) * amplitude, axes=axes).real

"""How noise on each tensor reaches the model's outputs, measured by differentiating the model.

No data is needed: the derivative hardly depends on the picture. On MobileNetV2, two ResNets, DS-CNN and an
EfficientNet, files whose gains were measured on a few random fields were as accurate as with gains measured on real
images.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import logging

from spiq_tf.capture import replay
from spiq_tf.graph import Call, LayerGraph, Tensor
from spiq_tf.noise import ALIKE, Gains
from spiq_tf.primitives.affine import BatchNorm
from spiq_tf.primitives.values import Array, InputChannels, Moments, Weights

_MOST_BATCHES = 8
_POSITIONS = 224 * 224  # of all batches together: bounds the time
_COMMON = 0.9  # correlation of an image's channels
_BLOCK = 3  # positions in each direction
_ENOUGH = 32  # positions, for statistics worth the name
_TINY = 1e-30


def measured_gains(
    graph: LayerGraph, inputs: Mapping[str, InputChannels], moments: Mapping[str, Moments]
) -> dict[str, Gains]:
    """Gains of the tensors that layer calls return, by tensor name; a tensor without a finite gradient is absent.

    With v a vector of random signs and J the derivative of the outputs, E[(v J)_i^2] = sum over outputs o of J_oi^2:
    one backward pass gives the gains of all tensors (Hutchinson, 1990).

    Args:
        graph: the model.
        inputs: what is assumed of its inputs, by tensor name.
        moments: of its tensors; noise counts relative to the power that they state for each output.
    """
    random = np.random.default_rng(0)
    largest = max(math.prod(t.shape[:-1]) for t in graph.inputs)
    batches = int(np.clip(_POSITIONS // largest, 1, _MOST_BATCHES))
    try:
        found = [_batch_gains(graph, inputs, moments, random) for _ in range(batches)]
    except (LookupError, tf.errors.OpError) as error:  # TensorFlow's own, where an operation has no gradient
        logging.warning("gains are taken from closed forms alone, the model cannot be differentiated: %s", error)
        return {}
    everywhere = set.intersection(*(set(gains) for gains in found))
    means = {name: Gains(*np.mean([gains[name] for gains in found], axis=0)) for name in sorted(everywhere)}
    return {name: g for name, g in means.items() if np.all(np.isfinite(g.rounding + g.lasting)) and g.rounding.any()}


def _batch_gains(
    graph: LayerGraph,
    inputs: Mapping[str, InputChannels],
    moments: Mapping[str, Moments],
    random: np.random.Generator,
) -> dict[str, tuple[Array, Array]]:
    """Both gains of every tensor that a gradient reaches, on one batch of random fields."""
    values: dict[str, Any] = {t.name: tf.constant(random_fields(t, inputs[t.name], random)) for t in graph.inputs}
    with keras.StatelessScope(), tf.GradientTape() as tape:  # a layer with state must not notice
        for field in values.values():
            tape.watch(field)
        for call in graph.calls:
            values |= {t.name: y for t, y in zip(call.outputs, _run(graph, call, values), strict=True)}
        target = tf.add_n([_signed_sum(values[t.name], moments[t.name], random) for t in graph.outputs])
    names = [name for name, value in values.items() if value.dtype == tf.float32]
    slopes = zip(names, tape.gradient(target, [values[name] for name in names]), strict=True)
    return {name: _gains(tf.convert_to_tensor(slope)) for name, slope in slopes if slope is not None}


def random_fields(tensor: Tensor, channels: InputChannels, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Fields whose amplitude falls with the spatial frequency as 1 / f, as that of photographs does (Field, 1987).

    Args:
        tensor: the input.
        channels: the mean, deviation and range that the fields have.
        random: source of the noise.

    Returns:
        Of the tensor's shape.
    """
    shape = tensor.shape
    axes = tuple(range(1, len(shape) - 1))
    white = random.standard_normal((*shape[:-1], tensor.channels + 1))
    frequencies = np.meshgrid(*(np.fft.fftfreq(shape[a]) for a in axes), indexing="ij", sparse=True)
    distance = np.sqrt(functools.reduce(np.add, (f**2 for f in frequencies), np.zeros(())))
    lowest = 1 / max((shape[a] for a in axes), default=1)
    falling = 1 / np.maximum(distance, lowest)[None, ..., None]
    field = np.fft.ifftn(np.fft.fftn(white, axes=axes) * falling, axes=axes).real if axes else white
    field = field / max(float(field.std()), _TINY)
    mixed = np.sqrt(1 - _COMMON) * field[..., 1:] + np.sqrt(_COMMON) * field[..., :1]
    scaled = channels.moments.mean + channels.moments.deviation * mixed
    return np.clip(scaled, channels.range.low, channels.range.high).astype(np.float32).reshape(shape)


def _run(graph: LayerGraph, call: Call, values: dict[str, Any]) -> list[Any]:
    """One layer call on the fields."""
    nodes = graph.nodes_of_call[call.index]
    if len(nodes) == 1 and isinstance(nodes[0].rule, BatchNorm):
        x = values[nodes[0].inputs[0].name]
        if math.prod(x.shape[:-1]) >= _ENOUGH:
            return [_normalised(x, nodes[0].rule, graph.weights)]
    return replay(call, values)


def _normalised(x: tf.Tensor, norm: BatchNorm, weights: Weights) -> tf.Tensor:
    """A BatchNorm of which the output has the moments that it states, whatever the fields are, so that the ReLUs behind
    it let as much pass as on real images; its derivative is that on real images too."""
    stated, factor = norm.moments((), weights), norm.factor(weights)
    mean, variance = tf.nn.moments(x, list(range(len(x.shape) - 1)))
    gamma = (stated.deviation * np.sign(factor)).astype(np.float32)
    usual = (x - mean) * gamma * tf.math.rsqrt(variance + _TINY) + stated.mean.astype(np.float32)
    passed = x * factor.astype(np.float32)
    return passed + tf.stop_gradient(usual - passed)


def _signed_sum(output: tf.Tensor, moments: Moments, random: np.random.Generator) -> tf.Tensor:
    """v y / |y|, v of random signs."""
    positions = tuple(output.shape)[:-1] or tuple(output.shape)  # a tensor of nothing but a batch has one channel
    power = float(np.sum(moments.variance + moments.mean**2)) * math.prod(positions)
    signs = random.choice(np.array([-1.0, 1.0], np.float32), size=output.shape)
    return tf.reduce_sum(tf.cast(output, tf.float32) * signs) / max(np.sqrt(power), _TINY)


def _gains(slope: tf.Tensor) -> tuple[Array, Array]:
    """Sums of squares over positions; for lasting noise, mixed with those over blocks that share their noise."""
    slope = slope if len(slope.shape) > 1 else slope[:, None]
    axes = list(range(len(slope.shape) - 1))
    alone = tf.reduce_sum(slope**2, axes).numpy().astype(np.float64)
    spatial = len(slope.shape) - 2
    if not 1 <= spatial <= 3:  # what tf.nn.pool takes
        return alone, alone
    padding = [(0, 0), *((0, -size % _BLOCK) for size in slope.shape[1:-1]), (0, 0)]
    window = [_BLOCK] * spatial
    means = tf.nn.pool(tf.pad(slope, padding), window, "AVG", strides=window, padding="VALID")
    together = tf.reduce_sum((means * _BLOCK**spatial) ** 2, axes).numpy().astype(np.float64)
    return alone, (1 - ALIKE) * alone + ALIKE * together

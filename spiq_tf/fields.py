"""The model run on random fields: what no weight states shows on them, without data."""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import logging

from spiq_tf.convolutions import linear_parts, replay_differentiable
from spiq_tf.graph import Call, LayerGraph, Tensor
from spiq_tf.head import made_of_pixels
from spiq_tf.primitives.affine import BatchNorm
from spiq_tf.primitives.linear import Linear
from spiq_tf.primitives.opaque import Opaque
from spiq_tf.primitives.values import Array, InputChannels, Moments, Weights

_MOST_BATCHES = 8
_POSITIONS = 224 * 224  # of all batches together: bounds the time
_MOST_VALUES = 500_000_000  # of all tensors together, which are held for the derivative: 2 GB
_COMMON = 0.9  # correlation of an image's channels
_BRIGHTNESS = 0.2
"""Variance of the means of images, on top of that within an image, which is 1; 0.4 in CIFAR-10, with which files come
out the same. What averages an image, inside a GroupNormalization, is cut where fields know nothing of it."""
_LITTLE = 0.25  # of the deviation: what the head of a network is predicted to vary is up to five times too much
_ENOUGH = 32  # positions of all batches together, for statistics worth the name
_TINY = 1e-30


@dataclass(frozen=True)
class FieldBatch:
    """One run of the model.

    Attributes:
        values: of the tensors, by name; the batch is 1.
        tape: what recorded the run, for one derivative.
    """

    values: Mapping[str, Any]
    tape: tf.GradientTape


def run_fields(graph: LayerGraph, inputs: Mapping[str, InputChannels]) -> Sequence[FieldBatch]:
    """The model on a few random fields (fixed seed); none where it is too large or an operation fails on them."""
    values = sum(math.prod(t.shape[1:]) for t in graph.tensors)
    if values > _MOST_VALUES:
        text = "statistics are taken from closed forms alone: random fields would hold %.1g values, more than %.1g"
        logging.warning(text, values, _MOST_VALUES)
        return ()
    random = np.random.default_rng(0)
    largest = max(math.prod(t.shape[1:-1]) for t in graph.inputs)
    count = int(np.clip(_POSITIONS // largest, 1, _MOST_BATCHES))
    try:
        return tuple(_run(graph, inputs, random) for _ in range(count))
    except tf.errors.OpError as error:
        logging.warning("statistics are taken from closed forms alone: the model fails on random fields: %s", error)
        return ()


def _run(graph: LayerGraph, inputs: Mapping[str, InputChannels], random: np.random.Generator) -> FieldBatch:
    values: dict[str, Any] = {t.name: tf.constant(random_fields(t, inputs[t.name], random)) for t in graph.inputs}
    with keras.StatelessScope(), tf.GradientTape() as tape:  # a layer with state must not notice
        for field in values.values():
            tape.watch(field)
        for call in graph.calls:
            values |= _called(graph, call, values)
    return FieldBatch(values, tape)


def random_fields(tensor: Tensor, channels: InputChannels, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """A field whose amplitude falls with the spatial frequency as 1 / f, as that of photographs does (Field, 1987).

    Args:
        tensor: the input.
        channels: the mean, deviation and range that the field has.
        random: source of the noise.

    Returns:
        Of the tensor's shape, but for the batch, which is 1.
    """
    shape = (1, *tensor.shape[1:])
    axes = tuple(range(1, len(shape) - 1))
    white = random.standard_normal((*shape[:-1], tensor.channels + 1))
    frequencies = np.meshgrid(*(np.fft.fftfreq(shape[a]) for a in axes), indexing="ij", sparse=True)
    distance = np.sqrt(functools.reduce(np.add, (f**2 for f in frequencies), np.zeros(())))
    lowest = 1 / max((shape[a] for a in axes), default=1)
    falling = np.where(distance > 0, 1 / np.maximum(distance, lowest), 0.0)[None, ..., None]
    field = np.fft.ifftn(np.fft.fftn(white, axes=axes) * falling, axes=axes).real if tensor.is_map else white
    field = field / max(float(field.std()), _TINY)
    if tensor.is_map:
        field = field + np.sqrt(_BRIGHTNESS) * random.standard_normal((*(1 for _ in axes), tensor.channels + 1))
    mixed = np.sqrt(1 - _COMMON) * field[..., 1:] + np.sqrt(_COMMON) * field[..., :1]
    scaled = channels.moments.mean + channels.moments.deviation * mixed
    return np.clip(scaled, channels.range.low, channels.range.high).astype(np.float32).reshape(shape)


def _called(graph: LayerGraph, call: Call, values: Mapping[str, Any]) -> dict[str, Any]:
    """What one layer call makes of the fields; of a convolution, what lies between its parts too."""
    first, *others = graph.nodes_of_call[call.index]
    x = values[first.inputs[0].name]
    if not others and isinstance(first.rule, BatchNorm) and math.prod(x.shape[:-1]) >= _ENOUGH:
        return {first.output.name: _normalised(x, first.rule, graph.weights)}
    linear = [node for node in (first, *others) if node.rule.is_linear]
    parts = linear_parts(call.layer, x) if linear else []
    if not parts or len(parts) != len(linear):
        return {t.name: y for t, y in zip(call.outputs, replay_differentiable(call, values), strict=True)}
    found = {node.output.name: part for node, part in zip(linear, parts, strict=True)}
    activation = call.layer.activation
    return {**found, call.outputs[0].name: parts[-1] if activation is None else activation(parts[-1])}


def _normalised(x: tf.Tensor, norm: BatchNorm, weights: Weights) -> tf.Tensor:
    """A BatchNorm of which the output has the moments that it states, whatever the fields are, so that the ReLUs behind
    it let as much pass as on real images; its derivative is that on real images too."""
    stated, factor = norm.moments((), weights), norm.factor(weights)
    mean, variance = tf.nn.moments(x, list(range(len(x.shape) - 1)))
    gamma = (stated.deviation * np.sign(factor)).astype(np.float32)
    usual = (x - mean) * gamma * tf.math.rsqrt(variance + _TINY) + stated.mean.astype(np.float32)
    passed = x * factor.astype(np.float32)
    return passed + tf.stop_gradient(usual - passed)


def shown_moments(graph: LayerGraph, batches: Sequence[FieldBatch]) -> dict[str, Moments]:
    """Moments of each channel of what the primitives make that learn from fields, on maps, by tensor name.

    Sums of alike terms vary more than sums of independent ones: on ESPNet, whose convolutions mostly have no BatchNorm
    of their own, fields show 0.8 to 1.4 times the real deviation, independent terms 0.3 to 0.8 times. Of averages over
    whole maps, and of all behind them, fields know too little; but a Dense layer that reads the pixels of an image sums
    what is alike.
    """
    found: dict[str, Moments] = {}
    pixels = made_of_pixels(graph.nodes, graph.inputs)
    for node in graph.nodes:
        values = [b.values[node.output.name] for b in batches if node.output.name in b.values]
        positions = math.prod(values[0].shape[1:-1]) if values else 0
        if positions == 1:
            sums_pixels = isinstance(node.rule, Linear) and node.inputs[0].name in pixels
            enough = sums_pixels and len(values) == _MOST_BATCHES
        else:
            enough = len(values) * positions >= _ENOUGH
        if not node.rule.learns_from_fields or not enough:
            continue
        flat = np.concatenate([np.asarray(v, np.float64).reshape(-1, v.shape[-1]) for v in values])
        if np.all(np.isfinite(flat)):
            found[node.output.name] = Moments(flat.mean(axis=0), flat.var(axis=0))
    return found


def read_by_unknown(
    graph: LayerGraph, batches: Sequence[FieldBatch], moments: Mapping[str, Moments]
) -> Sequence[Mapping[str, Array]]:
    """What the layers that no rule describes read on each field, by tensor name.

    Where there are no positions, that is Gaussians of the tensor's moments (fixed seed), of which every second varies
    a quarter as much: of what follows an average over a whole map, fields know too little, and moments so much too much
    that what divides by a norm would be cut.
    """
    read = {t.name: t for node in graph.nodes if isinstance(node.rule, Opaque) for t in node.inputs}
    random = np.random.default_rng(0)

    def shown(tensor: Tensor, batch: FieldBatch, varying: float) -> Array:
        value = np.asarray(batch.values[tensor.name], np.float64)
        if tensor.is_map or tensor in graph.inputs:
            return value
        own = moments[tensor.name]
        return own.mean + varying * own.deviation * random.standard_normal(value.shape)

    contrasts = itertools.cycle((1.0, _LITTLE))
    return [
        {name: shown(t, batch, contrast) for name, t in read.items() if name in batch.values}
        for batch, contrast in zip(batches, contrasts, strict=False)
    ]

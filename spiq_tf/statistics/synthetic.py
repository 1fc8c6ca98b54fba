"""The model run on random fields: what no weight states shows on them, without data."""

import contextlib
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import logging

from spiq_tf.distributions.values import Array, InputStatistics
from spiq_tf.execution.differentiable import linear_parts, run_differentiable
from spiq_tf.execution.executor import execute, input_tensors
from spiq_tf.graph.layer_graph import Call, LayerGraph, Tensor
from spiq_tf.primitives.affine import BatchNorm

_RECORDED, _RECORDED_POSITIONS = 8, 224 * 224  # fields that are differentiated at most, and their positions: time
FEWEST, _FIELDS, _POSITIONS = 4, 16, 4 * 224 * 224  # where images are compared: less where they have many positions
_MOST_VALUES = 500_000_000  # of all tensors together, which are held for the derivative: 2 GB
_COMMON = 0.9  # correlation of an image's channels
_BRIGHTNESS = 0.2
"""Variance of the means of images, on top of that within an image, which is 1; 0.4 in CIFAR-10, with which files come
out the same. What averages an image, inside a GroupNormalization, is cut where fields know nothing of it."""
ENOUGH = 32  # positions of all fields together, for statistics worth the name
_TINY = 1e-30


@dataclass(frozen=True)
class SampleRun:
    """One run of the model.

    Attributes:
        values: of the tensors, by name; the batch is 1. Without a tape, only of those that have no positions.
        tape: what recorded the run, for one derivative; None of a run that was not recorded.
    """

    values: Mapping[str, Any]
    tape: tf.GradientTape | None


def run_on_synthetic_inputs(graph: LayerGraph, inputs: Mapping[str, InputStatistics]) -> Sequence[SampleRun]:
    """The model on a few random fields (fixed seed); none where it is too large or an operation fails on them."""
    values = sum(math.prod(t.shape[1:]) for t in graph.tensors)
    if values > _MOST_VALUES:
        text = "statistics are taken from closed forms alone: random fields would hold %.1g values, more than %.1g"
        logging.warning(text, values, _MOST_VALUES)
        return ()
    random = np.random.default_rng(0)
    largest = max(math.prod(t.shape[1:-1]) for t in graph.inputs)
    recorded = int(np.clip(_RECORDED_POSITIONS // largest, 1, _RECORDED))
    compared = largest > 1 and any(
        node.primitive.varies_by_image and not node.output.is_feature_map for node in graph.nodes
    )
    count = max(recorded, int(np.clip(_POSITIONS // largest, FEWEST, _FIELDS))) if compared else recorded
    fields = [{t.name: synthetic_input(t, inputs[t.name], random) for t in graph.inputs} for _ in range(count)]
    try:
        return _run(graph, fields, recorded)
    except (tf.errors.OpError, _FixedBatchError) as error:
        logging.warning("statistics are taken from closed forms alone: the model fails on random fields: %s", error)
        return ()


class _FixedBatchError(Exception):
    """A layer that holds the number of examples takes no single field."""


def _run(
    graph: LayerGraph, fields: Sequence[Mapping[str, npt.NDArray[np.float32]]], recorded: int
) -> tuple[SampleRun, ...]:
    """All fields side by side, call by call: a BatchNorm normalises them with the statistics of all.

    Normalised each by its own, all have the same average in front of a classifier, and scores that hardly vary.
    """
    runs: list[dict[str, Any]] = [{name: tf.constant(x) for name, x in field.items()} for field in fields]
    read_last = _maps_read_last(graph)

    def run_on_all(call: Call, values: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """One call on every field, and the maps that it reads last, of recorded runs alone."""
        inputs = [{t.name: values[t.name][k] for t in input_tensors(call)} for k in range(len(fields))]
        normalise = _normalisation(graph, call, inputs)
        made = [_called(graph, call, each, normalise) for each in inputs]
        found = {name: [each[name] for each in made] for name in made[0]}
        known = {**values, **found}
        return found | {name: known[name][:recorded] for name in read_last[call.index] if name in known}

    with contextlib.ExitStack() as open_tapes:
        tapes = [open_tapes.enter_context(tf.GradientTape(watch_accessed_variables=False)) for _ in range(recorded)]
        for tape, values in zip(tapes, runs, strict=False):
            for field in values.values():
                tape.watch(field)
        given = {name: [field[name] for field in runs] for name in runs[0]}
        values = execute(graph.calls, given, run_on_all)
    none = [None] * (len(runs) - recorded)
    of_runs = ({n: v[k] for n, v in values.items() if k < len(v)} for k in range(len(runs)))
    return tuple(SampleRun(of_run, tape) for of_run, tape in zip(of_runs, [*tapes, *none], strict=True))


def _maps_read_last(graph: LayerGraph) -> Mapping[int, Sequence[str]]:
    """The maps that no call after it reads, by the call's index."""
    last: dict[str, int] = {}
    for node in graph.nodes:
        last |= {t.name: node.call.index for t in (*node.inputs, node.output) if t.is_feature_map}
    found: dict[int, list[str]] = {call.index: [] for call in graph.calls}
    for name, index in last.items():
        found[index].append(name)
    return found


_Normalisation = Callable[[tf.Tensor], tf.Tensor]


def _normalisation(graph: LayerGraph, call: Call, runs: Sequence[Mapping[str, Any]]) -> _Normalisation | None:
    """Gives a BatchNorm's output the mean and variance that it states, whatever the fields are, so that the ReLUs
    behind let as much pass as on real images; its derivative is the layer's own factor.

    None of another layer, or where all fields together have too few values to normalise with.
    """
    first, *others = graph.nodes_of_call[call.index]
    if others or not isinstance(first.primitive, BatchNorm):
        return None
    read = [values[first.inputs[0].name] for values in runs]
    if sum(math.prod(x.shape[:-1]) for x in read) < ENOUGH:
        return None
    mean, variance = _moments([x.numpy() for x in read])
    stated, factor = first.primitive.moments((), graph.weights), first.primitive.factor(graph.weights)
    wanted = stated.deviation * np.sign(factor) / np.sqrt(variance + _TINY)
    scale, offset = tf.constant(wanted, tf.float32), tf.constant(stated.mean - mean * wanted, tf.float32)
    passed = tf.constant(factor, tf.float32)

    def normalise(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return x * scale + offset, lambda slope: slope * passed

    normalisation: _Normalisation = tf.custom_gradient(normalise)
    return normalisation


def _moments(values: Sequence[npt.NDArray[np.float32]]) -> tuple[npt.NDArray[np.float32], Array]:
    """Mean and variance of each channel over all of them, which are of one size; in numpy, twice as fast here."""
    flat = [x.reshape(-1, x.shape[-1]) for x in values]
    means = np.stack([x.mean(axis=0) for x in flat])
    within = np.stack([sum_of_squares(x - m) / len(x) for x, m in zip(flat, means, strict=True)])
    return means.mean(axis=0), within.mean(axis=0) + means.var(axis=0)


def sum_of_squares(values: npt.NDArray[np.float32]) -> Array:
    """Of each channel."""
    flat = values.reshape(-1, values.shape[-1])
    return np.einsum("pc,pc->c", flat, flat).astype(np.float64)


def synthetic_input(tensor: Tensor, channels: InputStatistics, random: np.random.Generator) -> npt.NDArray[np.float32]:
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
    field = np.fft.ifftn(np.fft.fftn(white, axes=axes) * falling, axes=axes).real if tensor.is_feature_map else white
    field = field / max(float(field.std()), _TINY)
    if tensor.is_feature_map:
        field = field + np.sqrt(_BRIGHTNESS) * random.standard_normal((*(1 for _ in axes), tensor.channels + 1))
    mixed = np.sqrt(1 - _COMMON) * field[..., 1:] + np.sqrt(_COMMON) * field[..., :1]
    scaled = channels.moments.mean + channels.moments.deviation * mixed
    return np.clip(scaled, channels.range.low, channels.range.high).astype(np.float32).reshape(shape)


def _called(
    graph: LayerGraph, call: Call, values: Mapping[str, Any], normalise: _Normalisation | None
) -> dict[str, Any]:
    """What one layer call makes of the fields; of a convolution, what lies between its parts too."""
    first, *others = graph.nodes_of_call[call.index]
    x = values[first.inputs[0].name]
    if normalise is not None:
        return {first.output.name: normalise(x)}
    linear = [node for node in (first, *others) if node.primitive.is_linear]
    parts = linear_parts(call.layer, x) if linear else []
    if not parts or len(parts) != len(linear):
        made = run_differentiable(call, values)
        for tensor in call.outputs:
            y = made[tensor.name]
            if tuple(y.shape[1:]) != tensor.shape[1:]:
                raise _FixedBatchError(
                    f"layer {call.name!r} makes the shape {tuple(y.shape)} of one example: expected {tensor.shape[1:]}"
                    " for each; use -1 for the number of examples"
                )
        return made
    found = {node.output.name: part for node, part in zip(linear, parts, strict=True)}
    activation = call.layer.activation
    return {**found, call.outputs[0].name: parts[-1] if activation is None else activation(parts[-1])}

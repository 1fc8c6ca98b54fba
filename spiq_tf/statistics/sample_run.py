"""The model run on samples, layer call by layer call, recorded so that it can be differentiated."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import logging

from spiq_tf import priors
from spiq_tf.distributions.values import Array
from spiq_tf.execution.differentiable import linear_parts, run_differentiable
from spiq_tf.execution.executor import CallFunction, execute, input_tensors
from spiq_tf.graph.layer_graph import Call, LayerGraph
from spiq_tf.statistics.samples import SampleRun, Samples

_MAX_VALUES = 500_000_000
"""Values of all tensors of one example together, which are held for the derivative: 2 GB."""

_TINY = 1e-30

_Restoration: TypeAlias = Callable[[tf.Tensor], tf.Tensor]


def run_samples(graph: LayerGraph, samples: Samples) -> Sequence[SampleRun]:
    """The model on each example; no runs where the model is too large, or an operation fails on them.

    Args:
        graph: the model.
        samples: what it is run on.
    """
    if not samples.inputs:
        return ()
    values = sum(math.prod(t.shape[1:]) for t in graph.tensors)
    if values > _MAX_VALUES:
        text = "statistics are taken from closed forms alone: a run of the model would hold %.1g values, more than %.1g"
        logging.warning(text, values, _MAX_VALUES)
        return ()
    try:
        return _run(graph, samples)
    except (tf.errors.OpError, _FixedBatchError) as error:
        logging.warning("statistics are taken from closed forms alone: the model fails on the samples: %s", error)
        return ()


class _FixedBatchError(Exception):
    """A layer that holds the number of examples in its weights or shapes does not take a single example."""


def _run(graph: LayerGraph, samples: Samples) -> tuple[SampleRun, ...]:
    """All examples side by side, call by call: a BatchNorm is restored with the statistics of all of them.

    Restored with its own, all would have the same averages before a classifier, and logits that hardly vary.
    """
    count, recorded = len(samples.inputs), samples.num_differentiated
    inputs = {name: [tf.constant(example[name]) for example in samples.inputs] for name in samples.inputs[0]}
    with contextlib.ExitStack() as open_tapes:
        tapes = [open_tapes.enter_context(tf.GradientTape(watch_accessed_variables=False)) for _ in range(recorded)]
        for index, tape in enumerate(tapes):
            for examples in inputs.values():
                tape.watch(examples[index])
        values = execute(graph.calls, inputs, _run_on_all(graph, samples))
    of_runs = ({name: each[k] for name, each in values.items() if k < len(each)} for k in range(count))
    none = [None] * (count - recorded)
    return tuple(SampleRun(of_run, tape) for of_run, tape in zip(of_runs, [*tapes, *none], strict=True))


def _run_on_all(graph: LayerGraph, samples: Samples) -> CallFunction:
    """Runs one call on all examples; of the feature maps that it reads last, the recorded runs alone keep theirs.

    Values are lists, an element for each example.
    """
    read_last = _feature_maps_read_last(graph)

    def run(call: Call, values: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        inputs = [{t.name: values[t.name][k] for t in input_tensors(call)} for k in range(len(samples.inputs))]
        restoration = _restoration(graph, call, inputs) if samples.restores_batch_norms else None
        outputs = [_called(graph, call, each, restoration) for each in inputs]
        by_name = {name: [each[name] for each in outputs] for name in outputs[0]}
        all_values = {**values, **by_name}
        recorded = samples.num_differentiated
        return by_name | {name: all_values[name][:recorded] for name in read_last[call.index] if name in all_values}

    return run


def _feature_maps_read_last(graph: LayerGraph) -> Mapping[int, Sequence[str]]:
    """The feature maps that no later call reads, by the call's index."""
    last: dict[str, int] = {}
    for node in graph.nodes:
        last |= {t.name: node.call.index for t in (*node.inputs, node.output) if t.is_feature_map}
    names: dict[int, list[str]] = {call.index: [] for call in graph.calls}
    for name, index in last.items():
        names[index].append(name)
    return names


def _restoration(graph: LayerGraph, call: Call, runs: Sequence[Mapping[str, Any]]) -> _Restoration | None:
    """Gives a BatchNorm's output the mean and variance that it states, whatever the samples are, so that as much passes
    the ReLUs after it as on real images; its derivative is the layer's own factor.

    None of another layer, or where all examples together have too few values for moments.
    """
    first, *others = graph.nodes_of_call[call.index]
    norm = first.primitive.as_batch_norm
    if others or norm is None:
        return None
    inputs = [values[first.inputs[0].name] for values in runs]
    if sum(math.prod(x.shape[:-1]) for x in inputs) < priors.MIN_LOCATIONS.value:
        return None
    mean, variance = _moments([x.numpy() for x in inputs])
    stated, factor = norm.moments((), graph.weights), norm.factor(graph.weights)
    signed = stated.deviation * np.sign(factor) / np.sqrt(variance + _TINY)
    scale, offset = tf.constant(signed, tf.float32), tf.constant(stated.mean - mean * signed, tf.float32)
    slope = tf.constant(factor, tf.float32)

    def restore(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return x * scale + offset, lambda gradient: gradient * slope

    restoration: _Restoration = tf.custom_gradient(restore)
    return restoration


def _moments(values: Sequence[npt.NDArray[np.float32]]) -> tuple[npt.NDArray[np.float32], Array]:
    """Mean and variance of each channel over all of them, which are of one size; in numpy, twice as fast here."""
    flat = [x.reshape(-1, x.shape[-1]) for x in values]
    means = np.stack([x.mean(axis=0) for x in flat])
    within = np.stack([sum_of_squares(x - m) / len(x) for x, m in zip(flat, means, strict=True)])
    return means.mean(axis=0), within.mean(axis=0) + means.var(axis=0)


def sum_of_squares(values: npt.NDArray[np.float32]) -> Array:
    """Of each channel: values (..., channels), result (channels,)."""
    flat = values.reshape(-1, values.shape[-1])
    return np.einsum("pc,pc->c", flat, flat).astype(np.float64)


def _called(
    graph: LayerGraph, call: Call, values: Mapping[str, Any], restoration: _Restoration | None
) -> dict[str, Any]:
    """The outputs of one layer call; of a convolution, the tensors between its primitives too."""
    first, *others = graph.nodes_of_call[call.index]
    x = values[first.inputs[0].name]
    if restoration is not None:
        return {first.output.name: restoration(x)}
    linear = [node for node in (first, *others) if node.primitive.is_linear]
    parts = linear_parts(call.layer, x) if linear else []
    if not parts or len(parts) != len(linear):
        return _layer_outputs(call, values)
    activation = call.layer.activation
    outputs = {node.output.name: part for node, part in zip(linear, parts, strict=True)}
    return {**outputs, call.outputs[0].name: parts[-1] if activation is None else activation(parts[-1])}


def _layer_outputs(call: Call, values: Mapping[str, Any]) -> dict[str, Any]:
    outputs = run_differentiable(call, values)
    for tensor in call.outputs:
        y = outputs[tensor.name]
        if tuple(y.shape[1:]) != tensor.shape[1:]:
            raise _FixedBatchError(
                f"layer {call.name!r} makes the shape {tuple(y.shape)} of one example: expected {tensor.shape[1:]}"
                " for each; use -1 for the number of examples"
            )
    return outputs

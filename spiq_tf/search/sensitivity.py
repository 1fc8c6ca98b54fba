"""Noise gains of each tensor, measured by differentiating the model.

No data is needed: the derivative hardly depends on the image. On MobileNetV2, two ResNets, DS-CNN and an EfficientNet,
files whose gains were measured on a few synthetic inputs were as accurate as with gains measured on real images.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from spiq_tf import priors
from spiq_tf.distributions.values import Array, Moments
from spiq_tf.graph.layer_graph import LayerGraph
from spiq_tf.search.noise_gain import Gains, loss_tensors
from spiq_tf.statistics.sample_run import sum_of_squares
from spiq_tf.statistics.samples import SampleRun

_TINY = 1e-30


def measured_gains(graph: LayerGraph, batches: Sequence[SampleRun], moments: Mapping[str, Moments]) -> dict[str, Gains]:
    """Gains of the tensors that were computed on synthetic inputs, by name; one without a finite gradient is absent.

    With v a vector of random signs and J the derivative of the outputs, E[(v J)_i^2] = sum over outputs o of J_oi^2:
    one backward pass gives the gains of all tensors (Hutchinson, 1990).

    Args:
        graph: the model.
        batches: runs on synthetic inputs; those with a tape count.
        moments: of the tensors, in the model's units; noise counts relative to the power that they state for each
            output.
    """
    random = np.random.default_rng(1)
    try:
        gains = [_batch_gains(graph, b.values, b.tape, moments, random) for b in batches if b.tape is not None]
    except (LookupError, tf.errors.OpError) as error:  # TensorFlow's own, where an operation has no gradient
        logging.warning("gains are taken from closed forms alone, the model cannot be differentiated: %s", error)
        return {}
    in_all_batches = set.intersection(*(set(each) for each in gains)) if gains else set()
    means = {name: Gains(*np.mean([each[name] for each in gains], axis=0)) for name in sorted(in_all_batches)}
    return {name: g for name, g in means.items() if np.all(np.isfinite(g.white + g.correlated)) and g.white.any()}


def _batch_gains(
    graph: LayerGraph,
    values: Mapping[str, Any],
    tape: tf.GradientTape,
    moments: Mapping[str, Moments],
    random: np.random.Generator,
) -> dict[str, tuple[Array, Array]]:
    """White and correlated gains of every tensor that a gradient reaches, on one batch of synthetic inputs."""
    names = [name for name, value in values.items() if value.dtype == tf.float32]
    outputs = [t.name for t in loss_tensors(graph) if t.name in names]
    signs = [_signs(values[name], moments[name], random) for name in outputs]
    targets, sources = ([values[name] for name in chosen] for chosen in (outputs, names))
    slopes = zip(names, tape.gradient(targets, sources, signs), strict=True)
    return {name: _gains(tf.convert_to_tensor(slope)) for name, slope in slopes if slope is not None}


def _signs(output: tf.Tensor, moments: Moments, random: np.random.Generator) -> tf.Tensor:
    """v / |y|, v of random signs, of the output's shape."""
    locations = tuple(output.shape)[:-1] or tuple(output.shape)  # a tensor of nothing but a batch has one channel
    power = float(np.sum(moments.variance + moments.mean**2)) * math.prod(locations)
    signs = random.choice(np.array([-1.0, 1.0], np.float32), size=output.shape)
    return tf.constant(signs / np.float32(max(np.sqrt(power), _TINY)))


def _gains(slope: tf.Tensor) -> tuple[Array, Array]:
    """Sums of squares over spatial locations (white), and mixed with those over blocks of shared noise (correlated).

    Args:
        slope: derivative with a tensor, of the tensor's shape.

    Returns:
        White and correlated gains, both of shape (channels,).
    """
    values = slope.numpy()
    values = values if values.ndim > 1 else values[:, None]
    blocks, block = values, int(priors.CORRELATED_LOCATIONS.value)
    for axis in range(1, values.ndim - 1):
        blocks = np.add.reduceat(blocks, np.arange(0, values.shape[axis], block), axis=axis)
    white, fully_correlated = sum_of_squares(values), sum_of_squares(blocks)
    correlation = priors.NOISE_CORRELATION.value
    return white, (1 - correlation) * white + correlation * fully_correlated

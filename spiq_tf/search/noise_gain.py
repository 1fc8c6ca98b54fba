"""Noise gains: how much noise on a tensor adds to the noise of the model's outputs, without data.

Noise is counted as a variance, relative to the power of the output that it reaches. It comes from rounding
activations, from clipping their tails, and from rounding weights; to first order it adds up.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from spiq_tf import priors
from spiq_tf.distributions.tails import ChannelDistribution
from spiq_tf.distributions.values import Array, Moments
from spiq_tf.graph.layer_graph import LayerGraph, Tensor

_TINY = 1e-12


@dataclass(frozen=True)
class Gains:
    """Noise power at the model's outputs, relative to theirs, for a unit of noise variance on a channel.

    The variance is in the model's units squared.

    Attributes:
        white: for noise that is independent at every spatial location, as rounding makes it, shape (channels,).
        correlated: for noise that neighboring spatial locations share, as clipping and rounded weights make it, shape
            (channels,).
    """

    white: Array
    correlated: Array


def loss_tensors(graph: LayerGraph) -> tuple[Tensor, ...]:
    """The tensors at which noise counts: the outputs, but the logits in place of a softmax's output.

    Classes are decided there, and the derivative of a softmax that is sure of its class says nothing of how near
    another one is: on synthetic inputs it is thousands of times too small.
    """
    producers = [graph.producers.get(tensor.name) for tensor in graph.outputs]
    return tuple(
        producer.inputs[0] if producer is not None and producer.primitive.is_softmax else tensor
        for producer, tensor in zip(producers, graph.outputs, strict=True)
    )


def output_gains(graph: LayerGraph, moments: Mapping[str, Moments], measured: Mapping[str, Gains]) -> dict[str, Gains]:
    """The gains of every tensor, by one pass from the outputs back.

    Args:
        graph: the model.
        moments: of its tensors, by name, in the model's units.
        measured: gains that were measured, by tensor name; closed forms pass them on to what lies inside a layer.
    """
    white = {t.name: np.zeros(t.channels) for t in graph.tensors}
    correlated = {t.name: np.zeros(t.channels) for t in graph.tensors}
    for tensor in loss_tensors(graph):
        power = float(np.sum(moments[tensor.name].variance + moments[tensor.name].mean ** 2))
        white[tensor.name] += 1 / max(power, _TINY)
        correlated[tensor.name] += 1 / max(power, _TINY)
    white |= {name: gains.white for name, gains in measured.items()}
    correlated |= {name: gains.correlated for name, gains in measured.items()}
    for node in reversed(graph.nodes):
        name, inputs = node.output.name, [moments[t.name] for t in node.inputs]
        is_unmeasured = [t.name not in measured for t in node.inputs]
        if not any(is_unmeasured):
            continue
        after_mixing = correlated[name] if node.primitive.mixes_locations else white[name]
        passes = ((white, after_mixing, 0.0), (correlated, correlated[name], priors.NOISE_CORRELATION.value))
        for total, gain, noise_correlation in passes:
            input_gains = node.primitive.gains(gain, inputs, moments[name], graph.weights, noise_correlation)
            for tensor, input_gain, adds in zip(node.inputs, input_gains, is_unmeasured, strict=True):
                if adds:
                    total[tensor.name] += input_gain
    return {t.name: Gains(white[t.name], correlated[t.name]) for t in graph.tensors}


def activation_rate(distribution: ChannelDistribution) -> Array:
    """How often each channel is not exactly 0, which needs no rounding: P(x > 0) after a ReLU, 1 elsewhere.

    Returns:
        Of shape (channels,).
    """
    above = distribution.above
    rate = ndtr(above.center / np.maximum(above.deviation, _TINY))
    return np.where((distribution.below.bound <= 0) & (above.deviation > 0), rate, 1.0)


def relu_attenuation_of_lower_clipping(graph: LayerGraph, moments: Mapping[str, Moments], name: str) -> Array | float:
    """Share of the lower clipping noise of a tensor that passes the ReLU after an addition.

    The sum is seldom positive where this addend is at its lowest: the other one must make up for it. Of Gaussians,
    the lower end at 5 deviations; at least a twentieth, since tails are heavier than theirs. 1 anywhere else.

    Args:
        graph: the model.
        moments: of its tensors, by name, in the model's units.
        name: of the tensor.

    Returns:
        Of shape (channels,), or 1.
    """
    consumers = graph.consumers[name]
    if len(consumers) != 1 or not consumers[0].primitive.is_addition:
        return 1.0
    sum_name = consumers[0].output.name
    sum_consumers = graph.consumers[sum_name]
    if len(sum_consumers) != 1 or not sum_consumers[0].primitive.rectifies:
        return 1.0
    addend, total = moments[name], moments[sum_name]
    deviation = np.sqrt(np.maximum(total.variance - addend.variance, _TINY))
    lowest = priors.LOWER_CLIPPING_SIGMAS.value * addend.deviation
    return np.maximum(ndtr((total.mean - lowest) / deviation), priors.MIN_LOWER_CLIPPING_PASSED.value)

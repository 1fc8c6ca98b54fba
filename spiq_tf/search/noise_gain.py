"""The noise that quantization is expected to add to the model's outputs, without data.

Noise is counted as a variance, relative to the power of the output that it reaches. It comes from rounding
activations, from cutting their tails, and from rounding weights; to first order it adds up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from spiq_tf import priors
from spiq_tf.distributions.tails import ChannelDistribution, Tail
from spiq_tf.distributions.values import Array, Moments
from spiq_tf.graph.layer_graph import LayerGraph, Node, Tensor
from spiq_tf.primitives.activation import Rectifier, Softmax
from spiq_tf.primitives.merge import Add

_TINY = 1e-12


@dataclass(frozen=True)
class Gains:
    """Noise power at the model's outputs, relative to theirs, for a unit of noise variance on a channel.

    Attributes:
        rounding: for noise that is independent from position to position, shape (channels,).
        lasting: for noise that neighbouring positions share, as cut tails and wrong weights make it.
    """

    rounding: Array
    lasting: Array


def loss_tensors(graph: LayerGraph) -> tuple[Tensor, ...]:
    """The tensors at which noise counts: the outputs, of a softmax what it reads.

    Classes are decided there, and the derivative of a softmax that is sure of its class says nothing of how near
    another one is: on random fields it is thousands of times too small.
    """
    makers = [graph.producers.get(tensor.name) for tensor in graph.outputs]
    return tuple(
        maker.inputs[0] if maker is not None and isinstance(maker.primitive, Softmax) else tensor
        for maker, tensor in zip(makers, graph.outputs, strict=True)
    )


def output_gains(graph: LayerGraph, moments: Mapping[str, Moments], measured: Mapping[str, Gains]) -> dict[str, Gains]:
    """The gains of every tensor, by one pass from the outputs back.

    Args:
        graph: the model.
        moments: of its tensors.
        measured: gains that are known already; closed forms pass them on to what lies inside a layer.
    """
    rounding = {t.name: np.zeros(t.channels) for t in graph.tensors}
    lasting = {t.name: np.zeros(t.channels) for t in graph.tensors}
    for tensor in loss_tensors(graph):
        power = float(np.sum(moments[tensor.name].variance + moments[tensor.name].mean ** 2))
        rounding[tensor.name] += 1 / max(power, _TINY)
        lasting[tensor.name] += 1 / max(power, _TINY)
    rounding |= {name: gains.rounding for name, gains in measured.items()}
    lasting |= {name: gains.lasting for name, gains in measured.items()}
    for node in reversed(graph.nodes):
        name, inputs = node.output.name, [moments[t.name] for t in node.inputs]
        wanted = [t.name not in measured for t in node.inputs]
        if not any(wanted):
            continue
        mixed = lasting[name]
        own = mixed if node.primitive.mixes_locations else rounding[name]
        for total, gain, noise_correlation in ((rounding, own, 0.0), (lasting, mixed, priors.NOISE_CORRELATION.value)):
            passed = node.primitive.gains(gain, inputs, moments[name], graph.weights, noise_correlation)
            for tensor, part, adds in zip(node.inputs, passed, wanted, strict=True):
                if adds:
                    total[tensor.name] += part
    return {t.name: Gains(rounding[t.name], lasting[t.name]) for t in graph.tensors}


def active_share(distribution: ChannelDistribution) -> Array:
    """How often each channel is not exactly 0, which needs no rounding: the share that a ReLU lets pass."""
    above = distribution.above
    share = ndtr(above.centre / np.maximum(above.deviation, _TINY))
    return np.where((distribution.below.bound <= 0) & (above.deviation > 0), share, 1.0)


def relu_attenuation_of_lower_clipping(graph: LayerGraph, moments: Mapping[str, Moments], name: str) -> Array | float:
    """Share of what is cut off the lower end of each channel that passes the ReLU behind an addition.

    The sum is seldom positive where this addend is at its lowest: the other one must make up for it. Of Gaussians,
    the lower end at 5 deviations; at least a twentieth, since tails are heavier than theirs. 1 anywhere else.
    """
    readers = graph.consumers[name]
    if len(readers) != 1 or not isinstance(readers[0].primitive, Add):
        return 1.0
    added = readers[0].output.name
    behind = graph.consumers[added]
    if len(behind) != 1 or not _rectifies(behind[0]):
        return 1.0
    own, total = moments[name], moments[added]
    deviation = np.sqrt(np.maximum(total.variance - own.variance, _TINY))
    return np.maximum(
        ndtr((total.mean - priors.LOWER_CLIPPING_SIGMAS.value * own.deviation) / deviation),
        priors.MIN_LOWER_CLIPPING_PASSED.value,
    )


def _rectifies(node: Node) -> bool:
    return (
        isinstance(node.primitive, Rectifier) and node.primitive.negative_slope == 0 and node.primitive.threshold == 0
    )


@dataclass(frozen=True)
class ClippedTail:
    """What lies far out on one side of each channel's distribution."""

    side: Tail

    def cut_noise(self, threshold: Array) -> tuple[Array, Array]:
        """Mean square of what is cut where values beyond the threshold are set to it, and its derivative.

        E[(min(X, bound) - t)+^2] = M2(t) - M2(bound) - 2 (bound - t) M1(bound), where Mk(t) = E[((X - t)+)^k] and
        M1 = -M2' / 2.

        Args:
            threshold: shape (channels,).
        """
        noise, slope = self._beyond(threshold)
        bound, rest, first = self._bounded
        cut = threshold < bound
        noise = np.where(cut, noise - rest - 2 * (bound - threshold) * first, 0.0)
        return np.maximum(noise, 0.0), np.where(cut, np.minimum(slope + 2 * first, 0.0), 0.0)

    @cached_property
    def _bounded(self) -> tuple[Array, Array, Array]:
        """The bound, with M2 and M1 there."""
        farthest = self.side.centre + _FARTHEST * self._deviation
        bound = np.where(np.isfinite(self.side.bound), self.side.bound, farthest)
        rest, slope = self._beyond(bound)
        return bound, rest, -0.5 * slope

    def _beyond(self, threshold: Array) -> tuple[Array, Array]:
        """M2 of X without a bound, and its derivative."""
        noise, slope = _standard_beyond((threshold - self.side.centre) / self._deviation, self._steepness)
        return noise * self._deviation**2, slope * self._deviation

    @cached_property
    def _deviation(self) -> Array:
        return np.maximum(self.side.deviation, _TINY)

    @cached_property
    def _steepness(self) -> Array:
        kurtosis = np.maximum(self.side.excess_kurtosis, priors.MIN_TAIL_KURTOSIS.value)
        return priors.TAIL_STEEPNESS.value * kurtosis**-priors.TAIL_STEEPNESS_EXPONENT.value


_FARTHEST = 1e3  # deviations: no tail is left there


def _standard_beyond(z: Array, steepness: Array) -> tuple[Array, Array]:
    """E[((Z - z)+)^2] of a standardised variable with a tail as heavy as its excess kurtosis, and its derivative.

    For z >= 0: (exp(-a ((1 + z)^0.7 - 1)) + rare exp(-z / 8)) / 2, where a = 3.5 excess^-0.35 was read off the
    BatchNorm outputs of six trained networks, between 4 and 12 deviations (a Gaussian's would be 10^-10 at 6, where
    theirs is 10^-2 to 10^-5). The second term, far too small to matter where a channel is often active, keeps room
    for the channels that hardly ever fire and of which the moments say little. For z < 0 it follows from
    E[(Z - z)^2] = 1 + z^2.
    """
    exponent, decay = priors.TAIL_EXPONENT.value, priors.RARE_TAIL_SIGMAS.value
    distance = np.abs(z)
    stretched = (1 + distance) ** exponent
    bulk, rare = np.exp(-steepness * (stretched - 1)), priors.RARE_TAIL_POWER.value * np.exp(-distance / decay)
    value = 0.5 * (bulk + rare)
    slope = -0.5 * (bulk * steepness * exponent * stretched / (1 + distance) + rare / decay)
    return np.where(z < 0, 1 + z * z - value, value), np.where(z < 0, 2 * z + slope, slope)

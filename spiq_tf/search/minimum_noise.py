"""The scale of every channel and the range of every tensor: those that minimise the predicted noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet
from threadpoolctl import threadpool_limits

from spiq_tf import priors
from spiq_tf.distributions.tails import ChannelDistribution, Tail, TensorStatistics, bounded_distribution
from spiq_tf.distributions.values import Array, ChannelRanges, Moments, Source
from spiq_tf.graph.layer_graph import LayerGraph, Node, Tensor
from spiq_tf.primitives.linear import Linear
from spiq_tf.search.constraints import ScaleClasses
from spiq_tf.search.noise_gain import Gains, active_share, relu_attenuation_of_lower_clipping
from spiq_tf.search.noise_terms import PredictedNoise, TensorTerms, WeightTerms
from spiq_tf.search.objective import CoupledTensors


@dataclass(frozen=True)
class ScaleSolution:
    """What is absorbed, and what the tensors then keep to; all by tensor name.

    Attributes:
        scales: of each channel, shape (channels,).
        ranges: in the original units.
        noise: predicted, of the tensors that the file holds and of the linear primitives that read them.
    """

    scales: Mapping[str, Array]
    ranges: Mapping[str, ChannelRanges]
    noise: Mapping[str, PredictedNoise]


def minimize_noise(
    graph: LayerGraph,
    classes: ScaleClasses,
    moments: Mapping[str, Moments],
    distributions: Mapping[str, ChannelDistribution],
    gains: Mapping[str, Gains],
    per_channel_dense: bool,
) -> ScaleSolution:
    """Scales and ranges for which the least noise reaches the model's outputs, one family at a time.

    Families do not disturb each other: a convolution's weights are rounded an output channel at a time, so the scale
    of its output cancels. On one thread: the solver's algebra is small, and the threads of a BLAS that wait for each
    other there take ten times as long where other processes want the cores.
    """
    problem = _Problem(graph, classes, moments, distributions, gains, per_channel_dense)
    scale = np.ones(classes.count)
    ranges = {t.name: distributions[t.name].range(priors.FAR_SIGMAS.value) for t in graph.tensors}
    noise: dict[str, PredictedNoise] = {}
    with threadpool_limits(1, "blas"):
        for tensors in problem.families():
            free = problem.free_classes(tensors)
            intervals = problem.intervals(tensors)
            solution = problem.family(tensors, free, intervals).solve()
            scale[free] = solution.scales
            noise |= solution.noise
            for tensor in tensors:
                own, index = scale[classes.of[tensor.name]], intervals[tensor.name]
                low, high = own * solution.low[index], own * solution.high[index]
                ranges[tensor.name] = ChannelRanges(low, high, distributions[tensor.name].source)
    scales = {name: scale[label] for name, label in classes.of.items()}
    return ScaleSolution(scales, _reachable(graph, moments, ranges), noise)


def _reachable(
    graph: LayerGraph, moments: Mapping[str, Moments], ranges: Mapping[str, ChannelRanges]
) -> dict[str, ChannelRanges]:
    """The ranges without what cannot be reached from those of the tensors that the file holds in front."""
    known = {t.name: bounded_distribution(ranges[t.name].low, ranges[t.name].high, Source.FIXED) for t in graph.inputs}
    result = dict(ranges)
    for node in graph.nodes:
        name = node.output.name
        # of what is found, bounds alone are read, which no elasticity moves
        inputs = [TensorStatistics(moments[t.name], known[t.name], np.ones(t.channels)) for t in node.inputs]
        found = node.primitive.distribution(inputs, moments[name], graph.weights)
        if name in graph.fused:
            known[name] = found
            continue
        own = ranges[name]
        low, high = np.maximum(own.low, -found.below.bound), np.minimum(own.high, found.above.bound)
        if own.source != Source.GIVEN:
            result[name] = ChannelRanges(np.minimum(low, high), high, own.source)
        known[name] = bounded_distribution(result[name].low, result[name].high, Source.FIXED)
    return result


@dataclass(frozen=True)
class _Problem:
    """All that is known before the scales are chosen."""

    graph: LayerGraph
    classes: ScaleClasses
    moments: Mapping[str, Moments]
    distributions: Mapping[str, ChannelDistribution]
    gains: Mapping[str, Gains]
    per_channel_dense: bool

    def families(self) -> list[list[Tensor]]:
        """The tensors that the file holds, those together that share a free class or an interval."""
        held = [t for t in self.graph.tensors if t.name not in self.graph.fused]
        shared: DisjointSet = DisjointSet(t.name for t in held)
        first: dict[int, str] = {}
        for tensor in held:
            for label in self.free_classes([tensor]).tolist():
                shared.merge(first.setdefault(label, tensor.name), tensor.name)
        for one, other in self._same_interval:
            shared.merge(one, other)
        members: dict[str, list[Tensor]] = {}
        for tensor in held:
            members.setdefault(shared[tensor.name], []).append(tensor)
        return list(members.values())

    @cached_property
    def _same_interval(self) -> list[tuple[str, str]]:
        """Pairs of tensors that have one scale and zero point in the file."""
        fused = self.graph.fused
        return [
            (t.name, node.output.name)
            for node in self.graph.nodes
            for t in node.inputs
            if node.primitive.preserves_quantization and not {t.name, node.output.name} & fused
        ]

    def free_classes(self, tensors: list[Tensor]) -> npt.NDArray[np.intp]:
        """The classes of the tensors' channels that may be scaled, ascending."""
        labels = np.unique(np.concatenate([self.classes.of[t.name] for t in tensors]))
        return labels[~self.classes.unscaled[labels]]

    def intervals(self, tensors: list[Tensor]) -> dict[str, int]:
        """The index of each tensor's interval among those of its family."""
        shared: DisjointSet = DisjointSet(t.name for t in tensors)
        for one, other in self._same_interval:
            if one in shared and other in shared:
                shared.merge(one, other)
        roots: dict[str, int] = {}
        return {t.name: roots.setdefault(shared[t.name], len(roots)) for t in tensors}

    def family(self, tensors: list[Tensor], free: npt.NDArray[np.intp], intervals: Mapping[str, int]) -> CoupledTensors:
        """The tensors' noise as a function of what is to be chosen."""
        place = np.full(self.classes.count, len(free))
        place[free] = np.arange(len(free))
        count = max(intervals.values()) + 1
        floor_low, floor_high = np.zeros(count), np.zeros(count)
        ceilings: list[set[float]] = [set() for _ in range(count)]
        held, readers = [], []
        reach = np.zeros(count)  # of the channels that cannot be scaled down to a ceiling
        for tensor in tensors:
            label, index = place[self.classes.of[tensor.name]], intervals[tensor.name]
            held.append(self._held(tensor, label, index))
            readers += [self._reader(n, label) for n in self.graph.consumers[tensor.name] if _rounds_for_input(n)]
            ceilings[index] |= set(held[-1].saturation[np.isfinite(held[-1].saturation)].tolist())
            distribution, unscaled = self.distributions[tensor.name], label == len(free)
            floor_high[index] = max(floor_high[index], _filled(distribution.above, unscaled))
            floor_low[index] = max(floor_low[index], _filled(distribution.below, unscaled))
            reach[index] = max(reach[index], distribution.above.bound[unscaled].max(initial=0.0))
        ceiling = np.array([each.pop() if len(each) == 1 else np.inf for each in ceilings])
        ceiling[reach > ceiling] = np.inf
        return CoupledTensors(held, readers, self.classes.saturates[free], ceiling, floor_low, floor_high)

    def _held(self, tensor: Tensor, label: npt.NDArray[np.intp], interval: int) -> TensorTerms:
        distribution, gains = self.distributions[tensor.name], self.gains[tensor.name]
        felt = relu_attenuation_of_lower_clipping(self.graph, self.moments, tensor.name)
        rounding = gains.rounding * active_share(distribution)
        # a channel that is dead behind a ReLU has no gain; 1 % of the mean keeps it from being cut until it comes alive
        lasting = np.maximum(gains.lasting, priors.MIN_CLIPPING_GAIN.value * gains.lasting.mean())
        return TensorTerms(
            tensor.name, label, interval, distribution, rounding, lasting, lasting * felt, self._saturation(tensor)
        )

    def _reader(self, node: Node, label: npt.NDArray[np.intp]) -> WeightTerms:
        primitive = node.primitive
        assert isinstance(primitive, Linear)
        kernel = primitive.canonical(self.graph.weights)
        taps, groups, ins, outs = kernel.shape
        energy = self.moments[node.inputs[0].name].variance.reshape(groups, ins) * taps
        largest, lasting = np.abs(kernel).max(axis=0), self.gains[node.output.name].lasting.reshape(groups, outs)
        if primitive.dense and not self.per_channel_dense:
            largest, lasting = largest.max(axis=2, keepdims=True), lasting.sum(axis=1, keepdims=True)
        kept = priors.SUM_PRESERVING_NOISE.value if taps > 1 else 1.0
        largest = np.ascontiguousarray(largest.swapaxes(1, 2), np.float32)
        return WeightTerms(node.output.name, label.reshape(groups, ins), largest, energy * kept, lasting)

    def _saturation(self, tensor: Tensor) -> Array:
        """The value at which each scaled channel saturates, which its units cannot move, or infinity."""
        labels, bound = self.classes.of[tensor.name], self.distributions[tensor.name].above.bound
        scaled = self.classes.saturates[labels] & ~self.classes.unscaled[labels]
        return np.where(scaled & np.isin(bound, list(self._saturations)), bound, np.inf)

    @cached_property
    def _saturations(self) -> set[float]:
        return {n.primitive.saturation for n in self.graph.nodes if n.primitive.saturation is not None}


def _filled(side: Tail, chosen: npt.NDArray[np.bool_]) -> float:
    """How far the chosen channels reach that fill their bounds, such as the model's input or a sigmoid's output."""
    return float(side.bound[chosen & (side.deviation == 0) & np.isfinite(side.bound)].max(initial=0.0))


def _rounds_for_input(node: Node) -> bool:
    """Whether the rounding of a node's weights depends on the scales of its input: not if each channel has its own."""
    return isinstance(node.primitive, Linear) and not node.primitive.depthwise

"""The search for scales and ranges as a problem: groups of coupled tensors, and the noise terms of each group."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet

from spiq_tf import priors
from spiq_tf.distributions.tails import ChannelDistribution, Tail
from spiq_tf.distributions.values import Array, Moments
from spiq_tf.graph.classifier_head import image_derived_tensors
from spiq_tf.graph.layer_graph import LayerGraph, Tensor
from spiq_tf.primitives.linear import Linear
from spiq_tf.search.constraints import ScaleClasses
from spiq_tf.search.noise_gain import Gains, activation_rate, relu_attenuation_of_lower_clipping
from spiq_tf.search.noise_terms import TensorTerms, WeightTerms
from spiq_tf.search.objective import CoupledTensors


@dataclass(frozen=True, kw_only=True)
class NoiseProblem:
    """All that is known before the scales are chosen; attributes as the arguments of `minimize_noise`."""

    graph: LayerGraph
    classes: ScaleClasses
    moments: Mapping[str, Moments]
    distributions: Mapping[str, ChannelDistribution]
    gains: Mapping[str, Gains]
    per_channel_dense: bool
    pools_as_convolutions: bool = False

    def coupled_tensors(self) -> list[list[Tensor]]:
        """The materialized tensors, in groups that share a free scale class or a tensor range."""
        groups: DisjointSet = DisjointSet(t.name for t in self.graph.materialized)
        first_of_class: dict[int, str] = {}
        for tensor in self.graph.materialized:
            for label in self.free_classes([tensor]).tolist():
                groups.merge(first_of_class.setdefault(label, tensor.name), tensor.name)
        for name, other in self._pairs_of_one_range:
            groups.merge(name, other)
        members: dict[str, list[Tensor]] = {}
        for tensor in self.graph.materialized:
            members.setdefault(groups[tensor.name], []).append(tensor)
        return list(members.values())

    @cached_property
    def _pairs_of_one_range(self) -> list[tuple[str, str]]:
        """Pairs of tensors that have one scale and zero point in the file."""
        fused = self.graph.fused
        # of pixels that are only averaged the moments are a guess, and their range is known
        pixels = image_derived_tensors(self.graph.nodes, self.graph.inputs)
        return [
            (t.name, node.output.name)
            for node in self.graph.nodes
            for t in node.inputs
            if node.primitive.preserves_quantization and not {t.name, node.output.name} & fused
            if not (self.pools_as_convolutions and node.primitive.has_depthwise_form and node.output.name not in pixels)
        ]

    def free_classes(self, tensors: list[Tensor]) -> npt.NDArray[np.intp]:
        """The classes of the tensors' channels whose scale is not pinned, ascending."""
        labels = np.unique(np.concatenate([self.classes.of[t.name] for t in tensors]))
        return labels[~self.classes.pinned[labels]]

    def range_indices(self, tensors: list[Tensor]) -> dict[str, int]:
        """The index of each tensor's range among those of the coupled tensors, by name."""
        groups: DisjointSet = DisjointSet(t.name for t in tensors)
        for name, other in self._pairs_of_one_range:
            if name in groups and other in groups:
                groups.merge(name, other)
        index_of_group: dict[str, int] = {}
        return {t.name: index_of_group.setdefault(groups[t.name], len(index_of_group)) for t in tensors}

    def terms(
        self, tensors: list[Tensor], free_classes: npt.NDArray[np.intp], range_indices: Mapping[str, int]
    ) -> CoupledTensors:
        """The tensors' noise as a function of what is to be chosen.

        Args:
            tensors: coupled tensors.
            free_classes: see `free_classes`.
            range_indices: see `range_indices`.
        """
        scale_of_class = np.full(self.classes.count, len(free_classes))
        scale_of_class[free_classes] = np.arange(len(free_classes))
        tensor_terms, weight_terms = [], []
        for tensor in tensors:
            scale_index = scale_of_class[self.classes.of[tensor.name]]
            tensor_terms.append(self._tensor_terms(tensor, scale_index, range_indices[tensor.name]))
            for node in self.graph.consumers[tensor.name]:
                linear = node.primitive.as_linear
                # a depthwise kernel has a weight scale for each input, which cancels that input's scale
                if linear is not None and not linear.depthwise:
                    weight_terms.append(self._weight_terms(linear, tensor, node.output, scale_index))
        min_low, min_high, saturation = _range_limits(tensor_terms, len(free_classes))
        return CoupledTensors(
            tensors=tensor_terms,
            weights=weight_terms,
            saturates=self.classes.saturates[free_classes],
            saturation=saturation,
            min_low=min_low,
            min_high=min_high,
        )

    def _tensor_terms(self, tensor: Tensor, scale_index: npt.NDArray[np.intp], range_index: int) -> TensorTerms:
        distribution, gains = self.distributions[tensor.name], self.gains[tensor.name]
        # a channel that is dead after a ReLU has no gain; 1 % of the mean keeps it from being clipped until it is alive
        clipping_gain = np.maximum(gains.correlated, priors.MIN_CLIPPING_GAIN.value * gains.correlated.mean())
        return TensorTerms(
            name=tensor.name,
            scale_index=scale_index,
            range_index=range_index,
            distribution=distribution,
            rounding_gain=gains.white * activation_rate(distribution),
            upper_clipping_gain=clipping_gain,
            lower_clipping_gain=clipping_gain
            * relu_attenuation_of_lower_clipping(self.graph, self.moments, tensor.name),
            saturation=self._saturation(tensor),
        )

    def _weight_terms(
        self, linear: Linear, source: Tensor, output: Tensor, scale_index: npt.NDArray[np.intp]
    ) -> WeightTerms:
        kernel = linear.canonical(self.graph.weights)
        taps, groups, ins, outs = kernel.shape
        variance = self.moments[source.name].variance.reshape(groups, ins) * taps
        max_weight = np.abs(kernel).max(axis=0)
        gain = self.gains[output.name].correlated.reshape(groups, outs)
        if linear.dense and not self.per_channel_dense:
            max_weight, gain = max_weight.max(axis=2, keepdims=True), gain.sum(axis=1, keepdims=True)
        share = priors.SUM_PRESERVING_NOISE.value if taps > 1 else 1.0
        return WeightTerms(
            name=output.name,
            scale_index=scale_index.reshape(groups, ins),
            max_weight=np.ascontiguousarray(max_weight.swapaxes(1, 2), np.float32),
            input_variance=variance * share,
            gain=gain,
        )

    def _saturation(self, tensor: Tensor) -> Array:
        """The rescaled value at which each scaled channel saturates, an activation's maximum; or infinity."""
        labels, bound = self.classes.of[tensor.name], self.distributions[tensor.name].above.bound
        is_scaled = self.classes.saturates[labels] & ~self.classes.pinned[labels]
        return np.where(is_scaled & np.isin(bound, list(self._saturations)), bound, np.inf)

    @cached_property
    def _saturations(self) -> set[float]:
        return {n.primitive.saturation for n in self.graph.nodes if n.primitive.saturation is not None}


def _range_limits(tensors: list[TensorTerms], pinned: int) -> tuple[Array, Array, Array]:
    """For each tensor range the least L and H, and the value to which H is fixed by saturation, or infinity.

    Args:
        tensors: coupled tensors.
        pinned: the scale index of pinned channels.

    Returns:
        Each of shape (ranges,).
    """
    count = max(t.range_index for t in tensors) + 1
    min_low, min_high, pinned_bound = np.zeros(count), np.zeros(count), np.zeros(count)
    saturations: list[set[float]] = [set() for _ in range(count)]
    for t in tensors:
        index, is_pinned, above = t.range_index, t.scale_index == pinned, t.distribution.above
        saturations[index] |= set(t.saturation[np.isfinite(t.saturation)].tolist())
        min_high[index] = max(min_high[index], _filled_bound(above, is_pinned))
        min_low[index] = max(min_low[index], _filled_bound(t.distribution.below, is_pinned))
        # of the channels that cannot be scaled down to a saturation
        pinned_bound[index] = max(pinned_bound[index], above.bound[is_pinned].max(initial=0.0))
    saturation = np.array([each.pop() if len(each) == 1 else np.inf for each in saturations])
    saturation[pinned_bound > saturation] = np.inf
    return min_low, min_high, saturation


def _filled_bound(tail: Tail, chosen: npt.NDArray[np.bool_]) -> float:
    """The largest bound of the chosen channels that fill theirs, such as the model's input or a sigmoid's output."""
    return float(tail.bound[chosen & (tail.deviation == 0) & np.isfinite(tail.bound)].max(initial=0.0))

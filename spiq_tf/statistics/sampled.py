"""Sampled statistics: what the runs of a model on samples say of its tensors."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.values import Array, Moments
from spiq_tf.graph.classifier_head import image_derived_tensors
from spiq_tf.graph.layer_graph import LayerGraph, Node
from spiq_tf.statistics.samples import SampleGap, SampleRun
from spiq_tf.statistics.synthetic import MIN_EXAMPLES

_KURTOSIS_LOCATIONS = 8192
"""Spatial locations that are enough for a kurtosis."""


@dataclass(frozen=True)
class ObservedRange:
    """The range of a feature map's channels on the samples, in model units.

    Attributes:
        low, high: smallest and largest value of each channel, shape (channels,).
        excess_kurtosis: above a Gaussian's, the median over the channels.
    """

    low: Array
    high: Array
    excess_kurtosis: float


@dataclass(frozen=True, kw_only=True)
class SampledStatistics:
    """Statistics of the samples, in model units, by tensor name.

    Attributes:
        moments: of feature maps over examples and spatial locations, and of sums of an image's pixels over examples.
        example_moments: of other tensors without spatial locations, over examples.
        ranges: of feature maps that linear primitives, BatchNorms, steep functions and opaque layers make.
        non_negative: names of tensors that opaque layers make and that are never negative: norms, variances.
        gap: how much farther real inputs reach than the samples.
    """

    moments: Mapping[str, Moments]
    example_moments: Mapping[str, Moments]
    ranges: Mapping[str, ObservedRange]
    non_negative: Collection[str]
    gap: SampleGap


NO_SAMPLES = SampledStatistics(moments={}, example_moments={}, ranges={}, non_negative=(), gap=SampleGap())


def sampled_statistics(graph: LayerGraph, runs: Sequence[SampleRun], gap: SampleGap) -> SampledStatistics:
    """The statistics of those tensors whose primitives use them.

    Sums of correlated terms vary more than sums of independent ones: on ESPNet, whose convolutions mostly have no
    BatchNorm of their own, synthetic inputs show 0.8 to 1.4 times the real deviation, independent terms 0.3 to 0.8
    times. The terms of a Dense layer that reads the pixels of an image are correlated too.

    Averages over whole feature maps, and what is computed from them, differ less between synthetic inputs than between
    images, by a factor of 1.1 to 2.6 in twenty networks; closed forms were wrong by 0.5 to 5 there. How much features
    are aligned with the weights that read them shows on synthetic inputs within a quarter.

    Args:
        graph: the model.
        runs: of the model on the samples.
        gap: how much farther real inputs reach.
    """
    collected = _Collected(moments={}, example_moments={}, ranges={}, non_negative=[])
    pixels, images = image_derived_tensors(graph.nodes, graph.inputs), any(t.is_feature_map for t in graph.inputs)
    for node in graph.nodes:
        values = [run.values[node.output.name] for run in runs if node.output.name in run.values]
        collected.add_range(graph, node, values)
        sums_pixels = node.primitive.varies_by_image and node.inputs[0].name in pixels
        collected.add_moments(graph, node, values, sums_pixels, images)
    return SampledStatistics(
        moments=collected.moments,
        example_moments=collected.example_moments,
        ranges=collected.ranges,
        non_negative=collected.non_negative,
        gap=gap,
    )


@dataclass(frozen=True, kw_only=True)
class _Collected:
    """What has been collected so far; the fields are those of `SampledStatistics`."""

    moments: dict[str, Moments]
    example_moments: dict[str, Moments]
    ranges: dict[str, ObservedRange]
    non_negative: list[str]

    def add_range(self, graph: LayerGraph, node: Node, values: Sequence[Any]) -> None:
        """The range of a node's output, where one is used."""
        steep = node.primitive.is_steep
        least = (priors.MIN_LOCATIONS_FOR_FUNCTION_RANGE if steep else priors.MIN_LOCATIONS_FOR_RANGE).value
        if _uses_range(graph, node) and (observed := _observed_range(values, least)):
            self.ranges[node.output.name] = observed

    def add_moments(
        self, graph: LayerGraph, node: Node, values: Sequence[Any], sums_pixels: bool, images: bool
    ) -> None:
        """Its moments and sign, where they are used."""
        name, primitive, spatial = node.output.name, node.primitive, node.output.is_feature_map
        over_all = primitive.uses_sampled_variance and (spatial or sums_pixels)
        over_examples = images and primitive.varies_by_image and not (spatial or sums_pixels)
        least = priors.MIN_LOCATIONS.value if spatial else MIN_EXAMPLES
        flat = _flattened(values, least) if over_all or over_examples else None
        if flat is None:
            return
        if over_all:
            self.moments[name] = Moments(flat.mean(axis=0), flat.var(axis=0))
        else:
            self.example_moments[name] = Moments(flat.mean(axis=0), flat.var(axis=0, ddof=1))
        weightless = primitive.is_opaque and not primitive.variables()
        is_output = name in {t.name for t in graph.outputs}
        several = flat.shape[1] >= priors.MIN_CHANNELS_FOR_SIGN.value
        if weightless and not is_output and several and flat.min() >= 0:
            self.non_negative.append(name)


def _flattened(values: Sequence[Any], least: float) -> Array | None:
    """The values of a tensor in all runs, (spatial locations, channels); None of too few, or with NaN or infinity."""
    each = [np.asarray(v, np.float64) for v in values]
    flat = np.concatenate([v.reshape(-1, v.shape[-1]) for v in each]) if each else np.zeros((0, 1))
    return flat if len(flat) >= least and np.all(np.isfinite(flat)) else None


def _uses_range(graph: LayerGraph, node: Node) -> bool:
    """Whether the observed range of a node's output is used: not before a BatchNorm, which states it anew."""
    name, primitive = node.output.name, node.primitive
    normalized = any(n.primitive.states_input_moments for n in graph.consumers[name])
    reaches = primitive.is_steep or primitive.is_linear or primitive.states_input_moments or primitive.is_opaque
    return node.output.is_feature_map and reaches and not (normalized and name in graph.fused)


def _observed_range(feature_maps: Sequence[Any], least: float) -> ObservedRange | None:
    """None of too few spatial locations, or with NaN or infinity."""
    flat = [np.asarray(x, np.float32).reshape(-1, x.shape[-1]) for x in feature_maps]
    locations = sum(map(len, flat))
    if locations < least:
        return None
    low, high = np.min([x.min(axis=0) for x in flat], axis=0), np.max([x.max(axis=0) for x in flat], axis=0)
    if not np.all(np.isfinite(low) & np.isfinite(high)):
        return None
    stride = -(-locations // _KURTOSIS_LOCATIONS)
    kurtosis = _excess_kurtosis(np.concatenate([x[::stride] for x in flat]).astype(np.float64))
    return ObservedRange(low.astype(np.float64), high.astype(np.float64), kurtosis)


def _excess_kurtosis(values: Array) -> float:
    """Of values (locations, channels), the median over the channels that vary; 0 if none does."""
    squares = (values - values.mean(axis=0)) ** 2
    variance = squares.mean(axis=0)
    varies = variance > 0
    excess = (squares**2).mean(axis=0)[varies] / variance[varies] ** 2 - 3
    return float(np.median(excess)) if len(excess) else 0.0

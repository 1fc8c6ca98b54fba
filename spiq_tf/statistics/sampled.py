"""What the fields that a model was run on show of its tensors."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.values import Array, Moments
from spiq_tf.graph.classifier_head import image_derived_tensors
from spiq_tf.graph.layer_graph import LayerGraph, Node, Tensor
from spiq_tf.primitives.activation import Elementwise
from spiq_tf.primitives.affine import BatchNorm
from spiq_tf.primitives.linear import Linear
from spiq_tf.primitives.opaque import Opaque
from spiq_tf.statistics.synthetic import FEWEST, SampleRun

_MANY_ENOUGH = 8192  # for a kurtosis


@dataclass(frozen=True)
class ObservedRange:
    """How far the channels of a map reach on fields.

    Attributes:
        low, high: the smallest and the largest value of each channel, shape (channels,).
        excess: kurtosis above a Gaussian's, the median over the channels.
    """

    low: Array
    high: Array
    excess_kurtosis: float


@dataclass(frozen=True)
class SampledStatistics:
    """What fields show of tensors, by name.

    Attributes:
        moments: of the channels of maps, and of sums of an image's pixels.
        averages: of the channels of other tensors without positions, over fields.
        reach: of maps that linear primitives, BatchNorms, steep functions and unknown layers make.
        never_negative: names of tensors that unknown layers make: norms, variances.
    """

    moments: Mapping[str, Moments]
    averages: Mapping[str, Moments]
    reach: Mapping[str, ObservedRange]
    non_negative: Collection[str]


NO_SAMPLES = SampledStatistics({}, {}, {}, ())


def sampled_statistics(graph: LayerGraph, batches: Sequence[SampleRun]) -> SampledStatistics:
    """What the fields show of what the primitives make that learn from them.

    Sums of alike terms vary more than sums of independent ones: on ESPNet, whose convolutions mostly have no BatchNorm
    of their own, fields show 0.8 to 1.4 times the real deviation, independent terms 0.3 to 0.8 times. A Dense layer
    that reads the pixels of an image sums what is alike too.

    Averages over whole maps, and what is made of them, differ less from field to field than from image to image, by a
    factor of 1.1 to 2.6 in twenty networks; closed forms were wrong by 0.5 to 5 there. How much features are aligned
    with the weights that read them shows on fields within a quarter.
    """
    moments: dict[str, Moments] = {}
    averages: dict[str, Moments] = {}
    reach: dict[str, ObservedRange] = {}
    non_negative, leaving = [], {t.name for t in graph.outputs}
    pixels, images = image_derived_tensors(graph.nodes, graph.inputs), any(t.is_feature_map for t in graph.inputs)
    for node in graph.nodes:
        name, primitive, by_position = node.output.name, node.primitive, node.output.is_feature_map
        sums_pixels = primitive.varies_by_image and node.inputs[0].name in pixels
        learns = primitive.uses_sampled_variance and (by_position or sums_pixels)
        compared = images and primitive.varies_by_image and not (by_position or sums_pixels)
        function = isinstance(primitive, Elementwise)
        fewest = (priors.MIN_LOCATIONS_FOR_FUNCTION_RANGE if function else priors.MIN_LOCATIONS_FOR_RANGE).value
        values = [b.values[name] for b in batches if name in b.values]
        if _reaches(graph, node) and (found := _reach(values, fewest)):
            reach[name] = found
        flat = (
            _side_by_side(values, priors.MIN_LOCATIONS.value if by_position else FEWEST) if learns or compared else None
        )
        if flat is None:
            continue
        if learns:
            moments[name] = Moments(flat.mean(axis=0), flat.var(axis=0))
        else:
            averages[name] = Moments(flat.mean(axis=0), flat.var(axis=0, ddof=1))
        unweighted = isinstance(primitive, Opaque) and not primitive.variables() and name not in leaving
        if unweighted and flat.shape[1] >= priors.MIN_CHANNELS_FOR_SIGN.value and flat.min() >= 0:
            non_negative.append(name)
    return SampledStatistics(moments, averages, reach, non_negative)


def _side_by_side(values: Sequence[Any], fewest: float) -> Array | None:
    """The values of a tensor on all fields, (positions, channels); None of fewer, or where not all are numbers."""
    each = [np.asarray(v, np.float64) for v in values]
    flat = np.concatenate([v.reshape(-1, v.shape[-1]) for v in each]) if each else np.zeros((0, 1))
    return flat if len(flat) >= fewest and np.all(np.isfinite(flat)) else None


def _reaches(graph: LayerGraph, node: Node) -> bool:
    """Whether it is of interest how far a node's output reaches: not in front of a BatchNorm, which says that anew."""
    name = node.output.name
    normed = [n.primitive for n in graph.consumers[name] if isinstance(n.primitive, BatchNorm)]
    steep = isinstance(node.primitive, Elementwise) and node.primitive.steep
    made = steep or isinstance(node.primitive, Linear | BatchNorm | Opaque)
    return node.output.is_feature_map and made and not (normed and name in graph.fused)


def _reach(maps: Sequence[Any], fewest: float) -> ObservedRange | None:
    """None of too few positions, or where not all values are numbers."""
    flat = [np.asarray(x, np.float32).reshape(-1, x.shape[-1]) for x in maps]
    positions = sum(map(len, flat))
    if positions < fewest:
        return None
    low, high = np.min([x.min(axis=0) for x in flat], axis=0), np.max([x.max(axis=0) for x in flat], axis=0)
    if not np.all(np.isfinite(low) & np.isfinite(high)):
        return None
    some = np.concatenate([x[:: -(-positions // _MANY_ENOUGH)] for x in flat]).astype(np.float64)
    squares = (some - some.mean(axis=0)) ** 2
    variance = squares.mean(axis=0)
    excess_kurtosis = (squares**2).mean(axis=0)[variance > 0] / variance[variance > 0] ** 2 - 3
    return ObservedRange(
        low.astype(np.float64),
        high.astype(np.float64),
        float(np.median(excess_kurtosis)) if len(excess_kurtosis) else 0.0,
    )


def opaque_layer_inputs(
    graph: LayerGraph, batches: Sequence[SampleRun], moments: Mapping[str, Moments]
) -> Sequence[Mapping[str, Array]]:
    """What the layers that no rule describes read on each field, by tensor name.

    Where there are no positions, that is Gaussians of the tensor's moments (fixed seed). Every second one has a quarter
    of the deviation: moments are rather too large than too small, and a reciprocal of a norm must not be cut. What is
    positive on all fields stays so.
    """
    read = {t.name: t for node in graph.nodes if isinstance(node.primitive, Opaque) for t in node.inputs}
    random = np.random.default_rng(0)

    def shown(tensor: Tensor, batch: SampleRun, varying: float) -> Array:
        value = np.asarray(batch.values[tensor.name], np.float64)
        if tensor.is_feature_map or tensor in graph.inputs:
            return value
        own = moments[tensor.name]
        drawn = own.mean + varying * own.deviation * random.standard_normal(value.shape)
        least = min(float(np.min(b.values[tensor.name])) for b in batches)
        return np.maximum(drawn, priors.MIN_POSITIVE_SAMPLE.value * least) if least > 0 else drawn

    contrasts = itertools.cycle((1.0, priors.LOW_CONTRAST.value))
    return [
        {name: shown(t, batch, contrast) for name, t in read.items() if name in batch.values}
        for batch, contrast in zip(batches, contrasts, strict=False)
        if batch.tape is not None  # or else the maps are missing
    ]

"""What the fields that a model was run on show of its tensors."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spiq_tf.graph.head import made_of_pixels
from spiq_tf.graph.layer_graph import LayerGraph, Tensor
from spiq_tf.primitives.linear import Linear
from spiq_tf.primitives.opaque import Opaque
from spiq_tf.primitives.values import Array, Moments
from spiq_tf.statistics.fields import ENOUGH, FEWEST, FieldBatch

_LITTLE = 0.25  # of a deviation
_MANY = 1024  # positions of all fields together, for extremes worth the name


@dataclass(frozen=True)
class Shown:
    """What fields show of tensors, by name.

    Attributes:
        moments: of the channels of maps, and of sums of an image's pixels.
        averages: of the channels of other tensors without positions, over fields.
        ends: the smallest and the largest value of each channel, of the last maps that a linear primitive makes.
    """

    moments: Mapping[str, Moments]
    averages: Mapping[str, Moments]
    ends: Mapping[str, tuple[Array, Array]]


NOTHING_SHOWN = Shown({}, {}, {})


def shown_on(graph: LayerGraph, batches: Sequence[FieldBatch]) -> Shown:
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
    ends: dict[str, tuple[Array, Array]] = {}
    pixels, images = made_of_pixels(graph.nodes, graph.inputs), any(t.is_map for t in graph.inputs)
    for node in graph.nodes:
        name, rule, by_position = node.output.name, node.rule, node.output.is_map
        sums_pixels = rule.differs_by_image and node.inputs[0].name in pixels
        learns = rule.learns_from_fields and (by_position or sums_pixels)
        compared = images and rule.differs_by_image and not (by_position or sums_pixels)
        values = [b.values[name] for b in batches if name in b.values] if learns or compared else []
        if not values:
            continue
        flat = np.concatenate([np.asarray(v, np.float64).reshape(-1, v.shape[-1]) for v in values])
        if len(flat) < (ENOUGH if by_position else FEWEST) or not np.all(np.isfinite(flat)):
            continue
        if learns:
            moments[name] = Moments(flat.mean(axis=0), flat.var(axis=0))
        else:
            averages[name] = Moments(flat.mean(axis=0), flat.var(axis=0, ddof=1))
        if isinstance(rule, Linear) and rule.ends and len(flat) >= _MANY:
            ends[name] = flat.min(axis=0), flat.max(axis=0)
    return Shown(moments, averages, ends)


def read_by_unknown(
    graph: LayerGraph, batches: Sequence[FieldBatch], moments: Mapping[str, Moments]
) -> Sequence[Mapping[str, Array]]:
    """What the layers that no rule describes read on each field, by tensor name.

    Where there are no positions, that is Gaussians of the tensor's moments (fixed seed), of which every second varies
    a quarter as much, so that what divides by a norm is not cut: moments are rather too large than too small.
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
        if batch.tape is not None  # or else the maps are missing
    ]

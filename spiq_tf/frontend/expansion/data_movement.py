"""Layers and operations that move values or reduce them: pools, reshapes, padding."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spiq_tf.frontend.expansion.call_site import CallSite, Step
from spiq_tf.primitives.affine import FixedAffine
from spiq_tf.primitives.pool import AveragePool, MaxPool, overhangs
from spiq_tf.primitives.shape import Pad, Rearrange, rearrange_of_indices


def average_pool(layer: Any, site: CallSite) -> Sequence[Step]:
    """AveragePooling."""
    is_global = layer.pool_size == site.spatial and set(site.output[1:-1]) == {1}  # a padded one has more outputs
    axes = zip(site.spatial, site.output[1:-1], layer.pool_size, layer.strides, strict=True)
    overhang = max(max(overhangs(*axis)) for axis in axes) if layer.padding == "same" else 0
    pool = AveragePool(size=int(np.prod(layer.pool_size)), whole=is_global, overhang=overhang)
    return (Step(pool, site.output),)


def max_pool(layer: Any, site: CallSite) -> Sequence[Step]:
    """MaxPooling."""
    return (Step(MaxPool(int(np.prod(layer.pool_size))), site.output),)


def global_average(layer: Any, site: CallSite) -> Sequence[Step]:
    """GlobalAveragePooling."""
    return (Step(AveragePool(size=int(np.prod(site.spatial)), whole=True), site.output),)


def global_max(layer: Any, site: CallSite) -> Sequence[Step]:
    """GlobalMaxPooling."""
    return (Step(MaxPool(int(np.prod(site.spatial)), whole=True), site.output),)


def mean(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """keras.ops.mean over all spatial locations."""
    return global_average(layer, site) if _over_locations(layer, site) else None


def reduce_max(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """keras.ops.max over all spatial locations."""
    return global_max(layer, site) if _over_locations(layer, site) else None


def reduce_sum(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """keras.ops.sum over all spatial locations: the average times their number."""
    if not _over_locations(layer, site):
        return None
    count = float(np.prod(site.spatial))
    times = FixedAffine(np.full(site.channels, count), np.zeros(site.channels))
    return (*global_average(layer, site), Step(times, site.output))


def _over_locations(layer: Any, site: CallSite) -> bool:
    rank = len(site.inputs[0])
    axes = () if layer.axis is None else np.atleast_1d(layer.axis)
    return rank > 2 and sorted(int(a) % rank for a in axes) == list(range(1, rank - 1))


def rearranged(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """Anything that moves, repeats or drops values, or interpolates within a channel: recognized by running it on the
    channels' indices."""
    (shape,) = site.inputs
    if len(shape) < 2 or len(site.output) < 2:
        return None
    indices = np.broadcast_to(np.arange(float(shape[-1])), shape)
    return (Step(rearrange_of_indices(site.run([indices]), shape[-1]), site.output),)


def patches(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """keras.ops.image.extract_patches, where nothing is padded."""
    return rearranged(layer, site) if layer.padding == "valid" else None


def flattened(layer: Any, site: CallSite) -> Sequence[Step]:
    """Flatten, which repeats the channels."""
    channels, locations = site.inputs[0][-1], int(np.prod(site.spatial))
    if len(site.inputs[0]) == 1:
        return ()
    source = np.tile(np.arange(channels), locations)
    return (
        Step(
            Rearrange(channels=channels, source=source, target=np.arange(len(source)), share=np.ones(len(source))),
            site.output,
        ),
    )


def zero_pad(layer: Any, site: CallSite) -> Sequence[Step]:
    """ZeroPadding."""
    return (Step(Pad(_inner_share(site)), site.output),)


def padded(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """keras.ops.pad of spatial axes: with one value, or with those of the edge (reflect, symmetric, edge)."""
    widths, channels = np.asarray(layer.pad_width), site.output[-1]
    if widths.shape != (len(site.output), 2) or np.any(widths[-1]) or len(site.arguments) != 1:
        return None
    if layer.mode != "constant":
        every = np.arange(channels)
        return (Step(Rearrange(channels=channels, source=every, target=every, share=np.ones(channels)), site.output),)
    value = site.keywords.get("constant_values")
    value = 0.0 if value is None else value
    if not isinstance(value, int | float):
        return None
    # padding below all values, before a maximum, has no effect on moments
    return (Step(Pad(1.0) if value <= _BELOW_ALL else Pad(_inner_share(site), float(value)), site.output),)


def _inner_share(site: CallSite) -> float:
    """Share of the output's spatial locations that hold values of the input."""
    return float(np.prod(site.inputs[0][1:]) / np.prod(site.output[1:]))


_BELOW_ALL = -1e4
"""An int8 file holds the lowest value of the tensor in place of one below this."""

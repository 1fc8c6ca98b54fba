"""The range and moments of the model's inputs: stated by the user, by a layer in front, or told from the weights."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
from absl import logging

from spiq_tf.distributions.values import Array, ChannelRanges, InputStatistics, Moments, Source
from spiq_tf.errors import InputRangeError, InputRangeWarning, warn_user
from spiq_tf.graph.layer_graph import LayerGraph, Node, Tensor
from spiq_tf.primitives.affine import FixedAffine
from spiq_tf.primitives.shape import Rearrange
from spiq_tf.statistics.preprocessing import CONVENTIONS, misfit
from spiq_tf.statistics.propagation import first_norms

Bound: TypeAlias = float | Sequence[float] | npt.NDArray[Any]
InputRange: TypeAlias = tuple[Bound, Bound] | Mapping[str, tuple[Bound, Bound]]

FEATURE_REACH = 6.0
"""Deviations to either side of the mean that features are given whose Normalization layer is not that of pixels."""

_ANOTHER_UNIT = 8.0  # as many times as wide, or a range as many times as narrow: behind a layer, not in front
_PLAUSIBLE = 1.5  # a convention whose misfit is larger explains nothing
_DECISIVE = 9.0  # by how much the runner-up's deviance, the sum of squared misfits, must be larger


_ADVICE = (
    "pass input_range=(low, high), the smallest and largest value that the model is fed after preprocessing,"
    " e.g. (0, 1), (-1, 1) or (0, 255), or a pair of arrays with one number a channel"
)


def input_statistics(graph: LayerGraph, given: InputRange | None) -> dict[str, InputStatistics]:
    """What is known of each input, by tensor name.

    Args:
        graph: the model.
        given: a pair of numbers or of per-channel arrays for all inputs, a mapping from input names to such
            pairs, or None: then a leading Rescaling or Normalization layer says it, or the running statistics
            of the first BatchNorm do, if one of the usual conventions explains them.

    Raises:
        InputRangeError: the range is malformed, or was left out and cannot be told.
    """
    if isinstance(given, Mapping):
        unknown = sorted(set(given) - {t.name for t in graph.inputs})
        if unknown:
            names = ", ".join(t.name for t in graph.inputs)
            raise InputRangeError(f"input_range: the model has no input {unknown[0]!r}; its inputs are {names}")
    result = {}
    for tensor in graph.inputs:
        pair = given.get(tensor.name) if isinstance(given, Mapping) else given
        if pair is None:
            result[tensor.name] = _told(graph, tensor)
        else:
            result[tensor.name] = _stated(tensor, pair)
            _warn_of_contradiction(tensor, result[tensor.name].range, _told_in_front(graph, tensor))
    return result


def _warn_of_contradiction(tensor: Tensor, given: ChannelRanges, told: InputStatistics | None) -> None:
    """Warns where a range is given that can only be meant behind the Rescaling or Normalization in front."""
    if told is None:
        return
    ratio = np.max(given.high - given.low) / np.max(told.range.high - told.range.low)
    if not 1 / _ANOTHER_UNIT < ratio < _ANOTHER_UNIT:
        text = (
            f"input_range of input {tensor.name!r}: ({given.low.min():g}, {given.high.max():g}) contradicts the layer"
            f" in front, which is fed ({told.range.low.min():g}, {told.range.high.max():g}); leave input_range out, or"
            " give what the model is fed in front of that layer"
        )
        warn_user(text, InputRangeWarning)


def _stated(tensor: Tensor, pair: Any) -> InputStatistics:
    low, high = (_bound(tensor, end, value) for end, value in zip(("low", "high"), _pair(pair), strict=True))
    if np.any(low >= high):
        raise InputRangeError(
            f"input_range of input {tensor.name!r}: expected low < high, found low {low.min():g} and high"
            f" {high.max():g}" + ("; the two are reversed" if np.all(low > high) else "")
        )
    moments = Moments((low + high) / 2, ((high - low) / 4) ** 2)
    return InputStatistics(moments, ChannelRanges(low, high, Source.GIVEN))


def _pair(pair: Any) -> Sequence[Any]:
    if isinstance(pair, (str, bytes)) or not hasattr(pair, "__len__") or len(pair) != 2:
        raise InputRangeError(f"input_range: expected a pair (low, high), found {pair!r}")
    return pair


def _bound(tensor: Tensor, end: str, value: Any) -> Array:
    try:
        array = np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise InputRangeError(
            f"input_range of input {tensor.name!r}: expected numbers for {end}, found {value!r}"
        ) from None
    if array.size not in (1, tensor.channels):
        raise InputRangeError(
            f"input_range of input {tensor.name!r}: expected 1 or {tensor.channels} numbers (one a channel) for"
            f" {end}, found {array.size}"
        )
    if not np.all(np.isfinite(array)):
        raise InputRangeError(f"input_range of input {tensor.name!r}: expected finite numbers, found {value!r}")
    return array * np.ones(tensor.channels)


def _told(graph: LayerGraph, tensor: Tensor) -> InputStatistics:
    found = _told_in_front(graph, tensor)
    if found is None:
        return _told_by_norm(graph, tensor)
    _log(tensor, found.range, f"layer {_readers(graph, tensor)[0].call.name!r}")
    return found


def _told_in_front(graph: LayerGraph, tensor: Tensor) -> InputStatistics | None:
    """From the Rescaling or Normalization that alone reads an input, or from several that agree."""
    readers = _readers(graph, tensor)
    told = [
        _told_by_layer(r.call.layer, r.primitive) if isinstance(r.primitive, FixedAffine) else None for r in readers
    ]
    found = next(iter(told), None)
    agreed = found is not None and all(other is not None and _agree(found, other) for other in told)
    return found if agreed else None


def _readers(graph: LayerGraph, tensor: Tensor) -> Sequence[Node]:
    """What reads the input, or what a Resizing or a crop that alone reads it makes of it."""
    readers = graph.consumers[tensor.name]
    while len(readers) == 1 and isinstance(readers[0].primitive, Rearrange) and readers[0].primitive.keeps_channels:
        readers = graph.consumers[readers[0].output.name]
    return readers


def _agree(one: InputStatistics, other: InputStatistics) -> bool:
    """Whether two readers of an input tell the same of it; one layer called in two branches does."""
    pairs = [
        (one.range.low, other.range.low),
        (one.range.high, other.range.high),
        (one.moments.mean, other.moments.mean),
        (one.moments.variance, other.moments.variance),
    ]
    return all(np.allclose(a, b) for a, b in pairs)


def _told_by_layer(layer: Any, primitive: FixedAffine) -> InputStatistics | None:
    """From a Rescaling that maps the raw pixels to about [0, 1] or [-1, 1], or a Normalization's statistics."""
    mean, deviation = -primitive.offset / primitive.factor, 1 / primitive.factor
    ones = np.ones_like(mean)
    if isinstance(layer, keras.layers.Normalization) and not layer.invert:
        for top in (255.0, 1.0):
            if np.all((mean > 0.1 * top) & (mean < 0.9 * top) & (deviation > 0.05 * top) & (deviation < 0.5 * top)):
                return InputStatistics(Moments(mean, deviation**2), ChannelRanges(0 * ones, top * ones, Source.TOLD))
        reach = FEATURE_REACH * deviation
        distribution = ChannelRanges(mean - reach, mean + reach, Source.TOLD)
        return InputStatistics(Moments(mean, deviation**2), distribution)
    if np.all(np.abs(primitive.factor - 1) < 0.02):
        return None  # what changes next to nothing says nothing
    for top in (255.0, 1.0):
        low, high = primitive.offset, top * primitive.factor + primitive.offset
        if np.all((np.abs(high - 1) < 0.02) & ((np.abs(low) < 0.02) | (np.abs(low + 1) < 0.02))):
            pixels = Moments(0.45 * top * ones, (0.25 * top) ** 2 * ones)
            return InputStatistics(pixels, ChannelRanges(0 * ones, top * ones, Source.TOLD))
    return None


def _told_by_norm(graph: LayerGraph, tensor: Tensor) -> InputStatistics:
    """From the convention that best explains the running statistics of the first BatchNorm."""
    norms = first_norms(graph, tensor.name)
    if tensor.channels != 3 or not norms:
        raise InputRangeError(
            f"the range of input {tensor.name!r} (shape {tensor.shape[1:]}) cannot be told from the model: expected"
            f" a Rescaling to [0, 1] or [-1, 1] or a Normalization in front of all that reads it, or three channels and"
            f" a BatchNorm behind the first convolution; {_ADVICE}"
        )
    misfits = [max(misfit(c.moments(), *norm) for norm in norms) for c in CONVENTIONS]
    best, second = np.argsort(misfits)[:2]
    equations = sum(len(bias) for _, bias, _ in norms)
    deviance = equations * (misfits[second] ** 2 - misfits[best] ** 2)
    if not (misfits[best] <= _PLAUSIBLE and deviance >= _DECISIVE):
        table = ", ".join(f"{c.name}: {m:.2f}" for c, m in zip(CONVENTIONS, misfits, strict=True))
        raise InputRangeError(
            f"the range of input {tensor.name!r} cannot be told from the first BatchNorm: no usual convention"
            f" explains its running statistics well enough and alone (misfits {table}); {_ADVICE}"
        )
    chosen = CONVENTIONS[int(best)]
    _log(tensor, chosen.range(), f"the first BatchNorm, which fits {chosen.name} images")
    return InputStatistics(chosen.moments(), chosen.range())


def _log(tensor: Tensor, found: ChannelRanges, origin: str) -> None:
    logging.info("input_range of %r: [%g, %g], told by %s", tensor.name, found.low.min(), found.high.max(), origin)

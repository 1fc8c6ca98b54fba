"""The range and moments of the model's inputs: given by the user, or inferred from the model."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from absl import logging

from spiq_tf import priors
from spiq_tf.distributions.values import Array, ChannelRanges, InputStatistics, Moments, Source
from spiq_tf.errors import InputRangeError, InputRangeWarning, warn_user
from spiq_tf.graph.layer_graph import LayerGraph, Tensor
from spiq_tf.statistics.batch_norms import first_convolutions
from spiq_tf.statistics.preprocessing import CONVENTIONS, misfit
from spiq_tf.statistics.preprocessing_layers import from_preprocessing_layers

Bound: TypeAlias = float | Sequence[float] | npt.NDArray[Any]
InputRange: TypeAlias = tuple[Bound, Bound] | Mapping[str, tuple[Bound, Bound]]

_CONTRADICTION = 8.0
"""Ratio of widths at which a given range is taken to refer to the tensor after the preprocessing layer."""

_ADVICE = (
    "pass input_range=(low, high), the smallest and largest value of the model's input after preprocessing,"
    " e.g. (0, 1), (-1, 1) or (0, 255), or a pair of arrays with one number per channel"
)


def input_statistics(graph: LayerGraph, given: InputRange | None) -> dict[str, InputStatistics]:
    """Range and moments of each input, in model units, by tensor name.

    Args:
        graph: the model.
        given: a pair of numbers or of arrays (channels,) for all inputs, a mapping from input names to such pairs, or
            None: then they are inferred from a Rescaling or Normalization that alone reads the input, or from the
            running statistics of the first BatchNorm, if one of the usual conventions explains them.

    Raises:
        InputRangeError: the range is malformed, or was left out and cannot be inferred.
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
            result[tensor.name] = _inferred(graph, tensor)
        else:
            result[tensor.name] = _given(tensor, pair)
            _warn_of_contradiction(graph, tensor, result[tensor.name].range)
    return result


def _warn_of_contradiction(graph: LayerGraph, tensor: Tensor, given: ChannelRanges) -> None:
    """Warns of a range that can only be meant after the Rescaling or Normalization that reads the input."""
    inferred = from_preprocessing_layers(graph, tensor)
    if inferred is None:
        return
    expected = inferred.statistics.range
    ratio = np.max(given.high - given.low) / np.max(expected.high - expected.low)
    if not 1 / _CONTRADICTION < ratio < _CONTRADICTION:
        text = (
            f"input_range of input {tensor.name!r}: ({given.low.min():g}, {given.high.max():g}) contradicts the layer"
            f" that reads it, whose input range is ({expected.low.min():g}, {expected.high.max():g}); leave input_range"
            " out, or give the range of that layer's input"
        )
        warn_user(text, InputRangeWarning)


def _given(tensor: Tensor, pair: Any) -> InputStatistics:
    low, high = (_bound(tensor, end, value) for end, value in zip(("low", "high"), _pair(pair), strict=True))
    if np.any(low >= high):
        raise InputRangeError(
            f"input_range of input {tensor.name!r}: expected low < high, found low {low.min():g} and high"
            f" {high.max():g}" + ("; the two are reversed" if np.all(low > high) else "")
        )
    moments = Moments((low + high) / 2, ((high - low) / priors.INPUT_RANGE_SIGMAS.value) ** 2)
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
            f"input_range of input {tensor.name!r}: expected 1 or {tensor.channels} numbers (one per channel) for"
            f" {end}, found {array.size}"
        )
    if not np.all(np.isfinite(array)):
        raise InputRangeError(f"input_range of input {tensor.name!r}: expected finite numbers, found {value!r}")
    return array * np.ones(tensor.channels)


def _inferred(graph: LayerGraph, tensor: Tensor) -> InputStatistics:
    inferred = from_preprocessing_layers(graph, tensor)
    if inferred is None:
        return _from_batch_norm(graph, tensor)
    _log(tensor, inferred.statistics.range, f"layer {inferred.layer!r}")
    return inferred.statistics


def _from_batch_norm(graph: LayerGraph, tensor: Tensor) -> InputStatistics:
    """From the convention that best explains the running statistics of the first BatchNorm."""
    convolutions = first_convolutions(graph, tensor.name)
    if tensor.channels != 3 or not convolutions:
        raise InputRangeError(
            f"the range of input {tensor.name!r} (shape {tensor.shape[1:]}) cannot be inferred from the model: expected"
            f" a Rescaling to [0, 1] or [-1, 1] or a Normalization before all that reads it, or three channels and"
            f" a BatchNorm after the first convolution; {_ADVICE}"
        )
    misfits = [max(misfit(c.moments(), *each) for each in convolutions) for c in CONVENTIONS]
    best, second = np.argsort(misfits)[:2]
    equations = sum(len(bias) for _, bias, _ in convolutions)
    deviance = equations * (misfits[second] ** 2 - misfits[best] ** 2)
    plausible = misfits[best] <= priors.MAX_CONVENTION_MISFIT.value
    if not (plausible and deviance >= priors.MIN_CONVENTION_DEVIANCE.value):
        table = ", ".join(f"{c.name}: {m:.2f}" for c, m in zip(CONVENTIONS, misfits, strict=True))
        raise InputRangeError(
            f"the range of input {tensor.name!r} cannot be inferred from the first BatchNorm: no usual convention"
            f" explains its running statistics well enough and alone (misfits {table}); {_ADVICE}"
        )
    chosen = CONVENTIONS[int(best)]
    _log(tensor, chosen.range(), f"the first BatchNorm, which fits {chosen.name} images")
    return InputStatistics(chosen.moments(), chosen.range())


def _log(tensor: Tensor, inferred: ChannelRanges, origin: str) -> None:
    text = "input_range of %r: [%g, %g], inferred from %s"
    logging.info(text, tensor.name, inferred.low.min(), inferred.high.max(), origin)

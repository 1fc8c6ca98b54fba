"""The arguments of `convert`, `quantize` and `rewrite`, checked once and frozen."""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf

from spiq_tf.errors import InvalidArgumentError
from spiq_tf.targets import TARGETS, Target, target_named

_TYPES = ("int8", "uint8", "float32")


@dataclass(frozen=True)
class Parts:
    """The parts of the method, each of which can be left out to see what it is worth.

    Attributes:
        scales: how scales and ranges are chosen: "noise" minimises the predicted noise, "spiq" gives every channel
            all steps of its own range, "dfq" equalises the ranges of consecutive layers' weights, "none" leaves the
            weights as they are and minimises the noise over ranges.
        kept_sums: whether weights are rounded so that the sum of each spatial kernel is kept.
        corrected_biases: whether the shift of the mean that rounded weights cause is taken off the biases.
        fields: whether the model is run on random fields, to see how much sums of alike terms vary and how much noise
            reaches the outputs, or closed forms alone tell it.
        shared_steps: whether addends and their sum are given one step, so that the sum needs no rounding, where less
            noise is then predicted.
        absorbed_biases: whether a mean that lies far above 0 is moved through its ReLU into the next layer.
    """

    scales: str = "noise"
    sum_preserving_rounding: bool = True
    bias_correction: bool = True
    fields: bool = True
    equal_scale_adds: bool = True
    bias_absorption: bool = False


METHODS = {
    "noise": Parts(),
    "spiq": Parts("spiq", sum_preserving_rounding=False, bias_correction=False, fields=False, equal_scale_adds=False),
    "dfq": Parts("dfq", sum_preserving_rounding=False, fields=False, equal_scale_adds=False, bias_absorption=True),
}


@dataclass(frozen=True)
class Options:
    """What the user chose.

    Attributes:
        inference_input_type, inference_output_type: "int8", "uint8" or "float32".
        batch_size: static batch of the file.
        per_channel_dense: whether Dense weights get a scale for each output.
        target: what the file is to run on.
        parts: of the method.
        ranges: of layers' outputs, by layer name, in place of what statistics say.
        float_layers: names or patterns of the layers that stay float.
        labels: names of the classes, or None.
    """

    inference_input_type: str
    inference_output_type: str
    batch_size: int
    per_channel_dense: bool
    target: Target = TARGETS["portable"]
    parts: Parts = METHODS["noise"]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    float_layers: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None


def checked_options(
    inference_input_type: Any = "int8",
    inference_output_type: Any = "int8",
    batch_size: Any = 1,
    per_channel_dense: Any = None,
    target: Any = "portable",
    method: Any = "noise",
    ranges: Any = None,
    float_layers: Any = (),
    labels: Any = None,
) -> Options:
    """Raises InvalidArgumentError naming the argument that is wrong."""
    size = _whole(batch_size)
    if not isinstance(method, str) or method not in METHODS:
        raise InvalidArgumentError(f"method: expected one of {', '.join(METHODS)}, found {method!r}")
    named = target_named(target)
    if named.largest_batch is not None and size > named.largest_batch:
        raise InvalidArgumentError(
            f"batch_size: target {named.name!r} takes {named.largest_batch} at most, found {size}"
        )
    dense = _dense_granularity(per_channel_dense, named)
    return Options(
        _type_name("inference_input_type", inference_input_type),
        _type_name("inference_output_type", inference_output_type),
        size,
        dense,
        replace(named, per_channel_dense=dense),
        METHODS[method],
        {name: _pair(name, pair) for name, pair in _mapping(ranges).items()},
        _names(float_layers),
        _labels(labels),
    )


def _whole(batch_size: Any) -> int:
    """A whole number of any type that says that it is one, as numpy's do; True is none."""
    try:
        size = 0 if isinstance(batch_size, bool) else operator.index(batch_size)
    except TypeError:
        size = 0
    if size < 1:
        raise InvalidArgumentError(f"batch_size: expected a positive whole number, found {batch_size!r}")
    return size


def _dense_granularity(per_channel_dense: Any, target: Target) -> bool:
    """What the target takes, unless the user says more of the runtimes that he has."""
    if per_channel_dense is None:
        return target.per_channel_dense
    if per_channel_dense and not target.per_channel_dense and target.operators is not None:
        raise InvalidArgumentError(
            f"per_channel_dense: target {target.name!r} takes one scale for all weights of a Dense layer; leave the"
            " argument out"
        )
    return bool(per_channel_dense)


def _mapping(ranges: Any) -> Mapping[str, Any]:
    if ranges is None:
        return {}
    if not isinstance(ranges, Mapping) or not all(isinstance(name, str) for name in ranges):
        raise InvalidArgumentError(
            f"ranges: expected a mapping from layer names to pairs (low, high), found {ranges!r}"
        )
    return ranges


def _pair(name: str, pair: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in pair)
    except (TypeError, ValueError):
        raise InvalidArgumentError(f"ranges: expected two numbers for layer {name!r}, found {pair!r}") from None
    if not (np.isfinite(low) and np.isfinite(high) and low <= 0 <= high and low < high):
        raise InvalidArgumentError(
            f"ranges: expected finite numbers low <= 0 <= high for layer {name!r}, since int8 needs a zero, found"
            f" ({low:g}, {high:g})"
        )
    return low, high


def _names(float_layers: Any) -> tuple[str, ...]:
    if isinstance(float_layers, str) or not isinstance(float_layers, Iterable):
        raise InvalidArgumentError(f"float_layers: expected a list of names or patterns, found {float_layers!r}")
    names = tuple(float_layers)
    if not all(isinstance(name, str) for name in names):
        raise InvalidArgumentError(f"float_layers: expected names or patterns, found {names!r}")
    return names


def _labels(labels: Any) -> tuple[str, ...] | None:
    """Names may stand twice (as two of ImageNet's do); readers skip empty lines, so none may be empty."""
    if labels is None:
        return None
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise InvalidArgumentError(f"labels: expected a list of strings, one for each class, found {labels!r}")
    names = tuple(labels)
    for place, name in enumerate(names):
        if not isinstance(name, str) or not name.strip() or any(end in name for end in "\r\n"):
            raise InvalidArgumentError(
                f"labels: expected strings of one line each that are not empty, found {name!r} for class {place}"
            )
        try:
            name.encode()
        except UnicodeEncodeError:  # half of a pair of surrogates
            raise InvalidArgumentError(
                f"labels: expected strings that UTF-8 can hold, found {name!r} for class {place}"
            ) from None
    return names


def _type_name(argument: str, value: Any) -> str:
    try:
        name = tf.as_dtype(value).name
    except TypeError:
        name = None
    if name not in _TYPES:
        raise InvalidArgumentError(f"{argument}: expected one of {', '.join(_TYPES)}, found {value!r}")
    return str(name)

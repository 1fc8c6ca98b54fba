"""The arguments of `convert`, `quantize` and `rewrite`, checked once and frozen."""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf

from spiq_tf.errors import InvalidArgumentError
from spiq_tf.targets import TARGETS, Target, target_named

_TYPES = ("int8", "uint8", "float32")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of the method, each of which can be left out to see what it is worth.

    Attributes:
        scales: how channel scales and ranges are chosen: "noise" minimizes the predicted noise, "spiq" maps each
            channel's whole range to the integer range, "dfq" equalizes the weight ranges of consecutive layers, "none"
            absorbs no scales and minimizes the predicted noise over ranges alone.
        sum_preserving_rounding: whether weights are rounded so that each spatial kernel keeps its sum (SQuant).
        bias_correction: whether the mean shift that rounded weights cause is subtracted from the biases (DFQ).
        samples: whether the model is run on synthetic inputs, to measure the variance of sums of correlated terms and
            how much noise reaches the outputs; closed forms alone otherwise.
        equal_scale_adds: whether both addends and their sum get one scale, so that the sum needs no rounding, where
            that lowers the predicted noise.
        bias_absorption: whether a mean far above 0 is moved through its ReLU into the next layer (DFQ, section 4.1.3).
    """

    scales: str = "noise"
    sum_preserving_rounding: bool = True
    bias_correction: bool = True
    samples: bool = True
    equal_scale_adds: bool = True
    bias_absorption: bool = False


METHODS = {
    "noise": Parts(),
    "spiq": Parts(
        scales="spiq", sum_preserving_rounding=False, bias_correction=False, samples=False, equal_scale_adds=False
    ),
    "dfq": Parts(
        scales="dfq", sum_preserving_rounding=False, samples=False, equal_scale_adds=False, bias_absorption=True
    ),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The user's arguments, checked.

    Attributes:
        inference_input_type, inference_output_type: "int8", "uint8" or "float32".
        batch_size: static batch of the file.
        target: the runtime or accelerator that the file is made for; its `per_channel_dense` is the user's where he
            gave one.
        parts: of the method.
        ranges: of layers' outputs, (low, high) in model units by layer name, in place of computed ones.
        float_layers: names or patterns of the layers that stay float.
        labels: names of the classes, or None.
    """

    inference_input_type: str
    inference_output_type: str
    batch_size: int
    target: Target = TARGETS["portable"]
    parts: Parts = METHODS["noise"]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    float_layers: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None

    @property
    def per_channel_dense(self) -> bool:
        """Whether Dense weights get a scale for each output."""
        return self.target.per_channel_dense

    def as_dict(self) -> dict[str, Any]:
        """All of them for the file's metadata, the target by its name."""
        return {**asdict(self), "target": self.target.name, "per_channel_dense": self.per_channel_dense}


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
    """The arguments of `convert` as `Options`.

    Raises:
        InvalidArgumentError: one of them is wrong; the text names it.
    """
    size = _batch_size(batch_size)
    if not isinstance(method, str) or method not in METHODS:
        raise InvalidArgumentError(f"method: expected one of {', '.join(METHODS)}, found {method!r}")
    named = target_named(target)
    if named.largest_batch is not None and size > named.largest_batch:
        raise InvalidArgumentError(
            f"batch_size: target {named.name!r} takes {named.largest_batch} at most, found {size}"
        )
    dense = _dense_granularity(per_channel_dense, named)
    return Options(
        inference_input_type=_type_name("inference_input_type", inference_input_type),
        inference_output_type=_type_name("inference_output_type", inference_output_type),
        batch_size=size,
        target=replace(named, per_channel_dense=dense),
        parts=METHODS[method],
        ranges={name: _range(name, ends) for name, ends in _mapping(ranges).items()},
        float_layers=_names(float_layers),
        labels=_labels(labels),
    )


def _batch_size(batch_size: Any) -> int:
    """Any integer type (anything with `__index__`, as numpy's), but not bool."""
    try:
        size = 0 if isinstance(batch_size, (bool, np.bool_)) else operator.index(batch_size)
    except TypeError:
        size = 0
    if size < 1:
        raise InvalidArgumentError(f"batch_size: expected a positive integer, found {batch_size!r}")
    return size


def _dense_granularity(per_channel_dense: Any, target: Target) -> bool:
    """What the target supports, unless the user knows more of his runtimes."""
    if per_channel_dense is None:
        return target.per_channel_dense
    if per_channel_dense and not target.per_channel_dense and target.operators is not None:
        raise InvalidArgumentError(
            f"per_channel_dense: target {target.name!r} supports one scale for all weights of a Dense layer; leave the"
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


def _range(name: str, ends: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError):
        raise InvalidArgumentError(f"ranges: expected two numbers for layer {name!r}, found {ends!r}") from None
    if not (np.isfinite(low) and np.isfinite(high) and low <= 0 <= high and low < high):
        raise InvalidArgumentError(
            f"ranges: expected finite numbers low <= 0 <= high for layer {name!r}, since an integer must stand for 0,"
            f" found ({low:g}, {high:g})"
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
    """Names may repeat (as two of ImageNet's do); readers skip empty lines, so none may be empty."""
    if labels is None:
        return None
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise InvalidArgumentError(f"labels: expected a list of strings, one for each class, found {labels!r}")
    names = tuple(labels)
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name.strip() or any(end in name for end in "\r\n"):
            raise InvalidArgumentError(
                f"labels: expected strings of one line each that are not empty, found {name!r} for class {index}"
            )
        try:
            name.encode()
        except UnicodeEncodeError:  # an unpaired surrogate
            raise InvalidArgumentError(
                f"labels: expected strings that UTF-8 can hold, found {name!r} for class {index}"
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

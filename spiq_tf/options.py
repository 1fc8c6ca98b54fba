"""The arguments of `convert`, `quantize` and `rewrite`, checked once and frozen."""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from spiq_tf.errors import InvalidArgumentError

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
        absorbed_biases: whether a mean that lies far above 0 is moved through its ReLU into the next layer.
    """

    scales: str = "noise"
    kept_sums: bool = True
    corrected_biases: bool = True
    fields: bool = True
    absorbed_biases: bool = False


METHODS = {
    "noise": Parts(),
    "spiq": Parts("spiq", kept_sums=False, corrected_biases=False, fields=False),
    "dfq": Parts("dfq", kept_sums=False, fields=False, absorbed_biases=True),
}


@dataclass(frozen=True)
class Options:
    """What the user chose.

    Attributes:
        inference_input_type, inference_output_type: "int8", "uint8" or "float32".
        batch_size: static batch of the file.
        per_channel_dense: whether Dense weights get a scale for each output.
        parts: of the method.
    """

    inference_input_type: str
    inference_output_type: str
    batch_size: int
    per_channel_dense: bool
    parts: Parts = METHODS["noise"]


def checked_options(
    inference_input_type: Any,
    inference_output_type: Any,
    batch_size: Any,
    per_channel_dense: Any,
    method: Any = "noise",
) -> Options:
    """Raises InvalidArgumentError naming the argument that is wrong."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InvalidArgumentError(f"batch_size: expected a positive whole number, found {batch_size!r}")
    if not isinstance(method, str) or method not in METHODS:
        raise InvalidArgumentError(f"method: expected one of {', '.join(METHODS)}, found {method!r}")
    return Options(
        _type_name("inference_input_type", inference_input_type),
        _type_name("inference_output_type", inference_output_type),
        batch_size,
        bool(per_channel_dense),
        METHODS[method],
    )


def _type_name(argument: str, value: Any) -> str:
    try:
        name = tf.as_dtype(value).name
    except TypeError:
        name = None
    if name not in _TYPES:
        raise InvalidArgumentError(f"{argument}: expected one of {', '.join(_TYPES)}, found {value!r}")
    return str(name)

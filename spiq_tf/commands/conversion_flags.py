"""The flags of `spiq-tf convert` that set options of the conversion of each model."""

from pathlib import Path
from typing import Any

from absl import flags

from spiq_tf.errors import InputRangeError, InvalidArgumentError
from spiq_tf.targets import TARGETS

_TYPES = ["int8", "uint8", "float32"]


def define_conversion_flags(values: flags.FlagValues) -> None:
    """Defines the flags that set options of the conversion of each model."""
    define_input_range(values)
    flags.DEFINE_enum("inference_input_type", "int8", _TYPES, "Data type of the files' inputs.", flag_values=values)
    flags.DEFINE_enum("inference_output_type", "int8", _TYPES, "Data type of the files' outputs.", flag_values=values)
    flags.DEFINE_integer("batch_size", 1, "Static batch of the files.", flag_values=values, lower_bound=1)
    flags.DEFINE_bool(
        "per_channel_dense",
        None,
        "Gives Dense weights a scale for each output, for runtimes since 2024; by default the target decides.",
        flag_values=values,
    )
    flags.DEFINE_multi_string(
        "ranges",
        [],
        "LAYER=LOW,HIGH: range of a layer's output, in place of the predicted range.",
        flag_values=values,
    )
    flags.DEFINE_list("float_layers", [], "Names or patterns of layers that stay float.", flag_values=values)
    flags.DEFINE_enum("target", "portable", list(TARGETS), "What the files are to run on.", flag_values=values)
    flags.DEFINE_string(
        "labels_file", None, "Names of the classes, one per line, that are stored in the files.", flag_values=values
    )
    flags.DEFINE_bool(
        "verify",
        False,
        "Compares each file with its model on generated inputs; a file that is useless although its model is not"
        " counts as failed.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "trust_code_in_files",
        False,
        "Loads files that carry code (Lambda layers): they can do anything.",
        flag_values=values,
    )


def define_input_range(values: flags.FlagValues) -> None:
    """Defines --input_range."""
    flags.DEFINE_list(
        "input_range",
        None,
        "Smallest and largest input of the models after preprocessing, LOW,HIGH; by default it is inferred from the"
        " model.",
        flag_values=values,
    )


def input_range(options: flags.FlagValues) -> tuple[float, float] | None:
    """The value of --input_range, or None where it is not given.

    Raises:
        InputRangeError: it is no pair of numbers.
    """
    given = options.input_range
    return None if given is None else _parse_range("--input_range", ",".join(given))


def quantize_options(options: flags.FlagValues) -> dict[str, Any]:
    """The arguments of `spiq_tf.quantize`, from the flags.

    Raises:
        InvalidArgumentError: a flag or the file of labels is wrong.
    """
    arguments = {
        "input_range": input_range(options),
        "inference_input_type": options.inference_input_type,
        "inference_output_type": options.inference_output_type,
        "batch_size": options.batch_size,
        "per_channel_dense": options.per_channel_dense,
        "ranges": _layer_ranges(options.ranges),
        "float_layers": options.float_layers,
        "target": options.target,
    }
    return arguments | ({"labels": read_labels(options.labels_file)} if options.labels_file else {})


def _layer_ranges(values: list[str]) -> dict[str, tuple[float, float]]:
    """The flags LAYER=LOW,HIGH as a mapping."""
    parts = [value.rpartition("=") for value in values]
    for value, (layer, _, _) in zip(values, parts, strict=True):
        if not layer:
            raise InputRangeError(f"--ranges: expected LAYER=LOW,HIGH, found {value}")
    return {layer: _parse_range(f"--ranges {layer}", pair) for layer, _, pair in parts}


def _parse_range(flag: str, text: str) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in text.split(","))
    except ValueError:
        raise InputRangeError(f"{flag}: expected LOW,HIGH, found {text}") from None
    return low, high


def read_labels(path: str | Path) -> list[str]:
    """The lines of a file without empty ones at its end.

    Raises:
        InvalidArgumentError: the file cannot be read, or its lines cannot be labels, whatever the models are.
    """
    from spiq_tf.options import checked_options  # imports TensorFlow

    try:
        lines = Path(path).read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
        checked_options(labels=lines)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise InvalidArgumentError(f"--labels_file: {path}: {reason}") from error
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"--labels_file: {path} is no text in UTF-8: {error}") from error
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"--labels_file: {path}: {error}") from error
    return lines

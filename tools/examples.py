"""A trained model with labelled examples, and the score of a file on them."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from absl import flags

Array = npt.NDArray[Any]


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the examples; a tool has to require --eval."""
    flags.DEFINE_string("eval", None, "An .npz of x and y.", flag_values=values)
    flags.DEFINE_string("preprocess", None, "A numpy formula of x; by default that of MODEL.json.", flag_values=values)
    flags.DEFINE_list(
        "input_range", None, "Smallest and largest input after preprocessing, LOW,HIGH.", flag_values=values
    )


@dataclass(frozen=True, kw_only=True)
class Examples:
    """A model and the labelled examples that it is measured on.

    Attributes:
        model: without its final softmax, which hides errors.
        inputs: preprocessed, one row an example.
        labels: class numbers.
        input_range: smallest and largest input after preprocessing.
    """

    model: keras.Model
    inputs: Array
    labels: Array
    input_range: tuple[float, float]


def load(path: str, options: flags.FlagValues) -> Examples:
    """Reads a model, and its examples as the flags say.

    Args:
        path: of the .keras file.
        options: the flags of `define_flags`, and --limit.

    Raises:
        ValueError: there is no input range.
    """
    return read_examples(path, options.eval, options.limit, options.preprocess, options.input_range)


def read_examples(
    path: str,
    evaluation: str,
    limit: int,
    preprocess: str | None = None,
    input_range: Sequence[str | float] | None = None,
) -> Examples:
    """Reads a model and its examples.

    Args:
        path: of the .keras file. A .json of the same name may state "preprocess" and "input_range".
        evaluation: an .npz of x, or of JPEG images, and y.
        limit: how many examples to take, drawn with a fixed seed.
        preprocess: a numpy formula of x, in place of that of the .json.
        input_range: smallest and largest input after preprocessing, in place of those of the .json.

    Raises:
        ValueError: there is no input range.
    """
    settings_file = os.path.splitext(path)[0] + ".json"
    settings: dict[str, Any] = {}
    if os.path.exists(settings_file):
        with open(settings_file) as file:
            settings = json.load(file)
    if not input_range and "input_range" not in settings:
        raise ValueError(f"no input range: expected it in {settings_file} or as --input_range=LOW,HIGH")
    low, high = input_range or settings["input_range"]
    with np.load(evaluation) as data:
        indices = np.random.default_rng(0).permutation(len(data["y"]))[:limit]
        raw, labels = _read_images(data, indices), data["y"][indices]
    formula = preprocess or settings.get("preprocess", "x")
    inputs = eval(formula, {"np": np}, {"x": raw.astype(np.float32)})  # the user's own formula
    return Examples(
        model=_without_softmax(path),
        inputs=np.asarray(inputs, np.float32),
        labels=labels,
        input_range=(float(low), float(high)),
    )


def _read_images(data: Any, indices: Array) -> Array:
    if "jpeg" not in data:
        images: Array = data["x"][indices]
        return images
    import tensorflow as tf

    ends, encoded = data["ends"], data["jpeg"]
    starts = np.concatenate([[0], ends[:-1]])
    return np.stack([tf.io.decode_jpeg(encoded[starts[i] : ends[i]].tobytes()).numpy() for i in indices])


def _without_softmax(path: str) -> keras.Model:
    model = keras.models.load_model(path, compile=False)
    last = model.layers[-1]
    if isinstance(last, keras.layers.Softmax):
        return keras.Model(model.inputs, last.input)
    if getattr(last, "activation", None) is keras.activations.softmax:
        last.activation = keras.activations.linear
    return model


@dataclass(frozen=True)
class Score:
    """Of one file.

    Attributes:
        metric: share of examples whose largest output is the label's.
        agreement: share of examples whose largest output is the float model's.
        sqnr: 10 log10(sum of ref^2 / sum of (ref - out)^2), in dB.
    """

    metric: float
    agreement: float
    sqnr: float


def score(outputs: Array, reference: Array, labels: Array) -> Score:
    """Compares outputs, (examples, ..., classes), with the float model's."""
    classes, expected = outputs.argmax(axis=-1), reference.argmax(axis=-1)
    noise = float(np.sum((outputs - reference) ** 2))
    ratio = float(10 * np.log10(np.sum(reference**2) / noise)) if noise else float("inf")
    return Score(float(np.mean(classes == labels)), float(np.mean(classes == expected)), ratio)

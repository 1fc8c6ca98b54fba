"""A trained model with labelled examples, and how well a file of it does on them."""

import json
import os
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from absl import flags

Array = npt.NDArray[Any]

FLAGS = flags.FLAGS

# a tool has to show these in its help (adopt_module_key_flags) and to ask for --eval
flags.DEFINE_string("eval", None, "An .npz of x and y.")
flags.DEFINE_string("preprocess", None, "A numpy formula of x; by default that of MODEL.json.")
flags.DEFINE_list("input_range", None, "Smallest and largest value that the model is fed, LOW,HIGH.")


@dataclass(frozen=True)
class Examples:
    """What a model is measured on.

    Attributes:
        model: without its final softmax, which hides errors.
        inputs: preprocessed, one row an example.
        labels: class numbers.
        input_range: of what the model is fed.
    """

    model: keras.Model
    inputs: Array
    labels: Array
    input_range: tuple[float, float]


def load(path: str, limit: int, evaluation: str | None = None) -> Examples:
    """Reads a model, and its examples as the flags say.

    Args:
        path: of the .keras file. A .json of the same name may state "preprocess" and "input_range".
        limit: how many examples to take, drawn with a fixed seed.
        evaluation: path of the .npz; by default that of the flag.

    Raises:
        ValueError: the input range stands nowhere.
    """
    beside = os.path.splitext(path)[0] + ".json"
    stated: dict[str, Any] = {}
    if os.path.exists(beside):
        with open(beside) as file:
            stated = json.load(file)
    if not FLAGS.input_range and "input_range" not in stated:
        raise ValueError(f"no input range: expected it in {beside} or as --input_range=LOW,HIGH")
    low, high = FLAGS.input_range or stated["input_range"]
    with np.load(evaluation or FLAGS.eval) as data:
        picked = np.random.default_rng(0).permutation(len(data["y"]))[:limit]
        raw, labels = _raw(data, picked), data["y"][picked]
    formula = FLAGS.preprocess or stated.get("preprocess", "x")
    inputs = eval(formula, {"np": np}, {"x": raw.astype(np.float32)})  # the user's own formula
    return Examples(_without_softmax(path), np.asarray(inputs, np.float32), labels, (float(low), float(high)))


def _raw(data: Any, picked: Array) -> Array:
    if "jpeg" not in data:
        found: Array = data["x"][picked]
        return found
    import tensorflow as tf

    ends, stored = data["ends"], data["jpeg"]
    starts = np.concatenate([[0], ends[:-1]])
    return np.stack([tf.io.decode_jpeg(stored[starts[i] : ends[i]].tobytes()).numpy() for i in picked])


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
    found, expected = outputs.argmax(axis=-1), reference.argmax(axis=-1)
    noise = float(np.sum((outputs - reference) ** 2))
    ratio = float(10 * np.log10(np.sum(reference**2) / noise)) if noise else float("inf")
    return Score(float(np.mean(found == labels)), float(np.mean(found == expected)), ratio)

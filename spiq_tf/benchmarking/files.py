"""The three files of a network: TFLiteConverter's float32 and full-integer int8 ones, and ours."""

import gc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from spiq_tf.api import convert
from spiq_tf.benchmarking.speed import FLOAT, OURS, TENSORFLOW
from spiq_tf.errors import InputRangeError, SpiqError, short_reason
from spiq_tf.frontend.entry import to_float32_functional
from spiq_tf.frontend.keras_internals import graph_of
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.silence import silence

_BATCH = 1
_CALIBRATION_INPUTS = 4  # random: speed does not depend on how good the ranges are


@dataclass(frozen=True)
class Failure:
    """In place of a file that could not be made."""

    reason: str


@dataclass(frozen=True)
class NetworkFiles:
    """The files of a network.

    Attributes:
        files: by `speed.KINDS`.
        shapes: of the network's inputs, without the batch.
        input_range: smallest and largest value of these.
    """

    files: Mapping[str, bytes | Failure]
    shapes: tuple[tuple[int, ...], ...]
    input_range: tuple[float, float]


def files_of(model: Any, input_range: tuple[float, float] | None, target: str) -> NetworkFiles:
    """Converts a model in three ways; one that fails leaves the others.

    Args:
        model: as `spiq_tf.convert` takes it.
        input_range: smallest and largest value of its inputs; None: inferred from the model, as `spiq_tf.convert` does.
        target: of our file.

    Raises:
        ModelTypeError, InvalidModelError: it is no model that can be converted.
        InputRangeError: there is no input range to calibrate with: it is not given, and our file, which would state it,
            could not be made.
    """
    graph = graph_of(to_float32_functional(model, _BATCH))
    ours = _attempt(lambda: convert(model, input_range=input_range, target=target, batch_size=_BATCH))
    if input_range is None:
        if isinstance(ours, Failure):
            raise InputRangeError(
                f"{ours.reason}; with an input range given, the other files are measured without ours"
            )
        input_range = stated_range(ours)
    known = input_range
    files = {
        FLOAT: _attempt(lambda: float_file(graph)),
        TENSORFLOW: _attempt(lambda: tensorflow_int8_file(graph, known)),
        OURS: ours,
    }
    return NetworkFiles(files, tuple(tuple(x.shape[1:]) for x in graph.inputs), known)


def _attempt(converted: Callable[[], bytes]) -> bytes | Failure:
    try:
        with silence():
            return converted()
    except SpiqError as error:
        return Failure(short_reason(error))
    except Exception as error:  # TensorFlow's converter raises what it likes; a defect of ours must not stop the others
        return Failure(f"{type(error).__name__}: {short_reason(error)}")
    finally:
        gc.collect()  # graphs of TensorFlow, which hold the weights: ResNet50's three files need 3.4 GB, else 3.9


def stated_range(content: bytes) -> tuple[float, float]:
    """Smallest and largest real value that the integer inputs of a file of ours can hold."""
    flat = FlatModel(content)
    inputs = [flat.quantization(int(index)) for index in flat.subgraph.inputs]
    known = [parameters for parameters in inputs if parameters is not None]
    return min(p.low for p in known), max(p.high for p in known)


def float_file(graph: Any) -> bytes:
    """TFLiteConverter's float32 file of a Functional model, with a static batch of 1."""
    return bytes(_converter(graph).convert())


def tensorflow_int8_file(graph: Any, input_range: tuple[float, float]) -> bytes:
    """TFLiteConverter's full-integer int8 file, with a static batch of 1, calibrated on random inputs.

    Args:
        graph: a Functional model.
        input_range: smallest and largest value of these inputs.
    """

    def examples() -> Iterator[list[Any]]:
        random = np.random.default_rng(0)
        for _ in range(_CALIBRATION_INPUTS):
            yield [
                random.uniform(*input_range, spec.shape).astype(spec.dtype.as_numpy_dtype) for spec in _inputs(graph)
            ]

    converter = _converter(graph)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = examples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def _converter(graph: Any) -> Any:
    """Of the model traced with a static batch: of `from_keras_model` the batch stays open, which costs operators."""

    def run(*inputs: Any) -> Any:
        return graph(keras.tree.pack_sequence_as(graph.input, inputs), training=False)

    traced = tf.function(run, input_signature=_inputs(graph), autograph=False).get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([traced])


def _inputs(graph: Any) -> list[Any]:
    return [
        tf.TensorSpec((_BATCH, *x.shape[1:]), x.dtype, name=f"input{position}")
        for position, x in enumerate(graph.inputs)
    ]

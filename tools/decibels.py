"""Signal to quantization noise of a .tflite file at its outputs, against the float model."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from tests.networks import images

Array = npt.NDArray[Any]

INPUTS = 32


def of_file(content: bytes, model: Any) -> float:
    """dB on random inputs, the mean over the outputs.

    Args:
        content: of the file.
        model: the float model that it was converted from.
    """
    drawn = images(model, INPUTS)
    batches = drawn if isinstance(drawn, list) else [drawn]
    expected = [np.asarray(y) for y in keras.tree.flatten(model.predict(drawn, verbose=0))]
    return float(np.mean([sqnr(y, z) for y, z in zip(expected, run(content, batches), strict=True)]))


def sqnr(expected: Array, found: Array) -> float:
    """In dB; 0 for noise without a signal, 200 at most for no noise."""
    signal, noise = np.sum(expected.astype(np.float64) ** 2), np.sum((expected - found.astype(np.float64)) ** 2)
    return float(10 * np.log10(max(signal, 1e-30) / max(noise, 1e-20 * signal, 1e-30)))


def run(content: bytes, batches: Sequence[Array]) -> list[Array]:
    """The file's outputs in float, for all examples."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    size, count = inputs[0]["shape"][0], len(batches[0])
    parts: list[list[Array]] = []
    for start in range(0, count, size):
        chosen = np.arange(start, start + size) % count
        for detail, batch in zip(inputs, batches, strict=True):
            interpreter.set_tensor(detail["index"], _quantized(batch[chosen], detail))
        interpreter.invoke()
        parts.append([_real(interpreter.get_tensor(detail["index"]), detail) for detail in outputs])
    return [np.concatenate(values)[:count] for values in zip(*parts, strict=True)]


def _quantized(values: Array, detail: dict[str, Any]) -> Array:
    if detail["dtype"] == np.float32:
        return values.astype(np.float32)
    scale, zero_point = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(detail["dtype"])


def _real(values: Array, detail: dict[str, Any]) -> Array:
    if detail["dtype"] == np.float32:
        return values
    scale, zero_point = detail["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale)

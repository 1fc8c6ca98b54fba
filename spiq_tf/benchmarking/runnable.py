"""A TFLite file that is ready to run on random inputs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import interpreter as litert

from spiq_tf.tflite.silence import silence


def runnable(content: bytes, input_range: tuple[float, float], threads: int) -> Callable[[], None]:
    """A function that runs the file once.

    Args:
        content: of the file.
        input_range: smallest and largest value of its inputs, in the model's units.
        threads: that LiteRT may use.

    Raises:
        ValueError, RuntimeError: LiteRT refuses the file; it may also refuse it when it first runs.
    """
    random = np.random.default_rng(0)
    with silence():
        interpreter = litert.Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], random_input(detail, input_range, random))

    def run() -> None:
        interpreter.invoke()

    return run


def random_input(
    detail: dict[str, Any], input_range: tuple[float, float], random: np.random.Generator
) -> npt.NDArray[Any]:
    """A random value for an input as LiteRT describes it; any integers that its type has, where it is quantized."""
    dtype, shape = np.dtype(detail["dtype"]), tuple(detail["shape"])
    if np.issubdtype(dtype, np.integer) and detail["quantization"][0]:
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    values = random.uniform(*input_range, shape)
    return (np.rint(values) if np.issubdtype(dtype, np.integer) else values).astype(dtype)

"""LiteRT's interpreter as a function of arrays."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import interpreter as litert

from spiq_tf.errors import LoweringError
from spiq_tf.quantization.bit_width import BitWidth
from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.tflite.silence import silence


class Interpreter:
    """A file as a function of arrays in the order of its inputs; integers are quantized and dequantized."""

    def __init__(self, content: bytes | bytearray, keep_all: bool = False, delegate: bool = True) -> None:
        """Loads the file.

        Args:
            content: of the file.
            keep_all: keeps the intermediate tensors readable; slower.
            delegate: whether XNNPACK may take operators.
        """
        resolver = litert.OpResolverType.AUTO
        if keep_all or not delegate:
            resolver = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        with silence(), _refusals():
            self._interpreter = litert.Interpreter(
                model_content=bytes(content),
                num_threads=1,
                experimental_op_resolver_type=resolver,
                experimental_preserve_all_tensors=keep_all,
            )
            self._interpreter.allocate_tensors()
        self._inputs = self._interpreter.get_input_details()
        self.outputs = self._interpreter.get_output_details()

    def run(self, inputs: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[np.float32]]:
        """Outputs as floats."""
        for detail, value in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], _quantized(value, detail))
        with _refusals():
            self._interpreter.invoke()
        return [_dequantized(self._interpreter.get_tensor(d["index"]), d) for d in self.outputs]

    def value(self, index: int) -> npt.NDArray[Any]:
        """The value of any tensor after `run`; needs keep_all."""
        return np.asarray(self._interpreter.get_tensor(index))


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise LoweringError(f"LiteRT cannot run the file that the model was converted to: {error}") from error


def _quantized(value: npt.NDArray[Any], detail: dict[str, Any]) -> npt.NDArray[Any]:
    """Real values in the type of the file's input."""
    if detail["dtype"] == np.float32:
        return value.astype(np.float32)
    return _parameters(detail).quantize(value)


def _dequantized(value: npt.NDArray[Any], detail: dict[str, Any]) -> npt.NDArray[np.float32]:
    """The real values of the file's output; integers without a scale stand for themselves."""
    if detail["dtype"] == np.float32 or not detail["quantization"][0]:
        return value.astype(np.float32)
    return _parameters(detail).dequantize(value)


def _parameters(detail: dict[str, Any]) -> QuantizationParameters:
    """Of an input or output of integers, as LiteRT describes it."""
    (scale, zero_point), limits = detail["quantization"], np.iinfo(detail["dtype"])
    return QuantizationParameters(float(scale), int(zero_point), BitWidth(limits.bits, signed=bool(limits.min < 0)))

"""Operators that the quantizer leaves float although the runtimes have int8 kernels for them -> int8."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from spiq_tf.quantization.bit_width import INT8_WEIGHT
from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.operators import SHARED_SCALE

_INTEGER = (
    *("BATCH_TO_SPACE_ND", "DEPTH_TO_SPACE", "ELU", "L2_NORMALIZATION", "LEAKY_RELU", "LOG_SOFTMAX", "MAXIMUM"),
    *("MINIMUM", "PRELU", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RELU_0_TO_1", "REVERSE_V2"),
    *("SPACE_TO_BATCH_ND", "TILE"),
)


def complete_int8(flat: FlatModel, intervals: Mapping[int, TensorRange]) -> None:
    """Makes, in place, every operator of the table int8 that stands between int8 tensors, alone or with others of it.

    Args:
        flat: the file as the quantizer wrote it.
        intervals: of the activations, by tensor index.
    """
    chosen = _between_integers(flat, intervals)
    written = {int(o.inputs[0]): int(o.outputs[0]) for o in flat.operators if flat.kind(o) == "QUANTIZE"}
    integer = {int(o.outputs[0]): int(o.inputs[0]) for o in flat.operators if flat.kind(o) == "DEQUANTIZE"}
    replaced: dict[int, int] = {}
    result: list[Any] = []
    for operator in flat.operators:
        operator.inputs = np.array([replaced.get(int(i), int(i)) for i in operator.inputs], np.int32)
        output = int(operator.outputs[0])
        if id(operator) in chosen:
            # the quantizer's own numbers, where there are any: runtimes ask for scales that are equal to the last bit
            known = flat.quantization(written[output]) if output in written else None
            _make_int8(flat, operator, integer, known or intervals[output].quantization)
            integer[output] = output
        elif flat.kind(operator) == "QUANTIZE" and integer.get(int(operator.inputs[0])) == int(operator.inputs[0]):
            replaced[output] = int(operator.inputs[0])
            continue
        result.append(operator)
    flat.subgraph.outputs = np.array([replaced.get(int(i), int(i)) for i in flat.subgraph.outputs], np.int32)
    read = {int(i) for operator in result for i in operator.inputs} | set(map(int, flat.subgraph.outputs))
    flat.subgraph.operators = [o for o in result if flat.kind(o) != "DEQUANTIZE" or int(o.outputs[0]) in read]


def _between_integers(flat: FlatModel, intervals: Mapping[int, TensorRange]) -> set[int]:
    """Identities of the operators of which all neighbours are int8, or of the table too."""
    producers = flat.producers()
    consumers: dict[int, list[Any]] = {}
    for operator in flat.operators:
        for index in map(int, operator.inputs):
            consumers.setdefault(index, []).append(operator)
    possible = [o for o in flat.operators if flat.kind(o) in _INTEGER and int(o.outputs[0]) in intervals]
    chosen = {id(o): o for o in possible if flat.dtype(int(o.outputs[0])) == np.float32}

    def fits(operator: Any) -> bool:
        fed = [producers.get(index) for index in flat.activation_inputs(operator)]
        read = consumers.get(int(operator.outputs[0]), [])
        fed_by_integers = all(m is not None and (id(m) in chosen or flat.kind(m) == "DEQUANTIZE") for m in fed)
        return fed_by_integers and all(id(r) in chosen or flat.kind(r) == "QUANTIZE" for r in read)

    while misfits := [key for key, operator in chosen.items() if not fits(operator)]:
        for key in misfits:
            del chosen[key]
    return set(chosen)


def _make_int8(
    flat: FlatModel, operator: Any, integer: Mapping[int, int], quantization: QuantizationParameters
) -> None:
    kind = flat.kind(operator)
    inputs = [integer.get(int(i), int(i)) for i in operator.inputs]
    data = flat.quantization(inputs[0]) or quantization
    for place, index in enumerate(inputs):
        if flat.is_constant(index) and flat.dtype(index) == np.float32:
            value = flat.value(index)
            inputs[place] = _quantized(flat, index, value, _symmetric(value) if kind == "PRELU" else data)
    operator.inputs = np.array(inputs, np.int32)
    flat.set_quantization(int(operator.outputs[0]), data if kind in SHARED_SCALE else quantization)


def _symmetric(value: npt.NDArray[np.float32]) -> QuantizationParameters:
    """Of a constant on a grid of its own, with zero point 0."""
    largest = float(np.abs(value).max())
    return QuantizationParameters.from_range(-largest, largest, INT8_WEIGHT)


def _quantized(flat: FlatModel, index: int, value: npt.NDArray[np.float32], parameters: QuantizationParameters) -> int:
    result = flat.add_constant(f"{flat.name(index)}/int8", parameters.quantize(value))
    flat.set_quantization(result, parameters)
    return result

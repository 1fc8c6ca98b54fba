"""Signature, names, and the data types of inputs and outputs: the last changes to the file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.quantization.bit_width import INT8, UINT8, BitWidth
from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.writing.op_versions import set_lowest_versions

_BIT_WIDTHS: Mapping[str, BitWidth | None] = {"int8": INT8, "uint8": UINT8, "float32": None}


def finish(
    flat: FlatModel,
    input_names: Sequence[str],
    output_names: Sequence[str],
    tensor_ranges: Mapping[int, TensorRange],
    input_type: str,
    output_type: str,
) -> bytes:
    """The finished file.

    Args:
        flat: the int8 file; changed.
        input_names, output_names: of the serving signature, in the order of the file's inputs and outputs.
        tensor_ranges: of the activations, by tensor index, for inputs and outputs that the quantizer left float.
        input_type, output_type: "int8", "uint8" or "float32"; an operator converts where the file has another.
    """
    conversions = _Conversions(flat, tensor_ranges)
    flat.subgraph.inputs = [conversions.input_of_type(int(i), input_type) for i in flat.subgraph.inputs]
    flat.subgraph.outputs = [conversions.output_of_type(int(i), output_type) for i in flat.subgraph.outputs]
    result = flat.without_leftovers()
    set_lowest_versions(result)
    result.model.signatureDefs = [_signature(result, input_names, output_names)]
    result.model.metadata, result.model.metadataBuffer = [], None
    result.model.description = b"spiq_tf"
    return bytes(result.content())


class _Conversions:
    """Adds the operators that convert between the inner tensors' types and those that the user asked for."""

    def __init__(self, flat: FlatModel, tensor_ranges: Mapping[int, TensorRange]) -> None:
        self._flat, self._tensor_ranges = flat, tensor_ranges

    def input_of_type(self, index: int, type_name: str) -> int:
        """The tensor of the wanted type from which the model's input `index` is computed."""
        if self._has_type(index, type_name):
            return index
        outer = self._add_outer(index, type_name)
        self._flat.subgraph.operators.insert(0, self._conversion(outer, index))
        return outer

    def output_of_type(self, index: int, type_name: str) -> int:
        """The tensor of the wanted type that is computed from the model's output `index`."""
        if type_name != "float32":
            index = self._dequantized_from(index)
        if self._has_type(index, type_name):
            return index
        outer = self._add_outer(index, type_name)
        self._flat.subgraph.operators.append(self._conversion(index, outer))
        return outer

    def _dequantized_from(self, index: int) -> int:
        """The integer tensor before an output that the quantizer made float for the sake of a float operator."""
        for operator in self._flat.operators:
            if index in operator.outputs and self._flat.kind(operator) == "DEQUANTIZE":
                return int(operator.inputs[0])
        return index

    def _has_type(self, index: int, type_name: str) -> bool:
        return self._flat.dtype(index) == np.dtype(type_name)

    def _add_outer(self, index: int, type_name: str) -> int:
        """A new tensor that holds the same values in another type."""
        inner, bit_width = self._flat.tensor(index), _BIT_WIDTHS[type_name]
        outer = schema.TensorT()
        outer.name, outer.shape, outer.buffer = inner.name + b"_" + type_name.encode(), inner.shape, 0
        result = self._flat.add_tensor(outer)
        if bit_width is not None:
            parameters = self._flat.quantization(index) or self._tensor_ranges[index].quantization
            self._flat.set_quantization(result, _in_bit_width(parameters, bit_width))
        return result

    def _conversion(self, source: int, target: int) -> Any:
        to_float = self._flat.dtype(target) == np.float32
        kind = schema.BuiltinOperator.DEQUANTIZE if to_float else schema.BuiltinOperator.QUANTIZE
        return self._flat.operator(kind, [source], target)


def _in_bit_width(parameters: QuantizationParameters, bit_width: BitWidth) -> QuantizationParameters:
    """Those with which integers of as many bits stand for the same values, signed or not."""
    shift = bit_width.qmin - parameters.bit_width.qmin
    return replace(parameters, zero_point=parameters.zero_point + shift, bit_width=bit_width)


def _signature(flat: FlatModel, input_names: Sequence[str], output_names: Sequence[str]) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs = _tensor_maps(input_names, flat.subgraph.inputs)
    signature.outputs = _tensor_maps(output_names, flat.subgraph.outputs)
    return signature


def _tensor_maps(names: Sequence[str], tensors: Sequence[int]) -> list[Any]:
    maps = []
    for name, index in zip(names, tensors, strict=True):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), int(index)
        maps.append(entry)
    return maps

"""The last touch: signature, names, and the data types of inputs and outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.quantization.bit_width import INT8, UINT8
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.writing.op_versions import set_lowest_versions

_CODES = {"int8": schema.TensorType.INT8, "uint8": schema.TensorType.UINT8, "float32": schema.TensorType.FLOAT32}


def finish(
    flat: FlatModel,
    input_names: Sequence[str],
    output_names: Sequence[str],
    intervals: Mapping[int, TensorRange],
    input_type: str,
    output_type: str,
) -> bytes:
    """The finished file.

    Args:
        flat: the int8 file; changed.
        input_names, output_names: of the serving signature, in the order of the file's inputs and outputs.
        intervals: of the activations by tensor index, for ends that the quantizer left float.
        input_type, output_type: "int8", "uint8" or "float32"; an operator converts where the file has another.
    """
    ends = _Ends(flat, intervals)
    flat.subgraph.inputs = [ends.entry(int(i), input_type) for i in flat.subgraph.inputs]
    flat.subgraph.outputs = [ends.exit(int(i), output_type) for i in flat.subgraph.outputs]
    whole = flat.without_leftovers()
    set_lowest_versions(whole)
    whole.model.signatureDefs = [_signature(whole, input_names, output_names)]
    whole.model.metadata, whole.model.metadataBuffer = [], None
    whole.model.description = b"spiq_tf"
    return bytes(whole.content())


class _Ends:
    """Adds the operators that convert between the inner tensors' types and those that the user asked for."""

    def __init__(self, flat: FlatModel, intervals: Mapping[int, TensorRange]) -> None:
        self._flat, self._intervals = flat, intervals

    def entry(self, index: int, type_name: str) -> int:
        """The tensor of the wanted type from which `index` is computed."""
        if self._has_type(index, type_name):
            return index
        outer = self._twin(index, type_name)
        self._flat.subgraph.operators.insert(0, self._conversion(outer, index))
        return outer

    def exit(self, index: int, type_name: str) -> int:
        """The tensor of the wanted type that is computed from `index`."""
        if type_name != "float32":
            index = self._dequantized_from(index)
        if self._has_type(index, type_name):
            return index
        outer = self._twin(index, type_name)
        self._flat.subgraph.operators.append(self._conversion(index, outer))
        return outer

    def _dequantized_from(self, index: int) -> int:
        """The integer tensor behind an output that the quantizer made float for the sake of a float operator."""
        for operator in self._flat.operators:
            if index in operator.outputs and self._flat.kind(operator) == "DEQUANTIZE":
                return int(operator.inputs[0])
        return index

    def _has_type(self, index: int, type_name: str) -> bool:
        return bool(self._flat.tensor(index).type == _CODES[type_name])

    def _twin(self, index: int, type_name: str) -> int:
        """A new tensor that holds the same values in another type."""
        inner = self._flat.tensor(index)
        outer = schema.TensorT()
        outer.name = inner.name + b"_" + type_name.encode()
        outer.shape, outer.buffer, outer.type = inner.shape, 0, _CODES[type_name]
        if type_name != "float32":
            parameters = self._flat.quantization(index) or self._intervals[index].quantization
            outer.quantization = schema.QuantizationParametersT()
            outer.quantization.scale = np.array([parameters.scale], np.float32)
            shift = UINT8.qmin - INT8.qmin if type_name == "uint8" else 0
            outer.quantization.zeroPoint = np.array([parameters.zero_point + shift], np.int64)
        return self._flat.add_tensor(outer)

    def _conversion(self, source: int, target: int) -> Any:
        to_float = self._flat.dtype(target) == np.float32
        kind = schema.BuiltinOperator.DEQUANTIZE if to_float else schema.BuiltinOperator.QUANTIZE
        return self._flat.operator(kind, [source], target)


def _signature(flat: FlatModel, input_names: Sequence[str], output_names: Sequence[str]) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs = _maps(input_names, flat.subgraph.inputs)
    signature.outputs = _maps(output_names, flat.subgraph.outputs)
    return signature


def _maps(names: Sequence[str], tensors: Sequence[int]) -> list[Any]:
    maps = []
    for name, index in zip(names, tensors, strict=True):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), int(index)
        maps.append(entry)
    return maps

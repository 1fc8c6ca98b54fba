"""The last touch: signature, names, and the data types of inputs and outputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spiq_tf.tflite.flatbuffer import FlatModel, schema

_CODES = {"int8": schema.TensorType.INT8, "uint8": schema.TensorType.UINT8, "float32": schema.TensorType.FLOAT32}


def finish(
    flat: FlatModel, input_names: Sequence[str], output_names: Sequence[str], input_type: str, output_type: str
) -> bytes:
    """The finished file.

    Args:
        flat: the int8 file; changed.
        input_names, output_names: of the serving signature, in the order of the file's inputs and outputs.
        input_type, output_type: "int8", "uint8" or "float32"; the latter two take an operator at each end.
    """
    if input_type != "int8":
        flat.subgraph.inputs = [_entry(flat, int(i), input_type) for i in flat.subgraph.inputs]
    if output_type != "int8":
        flat.subgraph.outputs = [_exit(flat, int(i), output_type) for i in flat.subgraph.outputs]
    flat.model.signatureDefs = [_signature(flat, input_names, output_names)]
    flat.model.metadata, flat.model.metadataBuffer = [], None
    flat.model.description = b"spiq_tf"
    return flat.content()


def _converted(flat: FlatModel, index: int, type_name: str) -> int:
    """A tensor that holds the same values in another type."""
    inner = flat.tensor(index)
    outer = schema.TensorT()
    outer.name = inner.name + b"_" + type_name.encode()
    outer.shape, outer.buffer, outer.type = inner.shape, 0, _CODES[type_name]
    if type_name == "uint8":
        outer.quantization = schema.QuantizationParametersT()
        outer.quantization.scale = inner.quantization.scale
        outer.quantization.zeroPoint = np.asarray(inner.quantization.zeroPoint, np.int64) + 128
    return flat.add_tensor(outer)


def _operator(flat: FlatModel, kind: int, version: int, source: int, target: int) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex = flat.operator_code(kind, version)
    operator.inputs, operator.outputs = [source], [target]
    return operator


def _entry(flat: FlatModel, index: int, type_name: str) -> int:
    outer = _converted(flat, index, type_name)
    version = 2 if type_name == "uint8" else 1
    operator = _operator(flat, schema.BuiltinOperator.QUANTIZE, version, outer, index)
    flat.subgraph.operators.insert(0, operator)
    return outer


def _exit(flat: FlatModel, index: int, type_name: str) -> int:
    outer = _converted(flat, index, type_name)
    to_float = type_name == "float32"
    kind = schema.BuiltinOperator.DEQUANTIZE if to_float else schema.BuiltinOperator.QUANTIZE
    flat.subgraph.operators.append(_operator(flat, kind, 2, index, outer))
    return outer


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

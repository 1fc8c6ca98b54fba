"""What LiteRT gives to XNNPACK, as its interpreter shows it; and small files of any types and scales, made by hand."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.benchmarking.executed_parts import executed_parts
from spiq_tf.tflite.delegation import delegation_of
from spiq_tf.tflite.flatbuffer import FlatModel
from tests.flat import FileBuilder


def observed(content):
    """The kinds of the operators that LiteRT runs in its own kernels, sorted, and the number of delegated pieces."""
    parts = executed_parts(content)
    return sorted(kind for kind, count in parts.outside.items() for _ in range(count)), parts.pieces


def predicted(content):
    """The same from the file alone."""
    found = delegation_of(FlatModel(content))
    return sorted(operator.kind for operator in found.outside), found.pieces


@dataclass
class Tensor:
    """A tensor of a file.

    Attributes:
        scale: one, or one for each index along the axis; None where it has none.
        value: of a constant.
    """

    shape: tuple
    dtype: str = "int8"
    scale: Any = 0.05
    zero_point: int = 0
    axis: int = 0
    value: Any = None


def constant(value, dtype="int32", **options):
    """A stored tensor, without a scale unless it is int8."""
    value = np.array(value, dtype)
    scale = 0.05 if dtype in ("int8", "uint8") else None
    return Tensor(value.shape, dtype, **{"scale": scale, "value": value, **options})


class DelegateFile(FileBuilder):
    """A file of tensors of any type, scale and zero point."""

    def add(self, tensor):
        """Appends a tensor; returns its index."""
        index = self._tensor(f"tensor{len(self._flat.subgraph.tensors)}", tensor.shape, np.float32)
        entry = self._flat.tensor(index)
        entry.type = getattr(schema.TensorType, tensor.dtype.upper())
        if tensor.scale is not None and "float" not in tensor.dtype:
            scales = np.atleast_1d(np.array(tensor.scale, np.float32))
            zero_points = np.full(len(scales), tensor.zero_point, np.int64)
            entry.quantization = schema.QuantizationParametersT(
                scale=scales, zeroPoint=zero_points, quantizedDimension=tensor.axis
            )
        if tensor.value is not None:
            buffer = schema.BufferT(data=np.frombuffer(tensor.value.tobytes(), np.uint8))
            self._flat.model.buffers.append(buffer)
            entry.buffer = len(self._flat.model.buffers) - 1
        return index

    def inputs(self, *tensors):
        """Appends inputs of the model; returns their indices."""
        indices = [self.add(tensor) for tensor in tensors]
        self._flat.subgraph.inputs = [*self._flat.subgraph.inputs, *indices]
        return indices

    def run_op(self, kind, operands, outputs, options=None, version=1):
        """Appends an operator; returns the indices of its outputs."""
        made = [self.add(tensor) for tensor in outputs]
        code = self._flat.operator_code(getattr(schema.BuiltinOperator, kind), version)
        operator = schema.OperatorT(opcodeIndex=code, inputs=np.int32(operands), outputs=np.int32(made))
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._flat.subgraph.operators = [*self._flat.operators, operator]
        return made


@dataclass(kw_only=True)
class Use:
    """One operator as a file.

    Attributes:
        operands: None where one is left out; what has no value is an input of the file.
        taken: whether XNNPACK takes it.
        name: what is special about it.
    """

    kind: str
    operands: list
    outputs: list
    options: Any = None
    version: int = 1
    taken: bool = True
    name: str = ""

    def content(self):
        """The file."""
        file = DelegateFile()
        indices = [
            -1 if t is None else file.add(t) if t.value is not None else file.inputs(t)[0] for t in self.operands
        ]
        return file.file(*file.run_op(self.kind, indices, self.outputs, self.options, self.version)).content()

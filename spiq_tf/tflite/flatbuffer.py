"""Reading, changing and writing a TFLite flatbuffer of one subgraph."""

import copy
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from spiq_tf.errors import LoweringError
from spiq_tf.quantization.bit_width import INT8, INT8_WEIGHT, INT16, INT32, UINT8
from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.tflite.operators.operator import Operator
from spiq_tf.tflite.operators.table import operator_row
from spiq_tf.tflite.operators.use import OperatorUse, TensorUse
from spiq_tf.tflite.packing import packed

_OPERATORS = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
_TYPE_NAMES = {v: k for k, v in vars(schema.TensorType).items() if not k.startswith("_")}
_TYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.BOOL: np.bool_,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.FLOAT64: np.float64,
    schema.TensorType.UINT16: np.uint16,
    schema.TensorType.UINT32: np.uint32,
    schema.TensorType.UINT64: np.uint64,
}

_BIT_WIDTHS = {
    schema.TensorType.INT8: INT8,
    schema.TensorType.UINT8: UINT8,
    schema.TensorType.INT16: INT16,
    schema.TensorType.INT32: INT32,
}


class FlatModel:
    """A flatbuffer as objects that can be changed; `content` packs it again."""

    def __init__(self, content: bytes | bytearray) -> None:
        self.model = flatbuffer_utils.read_model_from_bytearray(content)
        for buffer in self.model.buffers:
            if buffer.data is not None:  # as an array: packing any other sequence takes a call a byte
                buffer.data = np.frombuffer(memoryview(buffer.data), np.uint8)
        if len(self.model.subgraphs) != 1:
            raise LoweringError(
                f"the file has {len(self.model.subgraphs)} subgraphs: expected 1; loops and branches (recurrent layers,"
                " keras.ops.cond) have no full-integer form here: unroll them (unroll=True) or take them out"
            )
        (self.subgraph,) = self.model.subgraphs

    def content(self) -> bytes:
        """The packed file, with buffers at multiples of 16 bytes, as microcontrollers read them in place."""
        return packed(self.model)

    def without_leftovers(self) -> "FlatModel":
        """A copy without the tensors and buffers that nothing refers to; indices change."""
        result = copy.copy(self)
        result.model, result.subgraph = copy.copy(self.model), copy.copy(self.subgraph)
        operators = [copy.copy(operator) for operator in self.operators]
        result.subgraph.operators, result.model.subgraphs = operators, [result.subgraph]
        used = {int(i) for o in operators for i in (*o.inputs, *o.outputs) if i >= 0}
        used |= {int(i) for i in (*self.subgraph.inputs, *self.subgraph.outputs)}
        renumbered = {-1: -1, **{index: new for new, index in enumerate(sorted(used))}}
        tensors = [copy.copy(self.tensor(index)) for index in sorted(used)]
        buffers = sorted({0, *(tensor.buffer for tensor in tensors)})
        for tensor in tensors:
            tensor.buffer = buffers.index(tensor.buffer)
        for holder in (*operators, result.subgraph):
            holder.inputs = np.array([renumbered[int(i)] for i in holder.inputs], np.int32)
            holder.outputs = np.array([renumbered[int(i)] for i in holder.outputs], np.int32)
        result.subgraph.tensors, result.model.buffers = tensors, [self.model.buffers[b] for b in buffers]
        return result

    def part(self, operators: Sequence[Any], inputs: Sequence[int], outputs: Sequence[int]) -> "FlatModel":
        """A file of some of the operators alone; the tensors are those of the whole one."""
        result = copy.copy(self)
        result.model, result.subgraph = copy.copy(self.model), copy.copy(self.subgraph)
        result.subgraph.operators, result.model.subgraphs = list(operators), [result.subgraph]
        result.model.signatureDefs = []
        result.subgraph.inputs, result.subgraph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        return result.without_leftovers()

    @property
    def operators(self) -> list[Any]:
        """In order of execution."""
        return list(self.subgraph.operators)

    def kind(self, operator: Any) -> str:
        """The operator's name in the schema, "CONV_2D"."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        return _OPERATORS.get(number, f"OPERATOR_{number}")

    def row(self, operator: Any) -> Operator:
        """What is known of the operator, see `tflite.operators`."""
        return operator_row(self.kind(operator))

    def use(self, operator: Any, unpacked: Collection[int] = ()) -> OperatorUse:
        """The operator with its tensors, as rows of the operator table ask for it.

        Args:
            operator: of the file.
            unpacked: tensors that are computed from constants alone, by index.
        """
        operands = [] if operator.inputs is None else [int(i) for i in operator.inputs]
        return OperatorUse(
            operands=[self._tensor_use(index, index in unpacked) if index >= 0 else None for index in operands],
            outputs=[self._tensor_use(int(index), False) for index in operator.outputs],
            options=operator.builtinOptions,
            version=int(self.model.operatorCodes[operator.opcodeIndex].version),
        )

    def _tensor_use(self, index: int, unpacked: bool) -> TensorUse:
        tensor, entry = self.tensor(index), self.tensor(index).quantization
        scales = None if entry is None else entry.scale
        zero_points = None if entry is None else entry.zeroPoint
        return TensorUse(
            type=_TYPE_NAMES.get(tensor.type, str(tensor.type)),
            shape=self.shape(index),
            scales=np.zeros(0, np.float32) if scales is None else np.asarray(scales, np.float32),
            zero_points=np.zeros(0, np.int64) if zero_points is None else np.asarray(zero_points, np.int64),
            axis=0 if entry is None else int(entry.quantizedDimension),
            stored=self.model.buffers[tensor.buffer].data if tensor.buffer else None,
            unpacked=unpacked,
        )

    def data(self, operator: Any) -> int:
        """The tensor that the operator works on."""
        return int(operator.inputs[self.row(operator).data_operand])

    def weights(self, operator: Any) -> int | None:
        """The constant weights of an operator that has such."""
        operand = self.row(operator).weights_operand
        index = -1 if operand is None else int(operator.inputs[operand])
        return index if index >= 0 and self.is_constant(index) else None

    def bias(self, operator: Any) -> int | None:
        """The bias of an operator that has one, constant or computed."""
        operand = self.row(operator).bias_operand
        index = -1 if operand is None or len(operator.inputs) <= operand else int(operator.inputs[operand])
        return index if index >= 0 else None

    def activation_inputs(self, operator: Any) -> list[int]:
        """The operator's inputs that are computed, or inputs of the model."""
        return [int(i) for i in operator.inputs if i >= 0 and not self.is_constant(int(i))]

    def is_square(self, operator: Any) -> bool:
        """Whether it multiplies a tensor with itself."""
        return self.kind(operator) == "MUL" and operator.inputs[0] == operator.inputs[1]

    def channels(self, operator: Any, operand: int) -> npt.NDArray[Any]:
        """A constant among the operator's inputs as a vector."""
        return self.value(int(operator.inputs[operand])).reshape(-1)

    def producers(self) -> dict[int, Any]:
        """The operator that computes each tensor that is computed, by tensor index."""
        return {int(i): operator for operator in self.operators for i in operator.outputs}

    def consumers(self, index: int) -> list[Any]:
        """The operators that read a tensor, in order; looks at all of them, see `all_consumers`."""
        return [operator for operator in self.operators if index in operator.inputs]

    def all_consumers(self) -> dict[int, list[Any]]:
        """The operators that read each tensor, in order, by tensor index; those that nothing reads are absent.

        To be asked for once where many tensors are looked up; it does not follow later changes.
        """
        result: dict[int, list[Any]] = {}
        for operator in self.operators:
            for index in dict.fromkeys(int(i) for i in operator.inputs if i >= 0):
                result.setdefault(index, []).append(operator)
        return result

    def consumer_counts(self) -> Counter[int]:
        """How many operators read each tensor, the model's outputs counting as one."""
        count = Counter(int(i) for operator in self.operators for i in operator.inputs)
        count.update(int(i) for i in self.subgraph.outputs)
        return count

    def tensor(self, index: int) -> Any:
        """The tensor's object in the schema."""
        return self.subgraph.tensors[index]

    def name(self, index: int) -> str:
        """The tensor's name."""
        return str((self.tensor(index).name or b"").decode(errors="replace"))

    def shape(self, index: int) -> tuple[int, ...]:
        """The tensor's static shape."""
        shape = self.tensor(index).shape
        return () if shape is None else tuple(int(n) for n in shape)

    def dtype(self, index: int) -> npt.DTypeLike:
        """The tensor's data type in numpy; void for those that numpy does not have (strings, int4)."""
        return _TYPES.get(self.tensor(index).type, np.void)

    def quantization(self, index: int) -> QuantizationParameters | None:
        """Scale and zero point of an integer tensor that has one of each, or the first ones; None for others."""
        tensor, entry = self.tensor(index), self.tensor(index).quantization
        if tensor.type not in _BIT_WIDTHS or entry is None or entry.scale is None or len(entry.scale) == 0:
            return None
        return QuantizationParameters(float(entry.scale[0]), int(entry.zeroPoint[0]), _BIT_WIDTHS[tensor.type])

    def set_quantization(self, index: int, parameters: QuantizationParameters) -> None:
        """Gives a tensor the type, scale and zero point of its parameters; a constant keeps its bytes."""
        tensor = self.tensor(index)
        tensor.type = _code(parameters.bit_width.dtype)
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array([parameters.scale], np.float32)
        tensor.quantization.zeroPoint = np.array([parameters.zero_point], np.int64)

    def is_constant(self, index: int) -> bool:
        """Whether the tensor's value is stored in the file."""
        data = self.model.buffers[self.tensor(index).buffer].data
        return data is not None and len(data) > 0

    def value(self, index: int) -> npt.NDArray[Any]:
        """A constant's value."""
        raw = self.model.buffers[self.tensor(index).buffer].data
        return raw.view(self.dtype(index)).reshape(self.shape(index))

    def set_value(self, index: int, value: npt.NDArray[Any]) -> None:
        """Stores a constant's value, in the tensor's own type."""
        tensor = self.tensor(index)
        if any(t.buffer == tensor.buffer for t in self.subgraph.tensors if t is not tensor):
            self.model.buffers.append(schema.BufferT())  # equal constants share a buffer; this one leaves it
            tensor.buffer = len(self.model.buffers) - 1
        raw = np.ascontiguousarray(value, self.dtype(index)).reshape(-1).view(np.uint8)
        self.model.buffers[tensor.buffer].data = raw

    def add_constant(self, name: str, value: npt.NDArray[Any]) -> int:
        """A new constant tensor with a buffer of its own; returns its index."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name.encode(), list(value.shape), 0
        tensor.type = _code(value.dtype)
        return self.add_tensor(tensor, value)

    def add_tensor(self, tensor: Any, value: npt.NDArray[Any] | None = None) -> int:
        """Appends a tensor, with a value if it is a constant; returns its index."""
        self.subgraph.tensors.append(tensor)
        index = len(self.subgraph.tensors) - 1
        if value is not None:
            self.set_value(index, value)
        return index

    def add_activation(
        self, name: str, like: int, dtype: npt.DTypeLike = np.float32, shape: Sequence[int] | None = None
    ) -> int:
        """A new tensor, which an operator is to compute; returns its index.

        Args:
            name: appended to that of the other tensor.
            like: a tensor of the same layer, whose shape it has if none is given.
            dtype: of its values.
            shape: its own.
        """
        tensor = schema.TensorT()
        tensor.name, tensor.buffer = f"{self.name(like)}/{name}".encode(), 0
        tensor.shape = self.tensor(like).shape if shape is None else np.array(shape, np.int32)
        tensor.type = _code(dtype)
        return self.add_tensor(tensor)

    def add_quantized_activation(self, name: str, like: int, parameters: QuantizationParameters) -> int:
        """As `add_activation`: a tensor of integers in the shape of the other one."""
        index = self.add_activation(name, like)
        self.set_quantization(index, parameters)
        return index

    def add_quantized_constant(
        self, name: str, value: npt.NDArray[Any], parameters: QuantizationParameters | None = None
    ) -> int:
        """A new constant of the integers that are nearest to real values; returns its index.

        Args:
            name: of the tensor.
            value: real values.
            parameters: without any, those of weights on one grid whose ends the largest magnitude reaches.
        """
        if parameters is None:
            largest = float(np.abs(value).max())
            parameters = QuantizationParameters.from_range(-largest, largest, INT8_WEIGHT)
        index = self.add_constant(name, parameters.quantize(value))
        self.set_quantization(index, parameters)
        return index

    def operator(self, kind: int, inputs: Sequence[int], output: int, options: Any = None) -> Any:
        """A new operator of version 1, which is not yet among the file's; writing gives it the version that it needs.

        Args:
            kind: of schema.BuiltinOperator.
            inputs, output: tensors, by index.
            options: an object of the schema, ReshapeOptionsT, or None where the kind has none.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self.operator_code(kind, 1)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        return operator

    def reshape(self, value: int, output: int, any_batch: bool = False) -> Any:
        """A new RESHAPE of one tensor to another one's shape, or to that of each of its batch."""
        shape = (-1, *self.shape(output)[1:]) if any_batch else self.shape(output)
        constant = self.add_constant(f"{self.name(output)}/shape", np.array(shape, np.int32))
        options = schema.ReshapeOptionsT(newShape=list(shape))
        return self.operator(schema.BuiltinOperator.RESHAPE, [value, constant], output, options)

    def operator_code(self, kind: int, version: int) -> int:
        """Index of the operator code, added if it is not there."""
        for index, code in enumerate(self.model.operatorCodes):
            if code.builtinCode == kind and code.version == version:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, min(kind, 127), version
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def activations(self) -> list[int]:
        """Indices of the model's inputs and of the tensors that are computed, in order of first appearance."""
        seen = dict.fromkeys(int(i) for i in self.subgraph.inputs)
        for operator in self.operators:
            seen.update(dict.fromkeys(int(i) for i in operator.outputs))
        return list(seen)


def _code(dtype: npt.DTypeLike) -> int:
    """The schema's number of a data type of numpy."""
    return int(next(code for code, known in _TYPES.items() if known == dtype))

"""Float TFLite files made by hand, operator by operator, in milliseconds; and what they compute."""

from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter

RELU, RELU6 = schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6

_OPTIONS = {
    "ADD": schema.AddOptionsT,
    "CONCATENATION": schema.ConcatenationOptionsT,
    "MEAN": schema.ReducerOptionsT,
    "MUL": schema.MulOptionsT,
    "SQUARED_DIFFERENCE": schema.SquaredDifferenceOptionsT,
    "SUB": schema.SubOptionsT,
    "SUM": schema.ReducerOptionsT,
}
"""Options of the operators that LiteRT does not run without, unless a test gives its own."""


class FileBuilder:
    """A file of one subgraph; its inputs are the tensors 0, 1, ... in the order in which they are given."""

    def __init__(self, *inputs: Sequence[int]) -> None:
        """Args are the shapes of the float32 inputs."""
        subgraph = schema.SubGraphT(name=b"main", tensors=[], operators=[], inputs=[], outputs=[])
        model = schema.ModelT(version=3, operatorCodes=[], subgraphs=[subgraph], buffers=[schema.BufferT()])
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        self._flat = FlatModel(bytes(builder.Output()))
        self._flat.subgraph.inputs = [self._tensor(f"input{k}", shape) for k, shape in enumerate(inputs)]

    def _tensor(self, name: str, shape: Sequence[int], dtype: Any = np.float32) -> int:
        kind = getattr(schema.TensorType, np.dtype(dtype).name.upper())
        return self._flat.add_tensor(schema.TensorT(name=name.encode(), shape=list(shape), buffer=0, type=kind))

    def constant(self, value: Any, dtype: Any = np.float32) -> int:
        """A tensor whose value stands in the file."""
        return self._flat.add_constant(f"constant{len(self._flat.subgraph.tensors)}", np.array(value, dtype))

    def op(self, kind: str, inputs: Sequence[int], *shapes: Sequence[int], **options: Any) -> Any:
        """Appends an operator.

        Args:
            kind: its name in the schema, "CONV_2D".
            inputs: tensors, by index.
            shapes: of its outputs.
            options: fields of its options; `table` is the object itself where the kind has no default; `dtype` is that
                of its outputs, float32 if there is none, `version` the operator's.

        Returns:
            The index of its output, or their indices where there are several.
        """
        dtype, version = options.pop("dtype", np.float32), options.pop("version", 1)
        table = options.pop("table", None) or (_OPTIONS[kind](**options) if kind in _OPTIONS else None)
        names = (f"{kind.lower()}{len(self._flat.operators)}_{k}" for k in range(len(shapes)))
        outputs = [self._tensor(name, shape, dtype) for name, shape in zip(names, shapes, strict=True)]
        code = self._flat.operator_code(getattr(schema.BuiltinOperator, kind), version)
        operator = schema.OperatorT(opcodeIndex=code, inputs=np.int32(inputs), outputs=np.int32(outputs))
        if table is not None:
            operator.builtinOptions = table
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(table).__name__.removesuffix("T"))
        self._flat.subgraph.operators = [*self._flat.operators, operator]
        return outputs[0] if len(outputs) == 1 else outputs

    def file(self, *outputs: int) -> FlatModel:
        """The file, with the outputs given by index."""
        self._flat.subgraph.outputs = list(outputs)
        return FlatModel(self._flat.content())


def kinds(flat: FlatModel) -> list[str]:
    """The operators, in order, by their names in the schema."""
    return [flat.kind(operator) for operator in flat.operators]


def run(content: bytes, inputs: Sequence[Any]) -> list[Any]:
    """Outputs of a float file by LiteRT's own kernels."""
    return [np.array(y) for y in Interpreter(content, delegate=False).run([np.asarray(x) for x in inputs])]


def noise(flat: FlatModel, scale: float = 2.0) -> list[Any]:
    """Gaussian inputs for the file."""
    random = np.random.default_rng(0)
    return [scale * random.standard_normal(flat.shape(int(i))) for i in flat.subgraph.inputs]


def check_same_function(before: bytes, after: FlatModel, inputs: Sequence[Any] | None = None) -> None:
    """The rewritten file computes what it did before, in float32's accuracy."""
    inputs = noise(after) if inputs is None else inputs
    for expected, found in zip(run(before, inputs), run(after.content(), inputs), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * max(np.abs(expected).max(), 1e-3))


def check_rewritten(flat: FlatModel, rewrite: Callable[[FlatModel], Any], operators: Sequence[str]) -> None:
    """A pass makes these operators of the file's, which compute the same."""
    before = flat.content()
    rewrite(flat)
    assert kinds(flat) == operators
    check_same_function(before, flat)


def check_left_alone(flat: FlatModel, rewrite: Callable[[FlatModel], Any]) -> None:
    """A pass does not apply to the file: not a byte of it changes."""
    before = flat.content()
    rewrite(flat)
    assert flat.content() == before

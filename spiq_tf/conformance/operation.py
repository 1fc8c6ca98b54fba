"""An operator of a file that is checked, and what rules ask of it and of tensors."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spiq_tf.conformance.violation import Violation
from spiq_tf.distributions.values import Array
from spiq_tf.quantization.bit_width import INT8
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.operators.operator import Operator

REQUANTIZE = "convert the model again with spiq_tf, or quantize this file anew"


@dataclass(frozen=True)
class TensorQuantization:
    """Scales and zero points of a tensor, as many of the one as of the other; none where it has none.

    Attributes:
        scales, zero_points: shape (1,), or one for each index along the axis.
        axis: along which they differ.
    """

    scales: Array
    zero_points: npt.NDArray[np.int64]
    axis: int

    @property
    def is_valid(self) -> bool:
        """Whether there are scales, all of them positive and finite."""
        return len(self.scales) > 0 and bool(np.all(np.isfinite(self.scales)) and np.all(self.scales > 0))

    def __str__(self) -> str:
        return f"{self.scales[0]:.6g} and {self.zero_points[0]}" if len(self.scales) else "none"


def quantization_of(flat: FlatModel, index: int) -> TensorQuantization:
    """What a tensor is quantized with."""
    entry = flat.tensor(index).quantization
    if entry is None or entry.scale is None or len(entry.scale) == 0:
        return TensorQuantization(np.zeros(0), np.zeros(0, np.int64), 0)
    complete = entry.zeroPoint is not None and len(entry.zeroPoint) == len(entry.scale)
    zero_points = entry.zeroPoint if complete else np.zeros(len(entry.scale))
    return TensorQuantization(
        np.asarray(entry.scale, np.float64), np.asarray(zero_points, np.int64), int(entry.quantizedDimension)
    )


@dataclass(frozen=True)
class Operation:
    """An operator of a file.

    Attributes:
        flat: the file.
        position: in the order of execution.
        operator: the schema's object.
    """

    flat: FlatModel
    position: int
    operator: Any

    @property
    def kind(self) -> str:
        """Its name in the schema."""
        return self.flat.kind(self.operator)

    @property
    def row(self) -> Operator:
        """What is known of it."""
        return self.flat.row(self.operator)

    @property
    def inputs(self) -> list[int]:
        """Its operands, those left out not counted."""
        return [] if self.operator.inputs is None else [int(i) for i in self.operator.inputs if i >= 0]

    @property
    def outputs(self) -> list[int]:
        """Its outputs."""
        return [] if self.operator.outputs is None else [int(i) for i in self.operator.outputs]

    @property
    def activations(self) -> list[int]:
        """Its operands and outputs that are no constants."""
        return [i for i in (*self.inputs, *self.outputs) if not self.flat.is_constant(i)]

    @property
    def weights(self) -> int:
        """The weights of an operator that has such."""
        return int(self.operator.inputs[self.row.weights_operand])

    @property
    def scale_products(self) -> Array:
        """Of an operator with weights: input scale x weight scale, shape (outputs,) or (1,); empty where the input has
        no scale."""
        data = quantization_of(self.flat, self.flat.data(self.operator)).scales
        if self.row.weights_operand is None or len(data) == 0:
            return np.zeros(0)
        return np.asarray(data[0] * quantization_of(self.flat, self.weights).scales)

    def breaks(self, rule: str, found: str, advice: str, tensor: int | None = None) -> Violation:
        """The violation of a rule, at one of its tensors or at its first output."""
        index = next(iter(self.outputs), None) if tensor is None else tensor
        name = "" if index is None else self.flat.name(index)
        operator = f"{self.position} {self.kind}"
        return Violation(rule=rule, operator=operator, tensor=name, found=found, advice=advice)


def operations(flat: FlatModel) -> Iterator[Operation]:
    """All operators of a file, in order."""
    return (Operation(flat, position, operator) for position, operator in enumerate(flat.operators))


def int8_operations_with_weights(flat: FlatModel) -> Iterator[Operation]:
    """Operators with constant weights on int8 tensors."""
    for operation in operations(flat):
        operator = operation.operator
        has_weights = bool(operation.inputs) and flat.weights(operator) is not None
        if has_weights and flat.dtype(flat.data(operator)) == INT8.dtype:
            yield operation

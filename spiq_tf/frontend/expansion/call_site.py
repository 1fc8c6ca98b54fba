"""What an expansion rule is given, and what it makes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import keras
import numpy as np

from spiq_tf.distributions.values import Array, Shape
from spiq_tf.primitives.base import Primitive


@dataclass(frozen=True)
class LayerInput:
    """An input of the layer, as the operand of a step."""

    index: int


@dataclass(frozen=True)
class StepOutput:
    """The output of an earlier step of the same expansion, as the operand of a step."""

    index: int


Operand: TypeAlias = LayerInput | StepOutput


@dataclass(frozen=True)
class Step:
    """One primitive of a layer.

    Attributes:
        primitive: the operation.
        shape: of its output, with the batch axis.
        inputs: its operands; None stands for the output of the step before, in the first step for all of the layer's
            inputs.
    """

    primitive: Primitive
    shape: Shape
    inputs: tuple[Operand, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class CallSite:
    """How a layer is called.

    Attributes:
        inputs: shapes of its inputs, with the batch axis.
        output: shape of the output that is to be described.
        run: the layer itself as a function of arrays, one for each input; returns that output.
        arguments: what is passed by position, None in place of a tensor.
        keywords: what is passed by name.
        floats: whether inputs and output hold float32.
    """

    inputs: tuple[Shape, ...]
    output: Shape
    run: Callable[[Sequence[Array]], Array]
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)
    floats: bool = True

    @property
    def spatial(self) -> Shape:
        """Sizes of the first input between the batch and the channels."""
        return self.inputs[0][1:-1]

    @property
    def channels(self) -> int:
        """Number of the output's channels."""
        return self.output[-1]


ExpansionRule: TypeAlias = Callable[[Any, CallSite], Sequence[Step] | None]
"""Returns the steps of a layer, or None where it is used in a way that no primitive describes.

The steps are a graph in order of execution: each reads inputs of the layer and outputs of steps before it, and the last
makes the layer's output. Without operands of their own they are a chain. No steps: the layer does nothing at inference.
"""


def apply_function(function: Any, values: Array) -> Array:
    """A function of Keras on an array."""
    return np.asarray(function(keras.ops.convert_to_tensor(values, "float32")), np.float64)

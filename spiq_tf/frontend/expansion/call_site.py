"""What an expander is given, and what it makes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import keras
import numpy as np

from spiq_tf.distributions.values import Array, Shape
from spiq_tf.primitives.base import Primitive


@dataclass(frozen=True)
class Step:
    """One primitive of a layer and the shape that it makes, with the batch axis."""

    primitive: Primitive
    shape: Shape


@dataclass(frozen=True)
class CallSite:
    """Where a layer is called.

    Attributes:
        inputs: shapes of its inputs, with the batch axis.
        output: shape of the output that is to be described.
        run: the layer itself as a function of arrays, one for each input; returns that output.
        arguments: what is passed by position, None where a tensor goes.
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
        """Of the output."""
        return self.output[-1]


ExpansionRule: TypeAlias = Callable[[Any, CallSite], Sequence[Step] | None]
"""Gives the steps of a layer, or None where it is used in a way that no primitive describes.

A layer becomes a chain of steps: the first reads the layer's inputs, each further one the step before. An empty chain
is a layer that does nothing at inference.
"""


def apply_function(function: Any, values: Array) -> Array:
    """A function of Keras on an array."""
    return np.asarray(function(keras.ops.convert_to_tensor(values, "float32")), np.float64)

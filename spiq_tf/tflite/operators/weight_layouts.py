"""How weights of TFLite's operators are read as canonical kernels, (taps, groups, inputs a group, outputs a group)."""

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.distributions.values import Array, Shape
from spiq_tf.primitives import kernels


class Layout(Protocol):
    """Of one kind of operator."""

    def read(self, weights: Array, input_shape: Shape) -> Array:
        """The canonical kernel of weights as the file holds them."""

    def write(self, kernel: Array, shape: Shape) -> npt.NDArray[Any]:
        """The inverse of `read`, for weights of the given shape."""

    def tap_validity(self, input_shape: Shape, weights_shape: Shape, output_shape: Shape, options: Any) -> Array:
        """How often each tap lies inside the input, shape (taps,), see `kernels.tap_validity`.

        Args:
            input_shape, weights_shape, output_shape: of the data operand, the weights and the output.
            options: the operator's, in the schema.
        """


class Convolution:
    """CONV_2D: weights (outputs, height, width, inputs a group)."""

    def read(self, weights: Array, input_shape: Shape) -> Array:
        """See `Layout`."""
        groups = input_shape[-1] // weights.shape[-1]
        return kernels.canonical(np.moveaxis(weights, 0, -1), groups, depthwise=False)

    def write(self, kernel: Array, shape: Shape) -> npt.NDArray[Any]:
        """See `Layout`."""
        outputs, *rest = shape
        return np.moveaxis(kernels.restored(kernel, (*rest, outputs), depthwise=False), -1, 0)

    def tap_validity(self, input_shape: Shape, weights_shape: Shape, output_shape: Shape, options: Any) -> Array:
        """See `Layout`."""
        return kernels.tap_validity(
            input_shape[1:3],
            weights_shape[1:3],
            (options.strideH, options.strideW),
            (options.dilationHFactor, options.dilationWFactor),
            options.padding == schema.Padding.SAME,
        )


class Depthwise(Convolution):
    """DEPTHWISE_CONV_2D: weights (1, height, width, channels * multiplier)."""

    def read(self, weights: Array, input_shape: Shape) -> Array:
        """See `Layout`."""
        return weights.reshape(-1, input_shape[-1], 1, weights.shape[-1] // input_shape[-1])

    def write(self, kernel: Array, shape: Shape) -> npt.NDArray[Any]:
        """See `Layout`."""
        return kernel.reshape(shape)


class Transposed(Convolution):
    """TRANSPOSE_CONV: an output location reads but a share of the taps, all equally often."""

    def tap_validity(self, input_shape: Shape, weights_shape: Shape, output_shape: Shape, options: Any) -> Array:
        """See `Layout`."""
        share = math.prod(input_shape[1:3]) / math.prod(output_shape[1:3])
        return np.full(math.prod(weights_shape[1:3]), share)


class Dense(Convolution):
    """FULLY_CONNECTED: weights (outputs, inputs), one tap."""

    def tap_validity(self, input_shape: Shape, weights_shape: Shape, output_shape: Shape, options: Any) -> Array:
        """See `Layout`."""
        return np.ones(1)

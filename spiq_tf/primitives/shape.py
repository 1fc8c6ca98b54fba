"""Operations that move values and make none: reshapes, flattening, padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spiq_tf.primitives.base import (
    OUTPUT,
    Channels,
    Moments,
    Primitive,
    Range,
    Shape,
    Tie,
    Weights,
    mixture,
    pass_through,
)


@dataclass(frozen=True, eq=False)
class Reshape(Primitive):
    """Any reshape, Flatten among them.

    Attributes:
        before, after: shapes without the batch axis.
    """

    before: Shape
    after: Shape

    def _origin(self) -> npt.NDArray[np.intp]:
        """(positions, output channels): the input channel that each output value came from."""
        channel = np.broadcast_to(np.arange(self.before[-1]), self.before)
        return channel.reshape(-1, self.after[-1])

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        (x,), origin = inputs, self._origin()
        return mixture(x.mean[origin], x.variance[origin], np.full(len(origin), 1.0 / len(origin)))

    def range(self, inputs: Sequence[Channels], moments: Moments, weights: Weights, deviations: float) -> Range:
        x, origin = inputs[0].range, self._origin()
        return Range(x.low[origin].min(axis=0), x.high[origin].max(axis=0), x.source)

    def ties(self, channels: Sequence[int], output_channels: int) -> Sequence[Tie]:
        """A Flatten repeats the scales; where channels are mixed, all that meet share one."""
        if channels[0] == output_channels:
            return pass_through(output_channels)
        pairs = np.unique(self._origin() * output_channels + np.arange(output_channels))
        return (Tie(0, pairs // output_channels, OUTPUT, pairs % output_channels),)


@dataclass(frozen=True, eq=False)
class ZeroPad(Primitive):
    """Zeros around the map.

    Attributes:
        inside: share of the output's positions that hold values of the input.
    """

    inside: float

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Of the mixture of the input and zero."""
        (x,) = inputs
        mean = self.inside * x.mean
        return Moments(mean, self.inside * (x.variance + x.mean**2) - mean**2)

    def range(self, inputs: Sequence[Channels], moments: Moments, weights: Weights, deviations: float) -> Range:
        x = inputs[0].range
        return Range(np.minimum(x.low, 0.0), np.maximum(x.high, 0.0), x.source)

    def ties(self, channels: Sequence[int], output_channels: int) -> Sequence[Tie]:
        return pass_through(output_channels)

"""Operations that move values and make none: reshapes, flattening, padding."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spiq_tf.primitives.base import OUTPUT, Primitive, Tie, pass_through
from spiq_tf.primitives.spread import Channels, Spread, combined_spread
from spiq_tf.primitives.values import Array, Moments, Shape, Weights, mixture


@dataclass(frozen=True, eq=False)
class Reshape(Primitive):
    """Any reshape, Flatten among them.

    Attributes:
        before, after: shapes without the batch axis.
    """

    before: Shape
    after: Shape

    keeps_quantization = True

    def _origin(self) -> npt.NDArray[np.intp]:
        """(positions, output channels): the input channel that each output value came from."""
        channel = np.broadcast_to(np.arange(self.before[-1]), self.before)
        return channel.reshape(-1, self.after[-1])

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        (x,), origin = inputs, self._origin()
        return mixture(x.mean[origin], x.variance[origin], np.full(len(origin), 1.0 / len(origin)))

    def spread(self, inputs: Sequence[Channels], moments: Moments, weights: Weights) -> Spread:
        origin = self._origin()
        return combined_spread([inputs[0].spread], lambda parts: parts[0][origin].max(axis=0))

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, alike: float
    ) -> Sequence[Array]:
        """A channel's noise counts once for each output channel that it goes to."""
        origin = self._origin()
        share = np.broadcast_to(output / len(origin), origin.shape)
        total = np.bincount(origin.ravel(), share.ravel(), minlength=len(inputs[0].mean))
        return (total.astype(np.float64),)

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

    keeps_quantization = True

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Of the mixture of the input and zero."""
        (x,) = inputs
        mean = self.inside * x.mean
        return Moments(mean, self.inside * (x.variance + x.mean**2) - mean**2)

    def spread(self, inputs: Sequence[Channels], moments: Moments, weights: Weights) -> Spread:
        x = inputs[0].spread
        below = replace(x.below, bound=np.maximum(x.below.bound, 0.0))
        return replace(x, below=below, above=replace(x.above, bound=np.maximum(x.above.bound, 0.0)))

    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, alike: float
    ) -> Sequence[Array]:
        return (output * self.inside,)

    def ties(self, channels: Sequence[int], output_channels: int) -> Sequence[Tie]:
        return pass_through(output_channels)

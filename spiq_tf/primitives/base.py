"""What every primitive answers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spiq_tf import priors
from spiq_tf.distributions.tails import ChannelDistribution, TensorStatistics
from spiq_tf.distributions.values import Array, Moments, Weights

OUTPUT = -1
"""The port of a node's output; its inputs are the ports 0, 1, ..."""


@dataclass(frozen=True)
class ScaleConstraint:
    """Channels of two ports that must share a scale, pair by pair."""

    port: int
    channels: npt.NDArray[np.intp]
    other_port: int
    other_channels: npt.NDArray[np.intp]


class Primitive(ABC):
    """A rule without wiring; a Node holds it together with its tensors.

    The flags say what the TFLite converter does with the operation, see LayerGraph.fused.
    """

    is_linear = False
    uses_sampled_variance = False
    """Whether the model run on random fields shows what the moments do not know."""
    varies_by_image = False
    """Whether fields tell how much the output varies by image, where it has no positions: averages, class scores."""
    uses_sampled_mean = False
    """Whether its mean is taken from fields too, where it has no positions, since there is no closed form."""
    folds_into_linear = False
    fuses_into_producer = False
    takes_fused_activation = False
    preserves_quantization = False
    """Whether the output has the input's scale and zero point in the file (a max pool, a reshape)."""
    mixes_locations = False
    """Whether a position of the output sums several of the input's, so that noise is no longer independent."""
    saturation: float | None = None
    """The value at which every channel is cut, whatever its scale (ReLU6: 6); scales then stay at most 1."""

    @property
    def elementwise_function(self) -> Callable[[Array], Array] | None:
        """The function, where it is one and the same for every value of an unscaled tensor."""
        return None

    def forward(self, inputs: Sequence[Array]) -> Array | None:
        """What becomes of the inputs' values, in the units of the model, where it takes no more than those that stand
        at the same place; or else None.

        Args:
            inputs: each of shape (..., channels).
        """
        return None if self.elementwise_function is None else self.elementwise_function(inputs[0])

    @abstractmethod
    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Moments of the output."""

    def sampled_moments(self, shown: Moments, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Moments of the output, given those that it has on random fields."""
        return self.moments(inputs, weights)

    @abstractmethod
    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        """How far the output reaches.

        Args:
            inputs: what is known of the inputs.
            moments: the output's moments.
            weights: values of the model's variables.
        """

    def contrast_exponent(
        self, inputs: Sequence[Moments], contrast_exponents: Sequence[Array], weights: Weights
    ) -> Array:
        """By how many per cent the output's deviation grows with one per cent more contrast in the image.

        What the moments make of inputs whose deviations are that much larger: behind a ReLU more than one where values
        are mostly negative, less where they are mostly positive, 1.1 behind a SiLU.

        Args:
            inputs: moments of the inputs.
            elasticities: of the inputs, each of shape (channels,).
            weights: values of the model's variables.

        Returns:
            Of shape (channels,), or (1,) for all of them.
        """
        more = [
            replace(x, variance=x.variance * _MORE ** (2 * e)) for x, e in zip(inputs, contrast_exponents, strict=True)
        ]
        before, after = self.moments(inputs, weights).variance, self.moments(more, weights).variance
        growth = np.divide(after, before, out=np.full_like(before, _MORE**2), where=before > _TINY)
        return np.clip(0.5 * np.log(np.maximum(growth, 1.0)) / np.log(_MORE), 0.0, priors.MAX_CONTRAST_EXPONENT.value)

    @abstractmethod
    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        """How much each input's noise adds to the noise of the model's outputs, a unit of variance a channel.

        Args:
            output: the same of the output's noise, shape (channels,).
            inputs: moments of the inputs.
            moments: the output's moments.
            weights: values of the model's variables.
            alike: correlation of the noise at neighbouring positions, 0 to 1.
        """

    def variables(self) -> tuple[int, ...]:
        """Keys of the variables that it reads, in an order of its own."""
        return ()

    def input_moments(self, weights: Weights) -> Moments | None:
        """Moments that the primitive's own weights state for its input (a BatchNorm's running statistics)."""
        return None

    @property
    def has_inverse_moments(self) -> bool:
        """Whether the moments of the inputs follow from those of the output alone, see `inverse_moments`."""
        return False

    def inverse_moments(self, output: Moments, channels: Sequence[int]) -> Sequence[Moments] | None:
        """Moments of the inputs that follow from those of the output alone, where the primitive only moves values.

        Args:
            output: what is known of the output.
            channels: the number of each input's.
        """
        return None

    def scale_constraints(self, channels: Sequence[int], output_channels: int) -> Sequence[ScaleConstraint]:
        """Channels that must share a scale; channels holds the number of each input's."""
        return ()

    def pinned_ports(self) -> Sequence[int] | None:
        """Ports whose scale must be 1; None stands for all of them."""
        return ()

    def absorb(self, weights: Weights, inputs: Sequence[Array], output: Array) -> dict[int, Array]:
        """New values of the weights, for inputs and an output that are divided by their scales.

        Args:
            weights: the original values.
            inputs: the scale of each input, shape (channels,).
            output: the scale of the output, shape (channels,).
        """
        return {}


_MORE = 1.1  # contrast of the finite difference
_TINY = 1e-20


class Sum(Primitive):
    """What sums up terms whose correlation the moments do not know."""

    uses_sampled_variance = True

    def sampled_moments(self, shown: Moments, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """The variance is that on random fields where it is larger than that of independent terms."""
        own = self.moments(inputs, weights)
        return Moments(own.mean, np.maximum(own.variance, shown.variance))


def same_scale_per_channel(output_channels: int) -> tuple[ScaleConstraint, ...]:
    """Channel c of the only input shares its scale with channel c of the output."""
    every = np.arange(output_channels)
    return (ScaleConstraint(0, every, OUTPUT, every),)


def same_noise_ratio(output: Array, moments: Moments, x: Moments) -> Array:
    """Gains of an input whose ratio of signal to noise is taken for the output's, all its channels alike."""
    total = float(output @ moments.variance) / max(float(x.variance.sum()), 1e-30)
    return np.full_like(x.mean, total)

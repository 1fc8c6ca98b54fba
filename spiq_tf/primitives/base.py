"""What every primitive answers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from spiq_tf.distributions.tails import ChannelDistribution, TensorStatistics
from spiq_tf.distributions.values import Array, Moments, Weights
from spiq_tf.primitives.role import Role

if TYPE_CHECKING:
    from spiq_tf.primitives.affine import BatchNorm, FixedAffine
    from spiq_tf.primitives.linear import Linear

OUTPUT = -1
"""The port of a node's output; its inputs are the ports 0, 1, ..."""


@dataclass(frozen=True)
class ScaleConstraint:
    """Channels of an input that must share a scale with channels of the output, pair by pair.

    Attributes:
        port: of the input.
        channels, output_channels: channel indices, of the same length: channels[i] of the input and output_channels[i]
            of the output share a scale.
    """

    port: int
    channels: npt.NDArray[np.intp]
    output_channels: npt.NDArray[np.intp]


class Primitive(ABC):
    """An operation without wiring; a Node holds it together with its tensors.

    All moments, ranges and weights are in the model's units, unless a method says otherwise.
    """

    # What it is, for those who look for a kind of operation in the graph.
    is_linear = False
    """A kernel and perhaps a bias: what `as_linear` returns."""
    is_opaque = False
    """A layer without a rule, which is sampled."""
    is_softmax = False
    """A softmax over the channels."""
    is_addition = False
    """A sum of its inputs, each times a constant."""
    is_product = False
    """A product of its inputs."""
    is_padding = False
    """One value around a feature map."""
    is_rearrangement = False
    """Its output holds values of its input, moved, left out, repeated or averaged with neighbors."""
    is_fixed_affine = False
    """factor x + offset with constants that no scale is absorbed into: a Rescaling, a Normalization."""
    is_global_average = False
    """An average over a whole feature map."""
    is_steep = False
    """An elementwise function that grows faster than its argument: an exponential, a square."""
    is_pointwise = False
    """Every value of the output depends on the values at the same place of the inputs alone, and `forward` says how,
    without a weight."""
    rectifies = False
    """max(x, 0), perhaps with a maximum, see `saturation`."""
    keeps_channels = False
    """A rearrangement in which every channel holds values of itself alone."""
    states_input_moments = False
    """Its weights state moments of its input, see `input_moments`; its input and output need no propagation."""

    # How its moments are sampled.
    uses_sampled_variance = False
    """`sampled_moments` uses moments on synthetic inputs, of feature maps and of sums of an image's pixels: they know
    what closed forms leave out."""
    varies_by_image = False
    """Without spatial locations, its variance over images is taken from the sample: averages, logits."""
    uses_sampled_mean = False
    """Without spatial locations, its mean is taken from the sample too: there is no closed form."""

    # What TFLite's converter makes of it, see LayerGraph.fused.
    folds_into_linear = False
    """A factor and an offset for each channel, which are folded into the kernel and bias of a linear producer."""
    fuses_into_producer = False
    """An activation that operators of TFLite have fused into them: ReLU, ReLU6."""
    takes_fused_activation = False
    """Its operator has a fused activation."""
    preserves_quantization = False
    """The output has the input's scale and zero point in the file (a max pool, a reshape)."""
    has_depthwise_form = False
    """A depthwise convolution, whose output has a scale of its own, takes its place for XNNPACK: see
    passes/average_pool_to_depthwise.py."""

    # How noise and scales pass.
    mixes_locations = False
    """An output value sums several spatial locations of the input, so that noise is spatially correlated after it."""
    saturation: float | None = None
    """The value at which every channel saturates, whatever its scale (ReLU6: 6), or None; scales are then at most 1."""

    @property
    def as_linear(self) -> "Linear | None":
        """Itself where it is linear, for those who read its kernel; otherwise None."""
        return None

    @property
    def as_fixed_affine(self) -> "FixedAffine | None":
        """Itself where `is_fixed_affine`, for those who read its constants; otherwise None."""
        return None

    @property
    def as_batch_norm(self) -> "BatchNorm | None":
        """Itself where it is a BatchNorm, for those who read or change its weights; otherwise None."""
        return None

    @property
    def extracts_features(self) -> bool:
        """Whether it has learned weights that combine values: a kernel, or an opaque layer that has any."""
        return self.is_linear or (self.is_opaque and bool(self.variables()))

    def in_role(self, role: Role) -> "Primitive":
        """The primitive with moments and a distribution that suit its role in the network.

        The graph's own primitives have none: a role is a fact about the graph, which the caller hands over.
        """
        return self

    @property
    def elementwise_function(self) -> Callable[[Array], Array] | None:
        """The function, where it is one and the same for every value of an unscaled tensor; otherwise None."""
        return None

    @property
    def inverse(self) -> Callable[[Array], Array] | None:
        """The inverse of a channel-wise function with fixed constants, on arrays (..., channels); otherwise None."""
        return None

    def forward(self, inputs: Sequence[Array]) -> Array | None:
        """The output's values, where they depend on those at the same place of the inputs alone; otherwise None.

        Args:
            inputs: values of each input, shape (..., channels).
        """
        return None if self.elementwise_function is None else self.elementwise_function(inputs[0])

    @abstractmethod
    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Moments of the output.

        Args:
            inputs: moments of the inputs.
            weights: values of the model's variables.
        """

    def sampled_moments(self, sampled: Moments, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """Moments of the output, given those that it has on synthetic inputs.

        Args:
            sampled: moments of the output on synthetic inputs.
            inputs: moments of the inputs.
            weights: values of the model's variables.
        """
        return self.moments(inputs, weights)

    @abstractmethod
    def distribution(
        self, inputs: Sequence[TensorStatistics], moments: Moments, weights: Weights
    ) -> ChannelDistribution:
        """The distribution of the output's channels.

        Args:
            inputs: statistics of the inputs.
            moments: the output's moments.
            weights: values of the model's variables.
        """

    def contrast_exponent(
        self, inputs: Sequence[Moments], contrast_exponents: Sequence[Array], weights: Weights
    ) -> Array:
        """d ln sigma / d ln contrast of the output: by how many per cent its deviation grows with 1 % more contrast.

        By finite difference: what the moments make of inputs whose deviations are that much larger. After a ReLU more
        than one where values are mostly negative, less where they are mostly positive; 1.1 after a SiLU.

        Args:
            inputs: moments of the inputs.
            contrast_exponents: of the inputs, each of shape (channels,).
            weights: values of the model's variables.

        Returns:
            Of shape (channels,), or (1,) for all of them.
        """
        more = [
            replace(x, variance=x.variance * _MORE ** (2 * e)) for x, e in zip(inputs, contrast_exponents, strict=True)
        ]
        before, after = self.moments(inputs, weights).variance, self.moments(more, weights).variance
        growth = np.divide(after, before, out=np.full_like(before, _MORE**2), where=before > _TINY)
        return np.clip(0.5 * np.log(np.maximum(growth, 1.0)) / np.log(_MORE), 0.0, _MAX_CONTRAST_EXPONENT)

    @abstractmethod
    def gains(
        self, output: Array, inputs: Sequence[Moments], moments: Moments, weights: Weights, noise_correlation: float
    ) -> Sequence[Array]:
        """Noise gain of each input: noise power at the model's outputs for a unit of noise variance on each channel.

        Args:
            output: noise gain of the output, shape (channels,).
            inputs: moments of the inputs.
            moments: the output's moments.
            weights: values of the model's variables.
            noise_correlation: correlation of the noise at neighboring spatial locations, 0 to 1.

        Returns:
            For each input an array of shape (channels,).
        """

    def variables(self) -> tuple[int, ...]:
        """Keys of the variables that it reads, in an order of its own."""
        return ()

    def uses_weights_as(self, other: "Primitive") -> bool:
        """Whether both use the same variables in the same way, as the calls of a shared layer do."""
        return type(self) is type(other) and self.variables() == other.variables()

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
            output: moments of the output.
            channels: number of channels of each input.
        """
        return None

    def scale_constraints(self, channels: Sequence[int], output_channels: int) -> Sequence[ScaleConstraint]:
        """Channels that must share a scale.

        Args:
            channels: number of channels of each input.
            output_channels: number of channels of the output.
        """
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

        Returns:
            Values of the weights that change, by key.
        """
        return {}


_MORE = 1.1  # contrast of the finite difference
_MAX_CONTRAST_EXPONENT = 4.0  # of a channel that is hardly ever alive, and of which the moments say little
_TINY = 1e-20


class Sum(Primitive):
    """A sum of terms whose correlation the moments do not know."""

    uses_sampled_variance = True

    def sampled_moments(self, sampled: Moments, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """The variance is that on synthetic inputs where it is larger than that of independent terms."""
        predicted = self.moments(inputs, weights)
        return Moments(predicted.mean, np.maximum(predicted.variance, sampled.variance))


def same_scale_per_channel(output_channels: int) -> tuple[ScaleConstraint, ...]:
    """Channel c of the only input shares its scale with channel c of the output."""
    channels = np.arange(output_channels)
    return (ScaleConstraint(0, channels, channels),)


def same_noise_ratio(output: Array, moments: Moments, x: Moments) -> Array:
    """Gains of an input whose signal-to-noise ratio is assumed to be the output's, the same for all its channels.

    Args:
        output: noise gain of the output, shape (channels,).
        moments: of the output.
        x: moments of the input.

    Returns:
        Of shape (input channels,).
    """
    total = float(output @ moments.variance) / max(float(x.variance.sum()), 1e-30)
    return np.full_like(x.mean, total)

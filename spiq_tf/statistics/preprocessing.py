"""The usual preprocessing of images, and how well each convention explains a BatchNorm's running statistics."""

from dataclasses import KW_ONLY, dataclass

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.values import Array, ChannelRanges, Moments, Source

# Mean and deviation of natural images' channels in units of [0, 1], red first (ImageNet's, as torchvision and
# Keras state them).
_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_CAFFE_MEAN = np.array([103.939, 116.779, 123.68])  # blue first, of keras.applications.imagenet_utils


@dataclass(frozen=True)
class Convention:
    """One usual preprocessing of pixels p in [0, 1]: p * factor + offset, in the model's order of channels.

    Attributes:
        name: in messages.
        factor, offset: shape (3,).
        reverse: whether blue is the first channel.
    """

    name: str
    factor: Array
    offset: Array
    _: KW_ONLY
    reverse: bool = False

    def _ordered(self, values: Array) -> Array:
        return values[::-1] if self.reverse else values

    def range(self) -> ChannelRanges:
        """Of all values that pixels can take, of each channel, in model units."""
        return ChannelRanges(self.offset, self.factor + self.offset, Source.TOLD)

    def moments(self) -> Moments:
        """Of natural images, in model units."""
        mean = self.factor * self._ordered(_MEAN) + self.offset
        return Moments(mean, (self.factor * self._ordered(_DEVIATION)) ** 2)


_ONES = np.ones(3)
CONVENTIONS = (
    Convention("[0, 1]", _ONES, 0 * _ONES),
    Convention("[-1, 1]", 2 * _ONES, -_ONES),
    Convention("[0, 255]", 255 * _ONES, 0 * _ONES),
    Convention("ImageNet mean and deviation", 1 / _DEVIATION, -_MEAN / _DEVIATION),
    Convention("Caffe BGR", 255 * _ONES, -_CAFFE_MEAN, reverse=True),
)


def is_reversed(given: ChannelRanges) -> bool:
    """Whether a range of three channels is that of a convention with blue as the first channel."""
    ranges = (convention.range() for convention in CONVENTIONS if convention.reverse)
    return any(np.allclose(given.low, r.low) and np.allclose(given.high, r.high) for r in ranges)


def misfit(image: Moments, kernel: Array, bias: Array, stated: Moments) -> float:
    """The distance of a BatchNorm's running statistics from those that images of the given moments would cause.

    The root mean square, over the outputs, of the distance of the means in running deviations, together with
    the median ratio of the deviations as a logarithm of base 2.

    Args:
        image: the images' moments, of three channels.
        kernel: (height, width, channels, outputs).
        bias: (outputs,).
        stated: the BatchNorm's running statistics, of the outputs.
    """
    expected = kernel.sum(axis=(0, 1)).T @ image.mean + bias
    deviation = _response_deviation(image, kernel)
    alive = (stated.deviation > 1e-6) & (deviation > 1e-9)
    if not alive.any():
        return float("inf")
    off = np.sqrt(np.mean(((expected - stated.mean) / stated.deviation)[alive] ** 2))
    ratio = np.median(np.log2((deviation / np.maximum(stated.deviation, 1e-30))[alive]))
    return float(np.hypot(off, ratio))


def _response_deviation(image: Moments, kernel: Array) -> Array:
    """Deviation of a convolution's outputs on images with correlated pixels and channels, shape (outputs,)."""
    taps = np.stack(np.meshgrid(*(np.arange(n) for n in kernel.shape[:2]), indexing="ij"), -1).reshape(-1, 2)
    distance = np.sqrt(((taps[:, None] - taps) ** 2).sum(-1))
    correlation = np.where(np.eye(3, dtype=bool), 1.0, priors.IMAGE_CHANNEL_CORRELATION.value)
    of_channels = correlation * np.outer(image.deviation, image.deviation)
    covariance = np.kron(priors.PIXEL_CORRELATION.value**distance, of_channels)
    flat = kernel.reshape(-1, kernel.shape[-1])
    return np.asarray(np.sqrt(np.einsum("io,ij,jo->o", flat, covariance, flat, optimize=True)))

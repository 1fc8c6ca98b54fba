"""The digits that the golden networks are trained on and measured with: scikit-learn's, enlarged to 16x16."""

import numpy as np
from sklearn.datasets import load_digits

RANGE = (-1.0, 1.0)
TRAINING = 1100
"""Images to train on, of 1797; the others are held out."""

NOISE = 0.25
"""Standard deviation of what is added to the images of which strokes are to be found, in units of the range."""


def digits():
    """Images (1797, 16, 16, 1) in RANGE and their labels (1797,), shuffled: the first TRAINING are to train on."""
    loaded = load_digits()
    order = np.random.default_rng(0).permutation(len(loaded.target))
    images = _enlarged(loaded.images[order] / 8.0 - 1.0)
    return images[..., None].astype(np.float32), loaded.target[order]


def strokes():
    """Noisy images in RANGE, and for each pixel its class (1797, 16, 16): the digit's in its strokes, 10 elsewhere."""
    images, labels = digits()
    classes = np.where(images[..., 0] > 0.0, labels[:, None, None], 10)
    noise = np.random.default_rng(1).normal(0, NOISE, images.shape)
    return np.clip(images + noise, *RANGE).astype(np.float32), classes


def _enlarged(images):
    """Bilinear, to twice the size, pixels' centers as images have them."""
    for axis in (1, 2):
        size = images.shape[axis]
        centers = np.clip((np.arange(2 * size) + 0.5) / 2 - 0.5, 0, size - 1)
        low = np.floor(centers).astype(int)
        high = np.minimum(low + 1, size - 1)
        weight = (centers - low).reshape([-1 if k == axis else 1 for k in range(3)])
        images = (1 - weight) * images.take(low, axis) + weight * images.take(high, axis)
    return images

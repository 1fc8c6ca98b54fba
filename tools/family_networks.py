"""One network of each family that Keras users bring, at a small size, random weights that keep the signal's power.

No weights are downloaded: kernels come from the families' own initializers, gammas, betas and biases are random, and
running statistics are those of a pass over smooth random images.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers
from scipy.ndimage import zoom
from scipy.special import ndtr

from spiq_tf.benchmarking.networks import INPUT_RANGES, SIGNED

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Family:
    """A network and the range of its inputs.

    Attributes:
        build: makes it, up to its logits.
        input_range: smallest and largest value after preprocessing.
        parts: of the output, by name: slices of its last axis that are compared one by one.
    """

    build: Callable[[], keras.Model]
    input_range: tuple[float, float]
    parts: Mapping[str, slice] = field(default_factory=lambda: {"": slice(None)})


def network(family: Family) -> keras.Model:
    """The family's network with random weights and the running statistics that belong to them."""
    keras.utils.set_random_seed(1)
    model = family.build()
    random = np.random.default_rng(1)
    every = model._flatten_layers(include_self=False)
    norms = [x for x in every if isinstance(x, layers.BatchNormalization)]
    normalized = any(isinstance(x, (layers.BatchNormalization, layers.LayerNormalization)) for x in every)
    if not normalized:
        _keep_power(every, random, 0.1 * max(map(abs, family.input_range)))
    for layer in every:
        if isinstance(layer, (layers.BatchNormalization, layers.LayerNormalization)):
            _randomize(layer.gamma, lambda shape: np.exp(random.normal(0, 0.3, shape)))
            _randomize(layer.beta, lambda shape: random.normal(0, 0.5, shape))
        elif type(layer).__name__ == "LayerScale":  # 1e-6 at first: a block would add nothing
            _randomize(layer.gamma, lambda shape: random.uniform(0.1, 1.0, shape))
        elif normalized:
            _randomize(getattr(layer, "bias", None), lambda shape: random.normal(0, 0.2, shape))
    _measure(model, norms, smooth_images(model, 32, family.input_range, seed=2))
    return model


def _randomize(variable: Any, draw: Callable[[Any], Array]) -> None:
    if variable is not None:
        variable.assign(draw(variable.shape))


def _keep_power(every: list[Any], random: np.random.Generator, bias: float) -> None:
    """Glorot's kernels halve the power at each ReLU: too much for sixteen layers without a normalization."""
    for layer in every:
        if getattr(layer, "activation", None) is keras.activations.relu:
            layer.kernel.assign(layer.kernel * np.sqrt(2.0))
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(random.normal(0, bias, layer.bias.shape))


def _measure(model: keras.Model, norms: list[Any], images: Array) -> None:
    """Running statistics of one pass over the images."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def smooth_images(model: keras.Model, count: int, values: tuple[float, float], seed: int) -> Array:
    """Random inputs of a model as smooth as photographs and sounds: the same power in each octave.

    Returns:
        An array of shape (count, ..., channels) whose entries are spread over the range of values.
    """
    random = np.random.default_rng(seed)
    (shape,) = (x.shape[1:] for x in model.inputs)
    total, cells = np.zeros((count, *shape)), 2
    while cells < 2 * max(shape[:-1]):
        coarse = [min(cells, size) for size in shape[:-1]]
        factors = (1, *(size / n for size, n in zip(shape[:-1], coarse, strict=True)), 1)
        total += zoom(random.normal(size=(count, *coarse, shape[-1])), factors, order=1)
        cells *= 2
    low, high = values
    return (low + (high - low) * ndtr(total / total.std())).astype(np.float32)


def _application(name: str, side: int) -> Family:
    """A network of keras.applications without its softmax."""

    def build() -> keras.Model:
        make = getattr(keras.applications, name)
        return make(weights=None, input_shape=(side, side, 3), classifier_activation=None)

    return Family(build, INPUT_RANGES[name])


def _conv_bn(x: Any, filters: int, size: int = 3, strides: int = 1) -> Any:
    x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def _unet() -> keras.Model:
    """Three levels of an encoder and a decoder, with skip connections."""
    image = keras.Input((96, 96, 3), name="image")
    x, skips = image, []
    for filters in (16, 32, 64):
        x = _conv_bn(_conv_bn(x, filters), filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = _conv_bn(_conv_bn(x, 96), 96)
    for filters, skip in zip((64, 32, 16), reversed(skips), strict=True):
        x = layers.Conv2DTranspose(filters, 2, strides=2, padding="same")(x)
        x = _conv_bn(_conv_bn(layers.Concatenate()([skip, x]), filters), filters)
    return keras.Model(image, layers.Conv2D(4, 1, name="mask")(x))


_CLASSES = 6


def _detector() -> keras.Model:
    """Boxes in pixels of a picture of 640 beside scores in [0, 1], from two levels, in one output."""
    image = keras.Input((128, 128, 3), name="image")
    x, levels = image, []
    for filters, strides in ((16, 2), (32, 2), (64, 2)):
        x = _conv_bn(_conv_bn(x, filters, strides=strides), filters)
    for filters in (64, 96):
        x = _conv_bn(x, filters, strides=2)
        boxes = layers.Reshape((-1, 4))(layers.Conv2D(3 * 4, 3, padding="same", activation="sigmoid")(x))
        scores = layers.Conv2D(3 * _CLASSES, 3, padding="same", activation="sigmoid")(x)
        scores = layers.Reshape((-1, _CLASSES))(scores)
        levels.append(layers.Concatenate()([layers.Rescaling(640.0)(boxes), scores]))
    return keras.Model(image, layers.Concatenate(axis=1, name="detections")(levels))


def _super_resolution() -> keras.Model:
    """Twice the size: residual blocks, then channels moved to spatial locations."""
    side, channels = 48, 3
    image = keras.Input((side, side, channels), name="image")
    x = start = layers.Conv2D(32, 3, padding="same", activation="relu")(image)
    for _ in range(4):
        y = layers.BatchNormalization()(layers.Conv2D(32, 3, padding="same", use_bias=False)(_conv_bn(x, 32)))
        x = layers.Add()([x, y])
    x = layers.Conv2D(4 * channels, 3, padding="same")(layers.Add()([x, start]))
    x = layers.Permute((1, 3, 2, 4, 5))(layers.Reshape((side, side, 2, 2, channels))(x))
    return keras.Model(image, layers.Reshape((2 * side, 2 * side, channels), name="enlarged")(x))


def _keyword_spotter() -> keras.Model:
    """Half a second of sound at 8 kHz, as raw samples."""
    sound = keras.Input((4000, 1), name="sound")
    x = sound
    for filters, size, strides in ((32, 80, 4), (32, 3, 1), (64, 3, 1), (96, 3, 1)):
        x = layers.Conv1D(filters, size, strides=strides, padding="same", use_bias=False)(x)
        x = layers.MaxPooling1D(4)(layers.ReLU()(layers.BatchNormalization()(x)))
    return keras.Model(sound, layers.Dense(12, name="words")(layers.GlobalAveragePooling1D()(x)))


FAMILIES: dict[str, Family] = {
    "VGG16": _application("VGG16", 96),
    "VGG19": _application("VGG19", 96),
    "ResNet50": _application("ResNet50", 96),
    "ResNet101": _application("ResNet101", 96),
    "ResNet50V2": _application("ResNet50V2", 96),
    "InceptionV3": _application("InceptionV3", 139),
    "InceptionResNetV2": _application("InceptionResNetV2", 139),
    "Xception": _application("Xception", 128),
    "MobileNet": _application("MobileNet", 128),
    "MobileNetV2": _application("MobileNetV2", 128),
    "MobileNetV3Small": _application("MobileNetV3Small", 128),
    "MobileNetV3Large": _application("MobileNetV3Large", 128),
    "DenseNet121": _application("DenseNet121", 96),
    "NASNetMobile": _application("NASNetMobile", 96),
    "EfficientNetB0": _application("EfficientNetB0", 128),
    "EfficientNetV2B0": _application("EfficientNetV2B0", 128),
    "ConvNeXtTiny": _application("ConvNeXtTiny", 96),
    "U-Net": Family(_unet, SIGNED),
    "detector": Family(_detector, SIGNED, {"boxes": slice(0, 4), "scores": slice(4, None)}),
    "super-resolution": Family(_super_resolution, (0.0, 1.0)),
    "keyword spotter": Family(_keyword_spotter, SIGNED),
}

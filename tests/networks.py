"""Small networks with random weights and running statistics that belong to them; of Keras alone, for any commit."""

import keras
import numpy as np
from keras import layers

RANGE = (-1.0, 1.0)


def images(model, count=64, seed=3, values=RANGE):
    """Random inputs in the range of values, one array for each of the model's inputs."""
    random = np.random.default_rng(seed)
    result = []
    for x in model.inputs:
        shape = (count, *x.shape[1:])
        noise = random.uniform(*values, shape)
        level = random.uniform(*values, (count, *(1 for _ in shape[1:-1]), shape[-1]))
        result.append((0.6 * noise + 0.4 * level).astype(np.float32))
    return result if len(result) > 1 else result[0]


def settle(model, seed=0, values=RANGE):
    """Random gammas, betas and biases, and running statistics measured on inputs; returns the model."""
    random = np.random.default_rng(seed)
    norms = [x for x in model._flatten_layers() if isinstance(x, layers.BatchNormalization)]
    for layer in model._flatten_layers(include_self=False):
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(random.normal(0, 0.2, layer.bias.shape))
    for norm in norms:
        if norm.gamma is not None:
            norm.gamma.assign(np.exp(random.normal(0, 0.5, norm.gamma.shape)))
        if norm.beta is not None:
            norm.beta.assign(random.normal(0, 0.7, norm.beta.shape))
    return measured(model, seed + 1, values)


def measured(model, seed=1, values=RANGE, momenta=(0.0,)):
    """Running statistics measured anew on inputs, all else as it is; returns the model.

    One pass for each momentum: with the first alone, a norm that is called twice knows of its second call only.
    """
    norms = [x for x in model._flatten_layers() if isinstance(x, layers.BatchNormalization)]
    kept = [norm.momentum for norm in norms]
    for momentum in momenta:
        for norm in norms:
            norm.momentum = momentum
        model(images(model, 128, seed, values), training=True)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    return model


def conv_bn(x, filters, size=3, activation=None, **options):
    x = layers.Conv2D(filters, size, padding="same", use_bias=False, **options)(x)
    x = layers.BatchNormalization()(x)
    return x if activation is None else activation(x)


def residual():
    image = keras.Input((16, 16, 3), name="image")
    x = shortcut = conv_bn(image, 16, activation=layers.ReLU())
    x = conv_bn(conv_bn(x, 16, activation=layers.ReLU()), 16)
    x = layers.ReLU()(layers.Add()([x, shortcut]))
    x = layers.GlobalAveragePooling2D()(conv_bn(x, 24, strides=2, activation=layers.ReLU()))
    return settle(keras.Model(image, layers.Dense(7, name="scores")(x)))


def depthwise():
    image = keras.Input((16, 16, 3), name="image")
    x = shortcut = conv_bn(image, 16, activation=layers.ReLU(6.0))
    x = layers.ZeroPadding2D(1)(x)
    x = layers.DepthwiseConv2D(3, use_bias=False)(x)
    x = conv_bn(layers.ReLU(6.0)(layers.BatchNormalization()(x)), 16, 1)
    x = layers.Add()([x, shortcut])
    x = layers.SeparableConv2D(24, 3, padding="same")(x)
    x = layers.Dropout(0.5)(layers.ReLU(6.0)(layers.BatchNormalization()(x)))
    return settle(keras.Model(image, layers.Dense(7)(layers.Flatten()(layers.AveragePooling2D(4)(x)))))


def concatenation():
    image = keras.Input((16, 16, 3), name="image")
    x = conv_bn(image, 8, activation=layers.ReLU())
    left = conv_bn(x, 8, activation=layers.ReLU())
    right = layers.MaxPooling2D(2, strides=1, padding="same")(x)
    x = layers.Concatenate()([left, right, x])
    x = conv_bn(x, 12, 1, activation=layers.ReLU())
    return settle(keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(x))))


def shared_layer():
    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    conv = layers.Conv2D(12, 3, padding="same", name="both")
    norm = layers.BatchNormalization()
    x, y = (layers.ReLU()(norm(conv(v))) for v in (left, right))
    z = conv_bn(layers.Add()([x, y]), 8, activation=layers.ReLU())
    return settle(keras.Model([left, right], layers.Dense(4)(layers.Flatten()(z))))


def two_outputs():
    image = keras.Input((8, 8, 3), name="image")
    x = conv_bn(image, 8, activation=layers.ReLU())
    y = conv_bn(x, 8, activation=layers.ReLU())
    scores = layers.Dense(5, name="scores")(layers.GlobalAveragePooling2D()(y))
    mask = layers.Conv2D(2, 1, activation="sigmoid", name="mask")(x)
    return settle(keras.Model(image, [scores, x, mask]))


def nested():
    inner_input = keras.Input((8, 8, 8), name="inner_input")
    inner = keras.Model(inner_input, conv_bn(inner_input, 8, activation=layers.ReLU()), name="block")
    tail = keras.Sequential([layers.GlobalMaxPooling2D(), layers.Dense(6, activation="softmax")], name="tail")
    image = keras.Input((8, 8, 3), name="image")
    x = conv_bn(image, 8, activation=layers.ReLU())
    x = layers.Add()([inner(x), x])
    return settle(keras.Model(image, tail(inner(x))))


def preactivation():
    """ResNetV2's order: BatchNorms that no convolution can take, before a ReLU."""
    image = keras.Input((16, 16, 3), name="image")
    x = shortcut = layers.Conv2D(16, 3, padding="same")(image)
    for _ in range(2):
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Conv2D(16, 3, padding="same")(x)
        x = shortcut = layers.Add()([x, shortcut])
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return settle(keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(x))))


def shared_in_series():
    """The second call of a shared layer reads what the first one made."""
    image = keras.Input((8, 8, 3), name="image")
    x = conv_bn(image, 8, activation=layers.ReLU())
    again = layers.Conv2D(8, 3, padding="same", activation="relu", name="again")
    x = conv_bn(again(again(x)), 8)
    return settle(keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x))))


def saturating_addition():
    """A rectified tensor that is cut at 6 joins a signed one whose channels differ by a factor of 100."""
    image = keras.Input((16, 16, 3), name="image")
    x = conv_bn(image, 16, activation=layers.ReLU(6.0))
    y = layers.BatchNormalization(name="spread")(layers.Conv2D(16, 3, padding="same", use_bias=False)(x))
    z = conv_bn(layers.Add()([x, y]), 8, activation=layers.ReLU(6.0))
    model = settle(keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(z))))
    model.get_layer("spread").gamma.assign(np.geomspace(0.3, 30.0, 16))
    return measured(model)


def sequential():
    """No functional graph in sight: the model that tutorials begin with."""
    return settle(
        keras.Sequential(
            [
                keras.Input((12, 12, 3), name="image"),
                layers.Conv2D(8, 3),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(5),
            ]
        )
    )


def one_dimension():
    series = keras.Input((64, 4), name="series")
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv1D(12, 5, padding="same")(series)))
    x = layers.MaxPooling1D(2)(x)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv1D(12, 3, strides=2)(x)))
    return settle(keras.Model(series, layers.Dense(4)(layers.GlobalAveragePooling1D()(x))))


def named():
    """Every layer has a name, so that nothing depends on the counters of the process."""
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, name="conv")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.Concatenate(name="join")([x, layers.Conv2D(8, 1, name="side")(x)])
    return settle(keras.Model(image, layers.Dense(4, name="scores")(layers.Flatten(name="flat")(x))))


NETWORKS = {
    "named": named,
    "one_dimension": one_dimension,
    "sequential": sequential,
    "preactivation": preactivation,
    "shared_in_series": shared_in_series,
    "saturating_addition": saturating_addition,
    "residual": residual,
    "depthwise": depthwise,
    "concatenation": concatenation,
    "shared_layer": shared_layer,
    "two_outputs": two_outputs,
    "nested": nested,
}


class Mixing(layers.Layer):
    """A weight on the left of its input: the adjacency of a graph, a mixing of positions."""

    def build(self, shape):
        self.mixing = self.add_weight(shape=(shape[1], shape[1]), initializer="glorot_uniform")

    def call(self, x):
        return keras.ops.matmul(self.mixing, x)

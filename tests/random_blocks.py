"""The steps that random networks are made of: all that Keras users combine, on small maps."""

from dataclasses import dataclass, replace

import keras
from keras import layers


@dataclass(frozen=True)
class Block:
    """One step of a network. Each kind uses the fields that mean something to it.

    Attributes:
        kind: a key of BLOCKS.
        filters: output channels.
        size: of the kernel or the window.
        stride: of the kernel or the window.
        dilation: of the kernel; above 1 the stride is 1, as Keras demands.
        valid: whether nothing is padded.
        norm: a key of NORMS, or "none" for a bias in place of a BatchNorm.
        activation: a key of ACTIVATIONS.
        back: how far back the second operand lies among the earlier maps of the same size.
    """

    kind: str = "conv"
    filters: int = 4
    size: int = 3
    stride: int = 1
    dilation: int = 1
    valid: bool = False
    norm: str = "plain"
    activation: str = "relu"
    back: int = 0


def _conv(x, block, kind=layers.Conv2D, **options):
    """A convolution of any kind with its norm and activation; nothing is left unpadded that would not fit."""
    reach = (block.size - 1) * block.dilation + 1
    common = {
        "padding": "valid" if block.valid and min(x.shape[1:3]) >= reach else "same",
        "strides": block.stride if block.dilation == 1 else 1,
        "dilation_rate": block.dilation,
        "use_bias": block.norm == "none",
        "name": _name(block.norm),
    }
    filters = {} if kind is layers.DepthwiseConv2D else {"filters": block.filters}
    return _normalized(kind(**filters, kernel_size=block.size, **common, **options)(x), block)


def _normalized(x, block):
    if block.norm != "none":
        x = layers.BatchNormalization(name=_name(block.norm))(x)
    return ACTIVATIONS[block.activation](x)


def _name(norm):
    """A layer's name says how its channels are to be, so that `_settled` knows."""
    return f"{norm}_{keras.backend.get_uid(norm)}"


def _point(x, filters, norm="plain", activation="none"):
    return _conv(x, Block(filters=filters, size=1, norm=norm, activation=activation))


def _earlier(maps, block):
    """An earlier map of the last one's size, or the last one itself."""
    same_size = [x for x in maps if x.shape[1:3] == maps[-1].shape[1:3]]
    return same_size[-1 - block.back % len(same_size)]


def _grouped(maps, block):
    groups = 2 if maps[-1].shape[-1] % 2 == 0 and block.filters % 2 == 0 else 1
    return _conv(maps[-1], block, groups=groups)


def _depthwise(maps, block):
    return _conv(maps[-1], block, layers.DepthwiseConv2D, depth_multiplier=1 + block.back % 2)


def _separable(maps, block):
    return _conv(maps[-1], block, layers.SeparableConv2D)


def _padded(maps, block):
    """The padding that Keras's own MobileNet has before its strides: more below and to the right."""
    padding = ((block.back, 1), (0, block.size - 1))
    padded = layers.ZeroPadding2D(padding)(maps[-1])
    return _conv(padded, replace(block, valid=True))


def _residual(maps, block):
    x = maps[-1]
    y = _conv(x, Block(filters=block.filters, size=block.size, norm=block.norm, activation=block.activation))
    y = _point(y, x.shape[-1], block.norm)
    return ACTIVATIONS[block.activation](layers.Add()([x, y]))


def _added(maps, block):
    """A sum with an earlier map, brought to its channels where they differ."""
    x, y = maps[-1], _earlier(maps, block)
    y = y if y.shape[-1] == x.shape[-1] else _point(y, x.shape[-1], block.norm)
    return ACTIVATIONS[block.activation](layers.Add()([x, y]))


def _subtracted(maps, block):
    return layers.Subtract()([_point(maps[-1], block.filters), _point(_earlier(maps, block), block.filters)])


def _concatenated(maps, block):
    """Each branch in its own way, as Inception does it."""
    x = maps[-1]
    branch = _conv(x, replace(block, stride=1, valid=False))
    pooled = layers.MaxPooling2D(3, strides=1, padding="same")(x)
    joined = layers.Concatenate()([branch, pooled, _earlier(maps, block)])
    return _point(joined, block.filters, activation=block.activation)


def _channel_gate(maps, block):
    """Squeeze and excite."""
    x = maps[-1]
    gate = layers.Dense(block.filters, activation="relu")(layers.GlobalAveragePooling2D()(x))
    gate = layers.Dense(x.shape[-1], activation="sigmoid")(gate)
    return layers.Multiply()([x, layers.Reshape((1, 1, x.shape[-1]))(gate)])


def _position_gate(maps, block):
    gate = layers.Conv2D(1, block.size, padding="same", activation="sigmoid")(maps[-1])
    return layers.Multiply()([maps[-1], gate])


def _shared(maps, block):
    """One convolution called twice: on two maps of the same channels, or in series."""
    x = maps[-1]
    twice = layers.Conv2D(x.shape[-1], block.size, padding="same")
    act, other = ACTIVATIONS[block.activation], _earlier(maps, block)
    if other is x or other.shape != x.shape:
        return act(twice(act(twice(x))))
    return layers.Add()([act(twice(x)), act(twice(other))])


def _nested(maps, block):
    """A model as a layer, called twice."""
    channels = maps[-1].shape[-1]
    inner_input = keras.Input(maps[-1].shape[1:])
    once = replace(block, filters=channels, stride=1, valid=False)
    inner = keras.Model(inner_input, _conv(inner_input, once))
    return layers.Add()([inner(maps[-1]), inner(inner(maps[-1]))])


def _pooled(kind):
    def pool(maps, block):
        fits = block.valid and min(maps[-1].shape[1:3]) >= block.size
        return kind(block.size, strides=block.stride, padding="valid" if fits else "same")(maps[-1])

    return pool


def _series(maps, block):
    """The map's pixels in a row, under a convolution in one dimension."""
    height, width, channels = maps[-1].shape[1:]
    x = layers.Conv1D(channels, block.size, padding="same")(layers.Reshape((height * width, channels))(maps[-1]))
    return layers.Reshape((height, width, channels))(_normalized(x, block))


BLOCKS = {
    "conv": lambda maps, block: _conv(maps[-1], block),
    "grouped": _grouped,
    "depthwise": _depthwise,
    "separable": _separable,
    "padded": _padded,
    "residual": _residual,
    "added": _added,
    "subtracted": _subtracted,
    "concatenated": _concatenated,
    "channel_gate": _channel_gate,
    "position_gate": _position_gate,
    "shared": _shared,
    "nested": _nested,
    "norm_alone": lambda maps, block: _normalized(maps[-1], block),
    "dense_on_map": lambda maps, block: _normalized(layers.Dense(block.filters)(maps[-1]), block),
    "max_pool": _pooled(layers.MaxPooling2D),
    "average_pool": _pooled(layers.AveragePooling2D),
    "dropout": lambda maps, block: layers.Dropout(0.3)(maps[-1]),
    "series": _series,
}

ACTIVATIONS = {
    "relu": lambda x: layers.ReLU()(x),
    "none": lambda x: x,
    "relu6": lambda x: layers.ReLU(6.0)(x),
    "relu_1": lambda x: layers.ReLU(1.0)(x),
    "relu_threshold": lambda x: layers.ReLU(threshold=0.5)(x),
    "leaky_relu": lambda x: layers.LeakyReLU(0.2)(x),
    "prelu": lambda x: layers.PReLU("random_normal", shared_axes=[1, 2])(x),
    "softmax": lambda x: layers.Softmax()(x),
    **{
        name: (lambda x, name=name: layers.Activation(name)(x))
        for name in ("sigmoid", "hard_sigmoid", "tanh", "silu", "hard_silu", "gelu", "elu", "selu", "softplus", "mish")
    },
    "softsign": lambda x: layers.Activation("softsign")(x),
}
"""All kinds but the exponential, whose values no int8 range holds over random weights."""

HEADS = {
    "scores": lambda x: layers.Dense(5)(layers.GlobalAveragePooling2D()(x)),
    "classes": lambda x: layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(x)),
    "maxima": lambda x: layers.Dense(5)(layers.GlobalMaxPooling2D()(x)),
    "flat": lambda x: layers.Dense(4)(layers.Flatten()(x)),
    "map": lambda x: x,
    "mask": lambda x: layers.Conv2D(2, 1, activation="sigmoid")(x),
}

"""One row for each kind of layer; the tests of moments, of the rewrite and of the int8 file run over it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers


@dataclass(frozen=True)
class Row:
    """A layer in use.

    Attributes:
        name: of the row.
        apply: from two tensors of shape (8, 8, 6) to the layer's output; most use the first alone.
        moments: how its inputs are drawn in the Monte Carlo test: "independent" positions, "rows" whose pixels
            are all equal (what the pools assume), or None where only ranges are known.
        steps: largest root mean square error of the int8 file, in steps of the least scale that holds the output's
            values: the scale of the file itself would grow with its error.
        float_operators: operators that may stay float.
        takes_scales: whether its input may be scaled.
        known: whether a rule describes the layer.
    """

    name: str
    apply: Callable[[Any, Any], Any]
    moments: str | None = "independent"
    steps: float = 1.5
    float_operators: tuple[str, ...] = ()
    takes_scales: bool = True
    known: bool = True


class Unknown(layers.Layer):
    """A layer that no rule describes."""

    def call(self, x):
        return x + 0.5 * tf.reverse(x, [1])  # of TensorFlow, which takes no symbolic tensor, and of several positions


@keras.saving.register_keras_serializable("layer_table")
class Slopes(keras.initializers.Initializer):
    """Stated slopes of a PReLU, one a channel."""

    def __init__(self, slopes):
        self.slopes = slopes

    def __call__(self, shape, dtype=None):
        return keras.ops.broadcast_to(keras.ops.array(self.slopes, dtype), shape)

    def get_config(self):
        return {"slopes": self.slopes}


def prelu(slopes: list[float]) -> Any:
    """A PReLU with a slope for each channel."""
    return layers.PReLU(Slopes(slopes), shared_axes=[1, 2])


def gate(x: Any) -> Any:
    """Squeeze and excite."""
    return layers.Conv2D(6, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))


def depth_to_space(x: Any) -> Any:
    """(8, 8, 6) as (16, 8, 3)."""
    x = keras.ops.transpose(keras.ops.reshape(x, (-1, 8, 8, 2, 3)), (0, 1, 3, 2, 4))
    return keras.ops.reshape(x, (-1, 16, 8, 3))


def opaque(name: str, apply: Callable[[Any, Any], Any], **options: Any) -> Row:
    """A layer that no rule describes: it keeps its scales, its moments are sampled."""
    return Row(name, apply, None, takes_scales=False, known=False, **options)


ANCHORS = np.stack(np.meshgrid(*[np.arange(8.0, dtype=np.float32)] * 2), axis=-1).repeat(3, axis=-1)
"""Numbers from 0 to 7 that differ from position to position, (8, 8, 6)."""


class Coordinates(layers.Layer):
    """A constant as more channels."""

    def call(self, x):
        beside = keras.ops.repeat(ANCHORS[None, ..., :2], keras.ops.shape(x)[0], axis=0)
        return keras.ops.concatenate([x, beside], axis=-1)


def around(x: Any, **how: Any) -> Any:
    """Padded on every side."""
    return keras.ops.pad(x, ((0, 0), (1, 2), (1, 1), (0, 0)), **how)


def gelu_by_hand(x: Any) -> Any:
    return 0.5 * x * (1.0 + keras.ops.tanh(0.7979 * (x + 0.044715 * x * x * x)))


TABLE = [
    Row("conv", lambda x, y: layers.Conv2D(5, 3)(x)),
    Row("conv_same", lambda x, y: layers.Conv2D(5, 3, padding="same")(x)),
    Row("conv_stride", lambda x, y: layers.Conv2D(5, 3, strides=2, padding="same")(x)),
    Row("conv_dilation", lambda x, y: layers.Conv2D(5, 3, dilation_rate=2, padding="same")(x)),
    Row("conv_groups", lambda x, y: layers.Conv2D(6, 3, groups=3, padding="same")(x)),
    Row("conv_relu", lambda x, y: layers.Conv2D(5, 3, activation="relu")(x)),
    Row("conv_tanh", lambda x, y: layers.Conv2D(5, 3, activation="tanh")(x), moments=None, steps=2.0),
    Row("depthwise", lambda x, y: layers.DepthwiseConv2D(3, padding="same")(x)),
    Row("depthwise_multiplier", lambda x, y: layers.DepthwiseConv2D(3, depth_multiplier=2)(x)),
    Row("separable", lambda x, y: layers.SeparableConv2D(5, 3, padding="same")(x), moments=None),
    Row("conv1d", lambda x, y: layers.Conv1D(5, 3, padding="same")(layers.Reshape((-1, 6))(x))),
    Row("dense", lambda x, y: layers.Dense(5)(layers.Flatten()(x))),
    Row("dense_on_map", lambda x, y: layers.Dense(5)(x)),
    Row("batch_norm_alone", lambda x, y: layers.BatchNormalization()(layers.Add()([x, y])), moments=None),
    Row("batch_norm_no_gamma", lambda x, y: layers.BatchNormalization(scale=False)(x), moments=None),
    Row("batch_norm_no_beta", lambda x, y: layers.BatchNormalization(center=False)(x), moments=None),
    Row("relu", lambda x, y: layers.ReLU()(x)),
    Row("relu6", lambda x, y: layers.ReLU(6.0)(x)),
    Row("relu_maximum", lambda x, y: layers.ReLU(1.0)(x)),
    Row("relu_of_operations", lambda x, y: keras.ops.relu(x)),
    Row("relu_slope", lambda x, y: layers.ReLU(negative_slope=0.3)(x)),
    Row("leaky_relu", lambda x, y: layers.LeakyReLU(0.2)(x)),
    Row("prelu", lambda x, y: layers.PReLU("random_normal", shared_axes=[1, 2])(x)),
    Row("prelu_steep", lambda x, y: prelu([-0.5, 0.3, 1.0, 1.4, 2.0, 0.0])(x)),
    Row("prelu_all_steep", lambda x, y: prelu([1.1, 1.3, 1.0, 1.4, 2.0, 1.6])(x)),
    Row("prelu_positions", lambda x, y: layers.PReLU("random_normal")(x)),
    Row("activation_relu", lambda x, y: layers.Activation("relu")(x)),
    Row("sigmoid", lambda x, y: layers.Activation("sigmoid")(x), takes_scales=False),
    Row("tanh", lambda x, y: layers.Activation("tanh")(x), takes_scales=False),
    Row("silu", lambda x, y: layers.Activation("silu")(x), takes_scales=False),
    *(
        Row(name, lambda x, y, name=name: layers.Activation(name)(x), takes_scales=False)
        for name in ("gelu", "elu", "selu", "celu", "softplus", "mish", "hard_sigmoid", "hard_silu")
    ),
    Row("softsign", lambda x, y: layers.Activation("softsign")(x), takes_scales=False, steps=2.0),
    Row("silu_by_hand", lambda x, y: keras.ops.sigmoid(x) * x, takes_scales=False),
    Row("hard_swish_by_hand", lambda x, y: x * keras.ops.relu6(x + 3.0) / 6.0, takes_scales=False),
    Row("gelu_by_hand", lambda x, y: gelu_by_hand(x), takes_scales=False),
    Row("square_by_hand", lambda x, y: x * x, takes_scales=False),
    Row("softmax", lambda x, y: layers.Softmax()(x), moments=None, takes_scales=False),
    Row("zero_pad", lambda x, y: layers.ZeroPadding2D(((1, 2), (0, 1)))(x), moments="rows"),
    Row("pad_value", lambda x, y: around(x, constant_values=1.5), moments="rows", takes_scales=False),
    Row("pad_rim", lambda x, y: around(x, mode="reflect")),
    Row("conv_transpose", lambda x, y: layers.Conv2DTranspose(5, 3, strides=2, padding="same")(x), moments=None),
    Row("conv_transpose_dense", lambda x, y: layers.Conv2DTranspose(5, 2, strides=2)(x), moments=None),
    Row("multiply", lambda x, y: layers.Multiply()([x, y])),
    Row("gate", lambda x, y: layers.Multiply()([x, gate(y)]), moments=None),
    Row("gate_first", lambda x, y: gate(y) * x, moments=None),
    Row("glu", lambda x, y: keras.ops.glu(x), takes_scales=False),
    Row("glu_rows", lambda x, y: keras.ops.glu(x, axis=1), takes_scales=False),
    Row("attention", lambda x, y: x * layers.Conv2D(1, 1, activation="sigmoid")(y), moments=None),
    Row("maximum", lambda x, y: layers.Maximum()([x, y])),
    Row("minimum", lambda x, y: keras.ops.minimum(x, y)),
    Row("average", lambda x, y: layers.Average()([x, y])),
    Row("add", lambda x, y: layers.Add()([x, y])),
    Row("subtract", lambda x, y: layers.Subtract()([x, y])),
    Row("concatenate", lambda x, y: layers.Concatenate()([x, y])),
    Row("concatenate_positions", lambda x, y: layers.Concatenate(axis=1)([x, y])),
    Row("average_pool", lambda x, y: layers.AveragePooling2D(4)(x), moments=None),
    Row("average_pool_padded", lambda x, y: layers.AveragePooling2D(8, 1, padding="same")(x), moments=None),
    Row("max_pool", lambda x, y: layers.MaxPooling2D(4)(x), moments="rows"),
    Row("global_average", lambda x, y: layers.GlobalAveragePooling2D()(x), moments=None),
    Row("global_max", lambda x, y: layers.GlobalMaxPooling2D()(x), moments=None),  # its variance holds a doubt
    Row("mean_of_operations", lambda x, y: keras.ops.mean(x, axis=(1, 2)), moments=None),
    Row("permute", lambda x, y: layers.Permute((2, 1, 3))(x)),
    Row("permute_channels", lambda x, y: layers.Permute((3, 1, 2))(x)),
    Row("cropping", lambda x, y: layers.Cropping2D(((1, 2), (0, 1)))(x)),
    Row("slice", lambda x, y: x[:, ::2, 1:, 2:5]),
    Row("split", lambda x, y: keras.ops.split(x, 2, axis=-1)[1]),
    Row("depth_to_space", lambda x, y: depth_to_space(x)),
    Row("upsampling", lambda x, y: layers.UpSampling2D(2)(x)),
    Row("upsampling_bilinear", lambda x, y: layers.UpSampling2D(2, interpolation="bilinear")(x), moments=None),
    Row("scaled", lambda x, y: 1.0 - x * 0.5, takes_scales=False),
    Row("conv_multiplied", lambda x, y: layers.Conv2D(5, 3, use_bias=False)(x) * 5.0),
    Row("map_added", lambda x, y: keras.ops.sigmoid(x) + ANCHORS, takes_scales=False),
    Row("map_subtracted", lambda x, y: x - ANCHORS, takes_scales=False),
    Row("flatten", lambda x, y: layers.Flatten()(x)),
    Row("reshape", lambda x, y: layers.Reshape((4, 16, 6))(x)),
    Row("reshape_mixing", lambda x, y: layers.Reshape((8, 16, 3))(x)),
    Row("dropout", lambda x, y: layers.Dropout(0.4)(layers.ReLU()(x))),
    Row("noise", lambda x, y: layers.GaussianNoise(0.4)(layers.ReLU()(x))),
    Row("flip", lambda x, y: layers.RandomFlip()(layers.ReLU()(x))),
    Row("rescaling", lambda x, y: layers.Rescaling(0.5, offset=-0.2)(x), takes_scales=False),
    Row("normalization", lambda x, y: layers.Normalization(mean=[0.1] * 6, variance=[2.0] * 6)(x), takes_scales=False),
    Row("causal", lambda x, y: layers.Conv1D(5, 3, padding="causal")(layers.Reshape((-1, 6))(x)), moments=None),
    Row("negative", lambda x, y: -x, takes_scales=False),
    Row("square", lambda x, y: keras.ops.square(x), takes_scales=False),
    opaque("log_of_a_sum", lambda x, y: keras.ops.log(layers.ReLU()(x) + 1.0)),
    opaque("layer_norm", lambda x, y: layers.LayerNormalization()(x), steps=4.5),
    opaque("group_norm", lambda x, y: layers.GroupNormalization(2)(x)),
    opaque("unit_norm", lambda x, y: layers.UnitNormalization()(x), steps=2.2),
    opaque("rms_norm", lambda x, y: layers.RMSNormalization()(x), steps=2.2),
    opaque("dot", lambda x, y: layers.Dot(2)([layers.Reshape((-1, 6))(x), layers.Reshape((-1, 6))(y)])),
    opaque("attention_layer", lambda x, y: layers.Attention()([layers.Reshape((-1, 6))(x)] * 2)),
    opaque("heads", lambda x, y: layers.MultiHeadAttention(2, 4)(*[layers.Reshape((-1, 6))(x)] * 2), steps=2.5),
    opaque("divide", lambda x, y: x / (1.0 + keras.ops.relu(y))),
    opaque("divide_by_norm", lambda x, y: x / keras.ops.norm(x, axis=-1, keepdims=True), steps=2.2),
    opaque("coordinates", lambda x, y: Coordinates()(x)),
    opaque("unknown", lambda x, y: Unknown()(x)),
]

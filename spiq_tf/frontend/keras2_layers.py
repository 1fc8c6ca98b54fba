"""Layers of tf_keras (Keras 2) as layers of Keras 3."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from spiq_tf.errors import InvalidModelError
from spiq_tf.frontend.keras2_internals import takes_training
from spiq_tf.frontend.keras_internals import operation_classes

_SAME = frozenset(
    (
        "Activation",
        "ActivityRegularization",
        "Add",
        "AlphaDropout",
        "Average",
        "AveragePooling1D",
        "AveragePooling2D",
        "BatchNormalization",
        "Concatenate",
        "Conv1D",
        "Conv2D",
        "Conv2DTranspose",
        "Cropping1D",
        "Cropping2D",
        "Dense",
        "DepthwiseConv2D",
        "Dropout",
        "ELU",
        "Flatten",
        "GaussianDropout",
        "GaussianNoise",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalMaxPooling1D",
        "GlobalMaxPooling2D",
        "LayerNormalization",
        "LeakyReLU",
        "MaxPooling1D",
        "MaxPooling2D",
        "Maximum",
        "Minimum",
        "Multiply",
        "Normalization",
        "PReLU",
        "Permute",
        "RandomBrightness",
        "RandomContrast",
        "RandomFlip",
        "RandomRotation",
        "RandomTranslation",
        "RandomZoom",
        "ReLU",
        "RepeatVector",
        "Rescaling",
        "Reshape",
        "SeparableConv1D",
        "SeparableConv2D",
        "Softmax",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "Subtract",
        "UpSampling1D",
        "UpSampling2D",
        "ZeroPadding1D",
        "ZeroPadding2D",
    )
)
"""Layers with the same name, arguments and order of weights in both; others run unchanged, as one operation."""

_ACTIVATIONS = frozenset(
    (
        "elu",
        "exponential",
        "gelu",
        "leaky_relu",
        "linear",
        "mish",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
        "silu",
        "softmax",
        "softplus",
        "softsign",
        "swish",
        "tanh",
    )
)
"""Functions that compute the same in both: hard_sigmoid does not."""

_OPERATIONS = {
    **operation_classes("ops.numpy", "Add Subtract Multiply Divide Tanh"),
    **operation_classes("ops.nn", "Relu Relu6 Sigmoid"),
}
_SYMBOLS = {
    "__operators__.add": "Add",
    "math.add": "Add",
    "math.subtract": "Subtract",
    "math.multiply": "Multiply",
    "math.truediv": "Divide",
    "nn.relu": "Relu",
    "nn.relu6": "Relu6",
    "math.sigmoid": "Sigmoid",
    "math.tanh": "Tanh",
}
"""Operations of TensorFlow in a tf_keras graph that take the same tensors in the same order in keras.ops."""

_TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint")
_GROUPS = ("Conv2DTranspose", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D")
_RANDOM = ("RandomBrightness", "RandomContrast", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom")
_DROPPED = {
    **dict.fromkeys(_GROUPS, ("groups",)),
    **dict.fromkeys(_RANDOM, ("rng_type", "seed")),
    **dict.fromkeys(("SpatialDropout1D", "SpatialDropout2D"), ("noise_shape",)),
}
"""Arguments in a tf_keras configuration that change nothing at inference or that Keras 3 does not have."""


class TensorFlowCode(keras.layers.Layer):  # type: ignore[misc] # keras is untyped
    """A function on TensorFlow's tensors as a layer; it owns no weights and has no configuration."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        super().__init__(name=name)
        self._functions = (function,)  # Keras would track a layer of its own kind that stood here by itself

    def call(self, *tensors: Any) -> Any:
        """What the function returns."""
        return self._functions[0](*tensors)

    def compute_output_spec(self, *tensors: Any) -> Any:
        """As Keras infers it, on dense tensors: it takes those that a product made for sparse ones."""
        return super().compute_output_spec(*(keras.KerasTensor(x.shape, x.dtype) for x in tensors))


@dataclass
class _Code:
    """Makes one layer for each call, since Keras 3 takes nothing but tensors as a layer's positional arguments."""

    function: Callable[..., Any]
    name: str
    calls: int = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        arguments = (args, kwargs)
        places = [k for k, a in enumerate(tf.nest.flatten(arguments)) if isinstance(a, keras.KerasTensor)]
        if not places:  # what is computed of shapes alone
            return self.function(*args, **kwargs)
        tensors = [tf.nest.flatten(arguments)[k] for k in places]

        def run(*values: Any) -> Any:
            flat = tf.nest.flatten(arguments)
            for place, value in zip(places, values, strict=True):
                flat[place] = value
            filled, named = tf.nest.pack_sequence_as(arguments, flat)
            return self.function(*filled, **named)

        self.calls += 1
        return TensorFlowCode(run, _numbered(self.name, self.calls))(*tensors)


def _shape(x: Any, out_type: Any = tf.int32, name: str | None = None) -> Any:
    """tf.shape as constants; -1 for the batch, which a reshape reads as the remaining size."""
    return tf.constant([-1 if size is None else size for size in x.shape], out_type, name=name)


@dataclass
class _Named:
    """An operation of keras.ops, called with TensorFlow's names of its arguments."""

    kind: Callable[..., Any]
    name: str
    calls: int = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        operation = self.kind(name=_numbered(self.name, self.calls))
        return operation(*args, *(value for key, value in kwargs.items() if key != "name"))


def _numbered(name: str, call: int) -> str:
    return name if call == 1 else f"{name}_call{call}"


def in_keras3(layer: Any) -> Any:
    """A callable on Keras 3 tensors that computes what the tf_keras layer computes, at inference and in float32.

    Raises:
        InvalidModelError: a layer without a counterpart that computes in another precision.
    """
    kind, name = type(layer).__name__, layer.name.replace("/", "_")
    is_keras2 = type(layer).__module__.partition(".")[0] == "tf_keras"
    if is_keras2 and kind in _SAME:
        return getattr(keras.layers, kind).from_config(_config(layer, kind, name))
    if is_keras2 and kind == "TFOpLambda":
        if layer.symbol.rpartition(".")[2] == "shape":
            return _shape
        operation = _OPERATIONS.get(_SYMBOLS.get(layer.symbol, ""))
        return _Code(layer.function, name) if operation is None else _Named(operation, name)
    if layer.compute_dtype != "float32" and layer.weights:
        raise InvalidModelError(
            f"layer {layer.name!r} ({kind}) of the tf_keras model computes in {layer.compute_dtype} and has no"
            " counterpart in Keras 3 that could compute in float32; rebuild the model in float32 and load its weights"
        )
    return _Code(_at_inference(layer), name)


def _config(layer: Any, kind: str, name: str) -> dict[str, Any]:
    """The configuration as Keras 3 reads it, without what only training needs."""
    unread = (*_DROPPED.get(kind, ()), "dtype", "batch_input_shape", "name", "trainable")
    config = {
        key: value
        for key, value in layer.get_config().items()
        if key not in unread and not key.endswith(_TRAINING_ONLY)
    }
    if callable(getattr(layer, "activation", None)):
        config["activation"] = _activation(layer.activation)
    if kind == "BatchNormalization":
        (config["axis"],) = tf.nest.flatten(config["axis"])
    return {**config, "name": name, "dtype": "float32"}


def _activation(function: Any) -> Any:
    """The function of Keras 3 that computes the same, or the given one, which takes the same tensors."""
    name = getattr(function, "__name__", "")
    is_keras2 = str(getattr(function, "__module__", "")).partition(".")[0] == "tf_keras"
    return getattr(keras.activations, name) if is_keras2 and name in _ACTIVATIONS else function


def _at_inference(layer: Any) -> Callable[..., Any]:
    """The tf_keras layer as a function."""

    def run(*args: Any, **kwargs: Any) -> Any:
        if takes_training(layer):
            kwargs = {**kwargs, "training": False}
        return layer(*args, **kwargs)

    return run

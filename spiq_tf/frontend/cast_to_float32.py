"""Models that compute in float16, bfloat16 or float64 (policies of mixed-precision training), as copies in float32."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from spiq_tf.errors import InvalidModelError
from spiq_tf.frontend.cloning import clone_of, set_weights, variable_operands
from spiq_tf.frontend.keras_internals import all_layers, graph_of

_OTHER_FLOATS = ("float16", "bfloat16", "float64")
"""Floating-point types that the copy holds in float32."""


def is_reduced(model: Any) -> bool:
    """Whether a part of the model computes in floats that are not float32."""
    return any(x.compute_dtype in _OTHER_FLOATS for x in all_layers(model)) or any(
        x.dtype in _OTHER_FLOATS for x in model.inputs
    )


def check_not_quantized(model: Any) -> None:
    """Refuses a model whose weights are not floats.

    Raises:
        InvalidModelError: Keras quantized the weights of a layer.
    """
    for layer in all_layers(model):
        if layer.quantization_mode is not None:
            raise InvalidModelError(
                f"layer {layer.path!r} holds weights that Keras quantized ({layer.quantization_mode}): expected the"
                " float model; convert it as it was before model.quantize"
            )


def cast_model_to_float32(model: Any) -> Any:
    """The same Functional or Sequential model with all its layers in float32, and copies of the weights.

    Raises:
        InvalidModelError: a layer cannot be made from its configuration, or fixes another precision in its code.
    """
    try:
        with _float32_policy():
            converted = clone_of(model, _layer_in_float32, _float32_inputs(model))
    except Exception as error:  # whatever a custom layer's own code raises
        raise InvalidModelError(
            f"model {model.name!r} computes in {_precision(model)} and cannot be rebuilt in float32: {error}; give"
            " its custom layers a get_config, or rebuild the model under keras.config.set_dtype_policy('float32') and"
            " load its weights"
        ) from error
    for variable in variable_operands(converted):
        if variable.dtype in _OTHER_FLOATS:
            raise InvalidModelError(
                f"the call of model {model.name!r} reads the weight {variable.path!r} itself, which is stored in"
                f" {variable.dtype}: expected float32; move that into a layer of its own"
            )
    _override_nested_dtype_policies(converted)
    set_weights(converted, [_as_float32(np.asarray(v.numpy())) for v in model.weights])
    return converted


def _precision(model: Any) -> str:
    types = {x.compute_dtype for x in all_layers(model)} | {x.dtype for x in model.inputs}
    return " and ".join(sorted(types & set(_OTHER_FLOATS)))


@contextlib.contextmanager
def _float32_policy() -> Iterator[None]:
    """Layers that a custom layer creates in its own code take Keras's global policy.

    Keras keeps it for each thread, but does not document that: no two conversions run at once (see process_lock.py).
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _float32_inputs(model: Any) -> Any:
    def symbol(x: Any) -> Any:
        dtype = "float32" if x.dtype in _OTHER_FLOATS else x.dtype
        return keras.Input(batch_shape=x.shape, dtype=dtype, name=x.name)

    return keras.tree.map_structure(symbol, graph_of(model).input)


def _layer_in_float32(layer: Any) -> Any:
    return type(layer).from_config(_config_in_float32(layer.get_config()))


def _config_in_float32(config: Any) -> Any:
    """The configuration, at any depth, with float32 in place of every other floating-point type and policy."""
    if isinstance(config, dict):
        return {key: "float32" if _is_other(key, value) else _config_in_float32(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(map(_config_in_float32, config))
    return config


def _is_other(key: str, value: Any) -> bool:
    if not key.endswith("dtype"):
        return False
    name = value.get("config", {}).get("name") if isinstance(value, dict) else value
    return isinstance(name, str) and name.removeprefix("mixed_") in _OTHER_FLOATS


def _override_nested_dtype_policies(converted: Any) -> None:
    """Sets the policy of layers whose precision is fixed in the code of the layer that owns them."""
    for layer in all_layers(converted):
        if layer.compute_dtype in _OTHER_FLOATS:
            if layer.variable_dtype != "float32":
                raise InvalidModelError(
                    f"layer {layer.path!r} keeps its weights in {layer.variable_dtype}, whatever the policy: expected"
                    " float32; leave the dtype of layers inside a custom layer to the policy"
                )
            layer.dtype_policy = "float32"


def _as_float32(values: Any) -> Any:
    return values.astype(np.float32) if str(values.dtype) in _OTHER_FLOATS else values

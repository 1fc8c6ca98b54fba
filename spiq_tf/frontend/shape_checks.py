"""What must hold of the shapes and types of a model's tensors."""

from collections.abc import Sequence
from typing import Any

from spiq_tf.errors import InvalidModelError


def check_input(symbol: Any, shape: Sequence[int | None]) -> None:
    """Refuses a model input that an int8 file cannot have.

    Args:
        symbol: the model's symbolic input.
        shape: its shape with the static batch.

    Raises:
        InvalidModelError: of dynamic size, of another type than float32, or without axes beside the batch.
    """
    if None in shape:
        raise InvalidModelError(
            f"input {symbol.name!r} has the dynamic shape {tuple(symbol.shape)}: expected static sizes but for the"
            " batch; clone the model with a fixed size, e.g. fixed = keras.Input((224, 224, 3)); model ="
            " keras.Model(fixed, model(fixed))"
        )
    if symbol.dtype != "float32":
        raise InvalidModelError(
            f"input {symbol.name!r} holds {symbol.dtype}: expected float32; give the model a float32 input, e.g. image"
            ' = keras.Input(shape); model = keras.Model(image, model(image)), and pass inference_input_type="uint8"'
            " for a file that takes bytes; token or user IDs cannot be quantized to 8 bits: let the model begin after"
            " its Embedding"
        )
    if len(shape) < 2:
        raise InvalidModelError(
            f"input {symbol.name!r} has the shape {shape}: expected at least one axis of values beside the"
            " batch; give the model another: time = keras.Input((1,)); model = keras.Model(time, model(time[:, 0]))"
        )


def check_operands(layer: str, shapes: Sequence[Sequence[int]]) -> None:
    """Refuses a layer call that reads an empty tensor.

    Args:
        layer: its name, with its path through nested models.
        shapes: of its inputs.

    Raises:
        InvalidModelError: one of them has an axis of size 0.
    """
    if any(0 in shape for shape in shapes):
        raise InvalidModelError(f"layer {layer!r} reads an empty tensor: expected values; leave the layer out")


def check_outputs(layer: str, shapes: Sequence[Sequence[int | None]]) -> None:
    """Refuses a layer call whose outputs an int8 file cannot have.

    Args:
        layer: its name, with its path through nested models.
        shapes: of its outputs.

    Raises:
        InvalidModelError: one is of dynamic size, or a scalar.
    """
    for shape in shapes:
        if None in shape:
            raise InvalidModelError(
                f"layer {layer!r} returns the dynamic shape {tuple(shape)}: expected static sizes; give the model's"
                " input a fixed size"
            )
        if not shape:
            raise InvalidModelError(
                f"layer {layer!r} returns a scalar (rank 0): expected at least one axis; leave the batch axis out of a"
                " sum over examples, e.g. ops.sum(x, axis=(1, 2, 3)), and give a scalar of the layer's own the shape"
                " (1,)"
            )

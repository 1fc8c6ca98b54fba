"""Operators that stay float in the int8 file."""

from collections.abc import Mapping, Sequence

import numpy as np

from spiq_tf.errors import FloatOperatorWarning, warn_user
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.provenance import TensorProvenance


def float_operators(flat: FlatModel, tensors: Mapping[int, TensorProvenance]) -> dict[int, str]:
    """Operators that read or make float activations, by the index of their output: their kind and the tensor's name.

    Args:
        flat: the file as it was quantized, before its ends were changed.
        tensors: which of the graph's tensors each of the file's holds, by index.
    """
    result = {}
    for operator in flat.operators:
        output = int(operator.outputs[0])
        read = (*flat.activation_inputs(operator), output)
        if flat.kind(operator) not in ("QUANTIZE", "DEQUANTIZE") and any(flat.dtype(i) == np.float32 for i in read):
            origin = tensors.get(output)
            result[output] = f"{flat.kind(operator)} ({flat.name(output) if origin is None else origin.name})"
    return result


def warn_of_floats(unasked: Sequence[str]) -> None:
    """Warns of operators that nobody asked to keep float."""
    if unasked:
        text = f"the file is not all integer: {', '.join(unasked)} has no int8 form here and stays float"
        warn_user(text, FloatOperatorWarning)

"""What the converter leaves of constants that LiteRT does not take in an int8 file.

Operators on constants become their values: the kernel of an identity that `keras.ops.image.extract_patches` convolves
with is computed by the file itself, and refused as a kernel once it is quantized like any other tensor.
"""

from typing import Any

from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter

_RANDOM = ("MULTINOMIAL", "RANDOM_")
"""Prefixes of the names of operators whose output differs from run to run."""


def fold_constants(flat: FlatModel) -> bool:
    """Computes, in place, every tensor that depends on no input of the file.

    Given:
        w = RESHAPE(constant)
        y = CONV_2D(x, w)

    Result:
        y = CONV_2D(x, w), w a constant

    Returns:
        Whether there was such a tensor.
    """
    folded: list[Any] = []
    computed: set[int] = set()
    for operator in flat.operators:
        inputs = [int(i) for i in operator.inputs if i >= 0]
        random = flat.kind(operator).startswith(_RANDOM)
        if inputs and not random and all(i in computed or flat.is_constant(i) for i in inputs):
            folded.append(operator)
            computed |= {int(i) for i in operator.outputs}
    remaining = [o for o in flat.operators if all(o is not other for other in folded)]
    read = {int(i) for o in remaining for i in o.inputs} | {int(i) for i in flat.subgraph.outputs}
    wanted = sorted(computed & read)
    if not wanted:
        return False
    interpreter = Interpreter(flat.part(folded, [], wanted).content(), delegate=False)
    interpreter.run([])
    for index, detail in zip(wanted, interpreter.outputs, strict=True):
        flat.set_value(index, interpreter.value(detail["index"]))
    flat.subgraph.operators = remaining
    return True


def flatten_biases(flat: FlatModel) -> None:
    """Gives, in place, every constant bias one axis: that of a transposed convolution may have four, and one scale a
    channel then lies along none of them.

    Given:
        y = TRANSPOSE_CONV(shape, w, x, bias), bias of shape (1, 1, 1, channels)

    Result:
        y = TRANSPOSE_CONV(shape, w, x, bias), bias of shape (channels,)
    """
    for operator in flat.operators:
        bias, operand = flat.bias(operator), flat.row(operator).bias_operand
        if bias is not None and flat.is_constant(bias) and len(flat.shape(bias)) > 1:
            operator.inputs[operand] = flat.add_constant(f"{flat.name(bias)}/vector", flat.value(bias).reshape(-1))

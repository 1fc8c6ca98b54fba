"""NEG and SQUARE, which the quantizer leaves float -> MUL."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.flatbuffer import FlatModel


def neg_square_to_mul(flat: FlatModel) -> None:
    """Replaces, in place, every negation and square of floats.

    Given:
        y = NEG(x)
        y = SQUARE(x)

    Result:
        y = MUL(x, -1)
        y = MUL(x, x)
    """
    result = []
    for operator in flat.operators:
        kind = flat.kind(operator)
        if kind not in ("NEG", "SQUARE") or flat.dtype(int(operator.inputs[0])) != np.float32:
            result.append(operator)
            continue
        value = other = int(operator.inputs[0])
        output = int(operator.outputs[0])
        if kind == "NEG":
            shape = [1] * len(flat.shape(value))
            other = flat.add_constant(f"{flat.name(output)}/sign", np.full(shape, -1.0, np.float32))
        result.append(flat.operator(schema.BuiltinOperator.MUL, [value, other], output, schema.MulOptionsT()))
    flat.subgraph.operators = result

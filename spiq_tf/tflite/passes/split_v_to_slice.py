"""SPLIT_V, which the quantizer leaves float -> a SLICE for each part."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.flatbuffer import FlatModel


def split_v_to_slice(flat: FlatModel) -> None:
    """Replaces, in place, every split into parts of different sizes; parts without a consumer are left out.

    Given:
        a, b = SPLIT_V(x, sizes, axis)

    Result:
        a = SLICE(x, begin, size)
        b = SLICE(x, begin, size)
    """
    result, consumers = [], flat.consumer_counts()
    for operator in flat.operators:
        if flat.kind(operator) != "SPLIT_V":
            result.append(operator)
            continue
        value, axis = int(operator.inputs[0]), int(flat.channels(operator, 2)[0])
        begin = np.zeros(len(flat.shape(value)), np.int32)
        for output in map(int, operator.outputs):
            size = np.array(flat.shape(output), np.int32)
            bounds = {"begin": begin.copy(), "size": size}
            if consumers[output]:
                inputs = [value, *(flat.add_constant(f"{flat.name(output)}/{end}", v) for end, v in bounds.items())]
                result.append(flat.operator(schema.BuiltinOperator.SLICE, inputs, output, schema.SliceOptionsT()))
            begin[axis] += size[axis]
    flat.subgraph.operators = result

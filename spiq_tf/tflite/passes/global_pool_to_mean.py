"""AVERAGE_POOL_2D over a whole map -> MEAN.

The pool keeps its input's scale, which is far too wide for an average over many positions, and the CPU delegate
leaves it to slower kernels; MEAN has a scale of its own and is delegated.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.flatbuffer import FlatModel


def global_pool_to_mean(flat: FlatModel) -> None:
    """Replaces, in place, every average pool whose window is its input."""
    for operator in flat.operators:
        if flat.kind(operator) != "AVERAGE_POOL_2D" or not _covers_its_input(flat, operator):
            continue
        axes = flat.add_constant(f"{flat.name(int(operator.outputs[0]))}/axes", np.array([1, 2], np.int32))
        operator.inputs = np.array([operator.inputs[0], axes], np.int32)
        operator.opcodeIndex = flat.operator_code(schema.BuiltinOperator.MEAN, version=1)
        operator.builtinOptionsType = schema.BuiltinOptions.ReducerOptions
        operator.builtinOptions = schema.ReducerOptionsT(keepDims=True)


def _covers_its_input(flat: FlatModel, operator: Any) -> bool:
    options = operator.builtinOptions
    window = (options.filterHeight, options.filterWidth)
    alone = options.fusedActivationFunction == schema.ActivationFunctionType.NONE
    before, after = (flat.shape(int(i))[1:3] for i in (operator.inputs[0], operator.outputs[0]))
    return alone and before == window and after == (1, 1)  # more outputs than one where the map is padded

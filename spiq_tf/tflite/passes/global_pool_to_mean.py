"""AVERAGE_POOL_2D over a whole feature map -> MEAN.

The pool keeps its input's scale, which is far too coarse for an average over many spatial locations, and XNNPACK leaves
it to slower kernels; MEAN has a scale of its own and is delegated.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.flatbuffer import FlatModel


def global_pool_to_mean(flat: FlatModel) -> None:
    """Replaces, in place, every average pool whose window is its whole input.

    Given:
        y = AVERAGE_POOL_2D(x), window (height, width) of x, y of shape (batch, 1, 1, channels)

    Result:
        y = MEAN(x, axes=(1, 2), keep_dims=True)
    """
    for operator in flat.operators:
        if flat.kind(operator) != "AVERAGE_POOL_2D" or not _is_global(flat, operator):
            continue
        axes = flat.add_constant(f"{flat.name(int(operator.outputs[0]))}/axes", np.array([1, 2], np.int32))
        operator.inputs = np.array([operator.inputs[0], axes], np.int32)
        operator.opcodeIndex = flat.operator_code(schema.BuiltinOperator.MEAN, version=1)
        operator.builtinOptionsType = schema.BuiltinOptions.ReducerOptions
        operator.builtinOptions = schema.ReducerOptionsT(keepDims=True)


def _is_global(flat: FlatModel, operator: Any) -> bool:
    options = operator.builtinOptions
    window = (options.filterHeight, options.filterWidth)
    no_activation = options.fusedActivationFunction == schema.ActivationFunctionType.NONE
    before, after = (flat.shape(int(i))[1:3] for i in (operator.inputs[0], operator.outputs[0]))
    return no_activation and before == window and after == (1, 1)  # of a padded feature map there are more outputs

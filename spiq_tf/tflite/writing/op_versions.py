"""The lowest version of each operator that does what the file asks of it: older runtimes and compilers take the file.

The numbers, in the operator table, are those of TensorFlow Lite's op_version.cc.
"""

from typing import Any

import numpy as np

from spiq_tf.quantization.bit_width import INT8
from spiq_tf.tflite.flatbuffer import FlatModel


def set_lowest_versions(flat: FlatModel) -> None:
    """Gives, in place, every operator on integers its lowest version, and drops the versions that none has."""
    for operator in flat.operators:
        code = flat.model.operatorCodes[operator.opcodeIndex]
        operator.opcodeIndex = flat.operator_code(code.builtinCode, lowest_version(flat, operator))
    used = sorted({operator.opcodeIndex for operator in flat.operators})
    for operator in flat.operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)
    flat.model.operatorCodes = [flat.model.operatorCodes[index] for index in used]


def lowest_version(flat: FlatModel, operator: Any) -> int:
    """The lowest version of an operator that does what it is asked; of one on floats the version that it has."""
    row, dtype = flat.row(operator), flat.dtype(flat.data(operator))
    if dtype == np.float32 and flat.kind(operator) != "QUANTIZE":
        return int(flat.model.operatorCodes[operator.opcodeIndex].version)
    plain = row.versions.get(INT8, 1) if dtype == INT8.dtype else 1
    return max(plain, row.special_version(flat.use(operator)))

"""Operators on constants -> their values.

The converter leaves some for the runtime: the kernel of an identity that `keras.ops.image.extract_patches` convolves
with. Quantized as a computed tensor it would be refused as a kernel.
"""

from typing import Any

from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter

_NOT = ("CALL_ONCE", "HASHTABLE", "MULTINOMIAL", "RANDOM_", "VAR_HANDLE", "READ_VARIABLE")
"""Beginnings of the names of operators that make something else each time."""


def fold_constants(flat: FlatModel) -> bool:
    """Computes, in place, what no input has a part in; returns whether there was such."""
    folded: list[Any] = []
    made: set[int] = set()
    for operator in flat.operators:
        fixed = all(i < 0 or int(i) in made or flat.is_constant(int(i)) for i in operator.inputs)
        if fixed and not flat.kind(operator).startswith(_NOT):
            folded.append(operator)
            made |= {int(i) for i in operator.outputs}
    remaining = [o for o in flat.operators if all(o is not other for other in folded)]
    read = {int(i) for o in remaining for i in o.inputs} | {int(i) for i in flat.subgraph.outputs}
    wanted = sorted(made & read)
    if not wanted:
        return False
    interpreter = Interpreter(flat.part(folded, [], wanted).content(), delegate=False)
    interpreter.run([])
    for index, detail in zip(wanted, interpreter.outputs, strict=True):
        flat.set_value(index, interpreter.value(detail["index"]))
    flat.subgraph.operators = remaining
    return True

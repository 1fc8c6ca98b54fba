"""int8 files of a few operators, quantized as conversions are; and what a pass over them changes."""

import numpy as np

from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.provenance import TensorProvenance
from spiq_tf.tflite.state import IntegerState
from spiq_tf.tflite.writing.complete_int8 import complete_int8
from spiq_tf.tflite.writing.litert_quantizer import quantize
from tests.file_state import check_invariants


def integer_state(flat, ranges, provenance=()):
    """The quantized form of a float file.

    Args:
        flat: the float file.
        ranges: (low, high) of each activation, by index.
        provenance: names of the graph's tensors, by index.
    """
    whole = {index: TensorRange(*ends) for index, ends in ranges.items()}
    flat.model.signatureDefs = []
    quantized = quantize(flat, whole, (), False)
    complete_int8(quantized, whole, ())
    known = {index: TensorProvenance(name) for index, name in dict(provenance).items()}
    return IntegerState(flat=quantized, provenance=known)


def integer_outputs(content, inputs):
    """The file's outputs in integers, as XNNPACK and as LiteRT's own kernels compute them."""
    runs = [Interpreter(content, delegate=delegate) for delegate in (True, False)]
    results = []
    for interpreter in runs:
        reals = interpreter.run(inputs)
        details = interpreter.outputs
        results.append([np.rint(v / d["quantization"][0]).astype(int) for v, d in zip(reals, details, strict=True)])
    return results


def all_integers(state, shape):
    """A value of the file's first input for each of its integers, in an array of the given shape, which holds 256."""
    parameters = state.flat.quantization(int(state.flat.subgraph.inputs[0]))
    return parameters.dequantize(parameters.bit_width.integers).reshape(shape)


def check_rewritten(state, rewrite, inputs, most=0):
    """Applies a pass, and compares the integers that come out before and after it.

    Args:
        state: the quantized file.
        rewrite: the pass.
        inputs: values of the file's inputs.
        most: by how many integers outputs may differ.
    """
    before = integer_outputs(state.flat.content(), inputs)
    rewrite(state)
    check_invariants(state.flat)
    after = integer_outputs(state.flat.content(), inputs)
    for old, new in zip(before, after, strict=True):
        for x, y in zip(old, new, strict=True):
            assert np.abs(x - y).max() <= most


def check_left_alone(state, rewrite):
    """Applies a pass, after which no byte may be another."""
    before = state.flat.content()
    rewrite(state)
    assert state.flat.content() == before

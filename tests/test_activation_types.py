"""Quantized activations of a type in which the target does not compute are reported by themselves."""

import numpy as np
import pytest

from spiq_tf.conformance.quantization_rules import activation_types
from spiq_tf.quantization.bit_width import INT8, INT16, INT32, UINT8
from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.targets import TARGETS
from tests.flat import FileBuilder

SHAPE = (1, 4)


def chain(*kinds):
    """A file of operators of one tensor each."""
    b, x = FileBuilder(SHAPE), 0
    for kind in kinds:
        x = b.op(kind, [x], SHAPE)
    return b.file(x)


def quantized(flat, *bit_widths):
    for index, bit_width in zip(flat.activations(), bit_widths, strict=True):
        flat.set_quantization(index, QuantizationParameters(0.5, 0, bit_width))
    return flat


def found(flat, target="portable"):
    return [(v.tensor, v.found) for v in activation_types(flat, TARGETS[target])]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("bit_width", "name"), [(INT16, "int16"), (UINT8, "uint8"), (INT32, "int32")])
def test_another_type_is_reported(bit_width, name, target):
    flat = quantized(chain("RELU", "RELU"), INT8, bit_width, INT8)
    assert found(flat, target) == [(flat.name(1), f"expected int8, found {name}")]


def test_an_input_that_an_operator_computes_with_is_reported():
    flat = quantized(chain("RELU"), UINT8, INT8)
    assert found(flat) == [(flat.name(0), "expected int8, found uint8")]


def test_inputs_and_outputs_that_are_converted_are_not():
    assert found(quantized(chain("QUANTIZE", "RELU", "QUANTIZE"), UINT8, INT8, INT8, UINT8)) == []


def test_numbers_without_a_scale_are_not():
    """Indices into a lookup table."""
    flat = quantized(chain("CAST", "CAST"), INT8, INT32, INT8)
    flat.tensor(1).quantization = None
    assert np.issubdtype(flat.dtype(1), np.int32)
    assert found(flat) == []

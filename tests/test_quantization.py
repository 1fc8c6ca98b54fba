"""Bit widths, and scales and zero points from ranges: against numpy's own limits and litert-quantizer's numbers."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from litert_quantizer import qtyping
from litert_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor

from spiq_tf.quantization.bit_width import INT4_WEIGHT, INT8, INT8_WEIGHT, INT16, INT32, UINT8, BitWidth
from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.quantization.tensor_range import TensorRange

REAL = st.floats(-1e6, 1e6, allow_nan=False)


@pytest.mark.parametrize(
    ("bit_width", "limits", "dtype"),
    [
        (INT8, (-128, 127), np.int8),
        (UINT8, (0, 255), np.uint8),
        (INT16, (-32768, 32767), np.int16),
        (INT32, (-(2**31), 2**31 - 1), np.int32),
        (INT8_WEIGHT, (-127, 127), np.int8),
        (INT4_WEIGHT, (-7, 7), np.int8),
        (BitWidth(4), (-8, 7), np.int8),
    ],
)
def test_limits(bit_width, limits, dtype):
    assert (bit_width.qmin, bit_width.qmax) == limits
    assert bit_width.levels == limits[1] - limits[0]
    assert bit_width.dtype == dtype


def test_the_integers_of_a_lookup_table():
    np.testing.assert_array_equal(INT8.integers, np.arange(-128, 128))
    assert INT8.integers.dtype == np.int8


def expected(low, high, bit_width):
    """Scale and zero point by litert-quantizer, which is handed float32."""
    zero_point, scale = uniform_quantize_tensor.tensor_zp_scale_from_min_max(
        np.array(low, np.float32),
        np.array(high, np.float32),
        bit_width.bits,
        bit_width.symmetric,
        qtyping.QuantGranularity.TENSORWISE,
        signed=bit_width.signed,
    )
    return np.float32(scale), int(zero_point)


@given(REAL, REAL, st.sampled_from([INT8, INT16, INT8_WEIGHT, INT4_WEIGHT]))
@example(0.0, 6.0, INT8)
@example(-1.0, 1.0, INT8)
@example(0.0, 0.0, INT8)
@example(-1e-12, 1e-11, INT8)
@example(-3.0, 0.0, INT16)
def test_scale_and_zero_point_are_those_of_litert_quantizer(one, other, bit_width):
    """To the last bit: the file holds numbers of both, and runtimes compare them exactly."""
    low, high = min(one, other), max(one, other)
    found = TensorRange(low, high, bit_width).quantization
    assert (np.float32(found.scale), found.zero_point) == expected(low, high, bit_width)
    assert found.scale == np.float32(found.scale)


@given(REAL, REAL)
def test_unsigned_parameters_are_those_of_int8_shifted(one, other):
    low, high = min(one, other), max(one, other)
    signed, unsigned = (TensorRange(low, high, bit_width).quantization for bit_width in (INT8, UINT8))
    assert (unsigned.scale, unsigned.zero_point) == (signed.scale, signed.zero_point + 128)


@given(st.floats(-100, 0), st.floats(0.01, 100), st.sampled_from([INT8, UINT8, INT16, INT8_WEIGHT]))
def test_values_come_back_within_half_a_step(low, high, bit_width):
    parameters = TensorRange(low, high, bit_width).quantization
    values = np.linspace(parameters.low, parameters.high, 999)
    integers = parameters.quantize(values)
    assert integers.dtype == bit_width.dtype
    assert integers.min() == bit_width.qmin
    assert integers.max() == bit_width.qmax
    error = np.abs(parameters.dequantize(integers, np.float64) - values)
    assert error.max() <= parameters.scale * (0.5 + 1e-6)


def test_what_lies_beyond_the_range_is_clipped():
    parameters = QuantizationParameters(0.5, -10, INT8)
    np.testing.assert_array_equal(parameters.quantize(np.array([-1e3, 0.0, 1e3])), [-128, -10, 127])
    np.testing.assert_array_equal(parameters.dequantize(np.array([-128, -10, 127])), [-59.0, 0.0, 68.5])
    assert (parameters.low, parameters.high) == (-59.0, 68.5)


def test_stretching_keeps_the_zero_point():
    whole = TensorRange(-1.3, 5.0)
    assert whole.widened_to(0.1).scale == pytest.approx(0.1, rel=1e-12)
    assert whole.widened_to(1e-3) == whole
    assert whole.stretched(7.0).quantization.zero_point == whole.quantization.zero_point


@pytest.mark.parametrize(("low", "high", "largest"), [(-1.0, 1.0, 0.3), (0.0, 1.0, 1e-6), (0.0, 255.0, 1e-6)])
def test_pixels_lie_on_the_grid(low, high, largest):
    """Root mean square error of 256 pixels, in steps; [-1, 1] itself would have 0.5."""
    aligned = TensorRange(low, high).aligned_to_pixels()
    steps = np.linspace(low, high, 256) / aligned.scale
    assert np.sqrt(np.mean((steps - np.rint(steps)) ** 2)) < largest
    assert (high - low) / 255 <= aligned.scale < 1.01 * (high - low) / 255

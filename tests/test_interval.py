"""Scales and zero points that Interval computes, against those that litert-quantizer writes for the same ranges."""

import numpy as np
import pytest
from litert_quantizer import quantizer, recipe

from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.silence import silence
from tests.flat import FileBuilder

pytestmark = pytest.mark.fast

MARKED = [
    *((0.0, 1.0), (0.0, 255.0), (-1.0, 1.01), (-3.0, 0.0), (-1e-6, 0.0), (0.0, 1e6), (-0.1, 1000.0), (-1000.0, 0.1)),
    *((-128.0, 127.0), (-127.0, 128.0), (-6.3, 6.25)),
]


def written(intervals):
    """Scale and zero point of each tensor of a chain of sums whose inputs and sums have the given ranges."""
    b = FileBuilder(*[(1, 4)] * (len(intervals) // 2 + 1))
    total = 0
    for k in range(1, len(intervals) // 2 + 1):
        total = b.op("ADD", [total, k], (1, 4))
    flat = b.file(total)
    ends = dict(zip(flat.activations(), intervals, strict=True))
    statistics = {
        flat.name(i): {"min": np.array(low, np.float32), "max": np.array(high, np.float32)}
        for i, (low, high) in ends.items()
    }
    writer = quantizer.Quantizer(flat.content(), recipe.static_wi8_ai8())
    with silence():
        made = writer.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    found = FlatModel(made.quantized_model)
    places = {found.name(i): i for i in range(len(found.subgraph.tensors)) if found.dtype(i) == np.int8}
    return [(interval, found.quantization(places[flat.name(i)])) for i, interval in ends.items()]


def test_quantization_is_what_litert_quantizer_writes(random):
    widths = 10.0 ** random.uniform(-4, 4, 390)
    shares = np.where(random.random(390) < 0.2, random.integers(0, 2, 390), random.random(390))
    drawn = [(-width * share, width * (1 - share)) for width, share in zip(widths, shares, strict=True)]
    for (low, high), (scale, zero_point) in written([*MARKED, *drawn]):
        own = TensorRange(low, high)
        assert own.scale == pytest.approx(scale, rel=3e-7), (low, high)
        assert own.quantization[1] == zero_point, (low, high)
        # whatever rounds, both ends are within half a step, and 0 is an integer
        assert (-128 - zero_point) * scale == pytest.approx(low, abs=0.501 * scale)
        assert (127 - zero_point) * scale == pytest.approx(high, abs=0.501 * scale)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.0, 1.0), (-2.0, 0.0), (-0.001, 5.0)])
def test_a_wider_interval_keeps_its_zero_point(low, high):
    own = TensorRange(low, high)
    for scale in (own.scale / 2, own.scale, 1.7 * own.scale):
        wide = own.widened_to(scale)
        assert wide.scale == pytest.approx(max(scale, own.scale))
        assert wide.quantization[1] == own.quantization[1]
        assert wide.low <= low
        assert wide.high >= high


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (-127.5, 127.5), (0.0, 255.0), (-2.1, 2.6)])
def test_pixels_do_not_fall_between_steps(low, high):
    """Root mean square error of 256 values spread over the range, in steps: 0.29 of errors spread evenly, 0.5 of
    values half-way."""
    own = TensorRange(low, high).off_half_steps()
    pixels = np.linspace(low, high, 256)
    error = np.sqrt(np.mean((np.rint(pixels / own.scale) * own.scale - pixels) ** 2)) / own.scale
    assert error < 0.3
    assert own.low <= low
    assert own.high >= high
    assert own.high - own.low <= (high - low) * (1 + 2 / 255) * (1 + 1e-9)

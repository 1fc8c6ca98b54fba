"""Scales that the runtimes refuse are widened, others stay; the oracle is XNNPACK, which refuses to start."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from scipy.cluster.hierarchy import DisjointSet

import spiq_tf
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.targets import TARGETS
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.scale_assignment.requantization_limits import widened_to_requantization_limits
from spiq_tf.tflite.writing.litert_quantizer import quantize
from tests.flat import FileBuilder

pytestmark = pytest.mark.fast

MAP = (1, 4, 4, 3)
UNIT = TensorRange(-1.0, 1.0)
LIMITS = TARGETS["portable"].requantization


def convolution(weight=1.0, bias=0.0):
    b = FileBuilder(MAP)
    kernel = weight * np.random.default_rng(0).uniform(-1, 1, (3, 1, 1, 3))
    options = schema.Conv2DOptionsT(padding=1, strideW=1, strideH=1)
    return b.file(b.op("CONV_2D", [0, b.constant(kernel), b.constant(np.full(3, bias))], MAP, table=options))


def merged(kind):
    b = FileBuilder(MAP, MAP)
    return b.file(b.op(kind, [0, 1], MAP))


def swish():
    b = FileBuilder(MAP)
    return b.file(b.op("HARD_SWISH", [0], MAP))


def intervals_of(flat, widths):
    return {i: TensorRange(-w / 2, w / 2) for i, w in zip(flat.activations(), widths, strict=True)}


def apart(flat, intervals, fixed=()):
    return widened_to_requantization_limits(flat, intervals, DisjointSet(intervals), fixed, LIMITS)


@pytest.mark.parametrize("weight", [1e3, 1e6])
def test_a_convolution_that_xnnpack_refuses_runs(weight):
    """By hardly more than is needed: 256, less the room for rounding."""
    flat = convolution(weight)
    intervals = intervals_of(flat, [2.0, 1e-3])
    with pytest.raises(spiq_tf.LoweringError):
        Interpreter(quantize(flat, intervals, (), False).content())
    wide = apart(flat, intervals)
    Interpreter(quantize(flat, wide, (), False).content()).run([np.zeros(MAP)])
    first, last = flat.activations()
    assert wide[first] == intervals[first]
    largest = max(np.abs(flat.channels(flat.operators[0], 1)))
    assert 240 < wide[first].scale * largest / 127 / wide[last].scale < 256


@pytest.mark.parametrize(
    ("flat", "widths"),
    [
        (lambda: convolution(bias=1e11), [2.0, 2.0]),
        (lambda: merged("ADD"), [1.0, 1e4, 1e4]),
        (lambda: merged("ADD"), [1e4, 1.0, 1.0]),
        (lambda: merged("MUL"), [1e3, 1e3, 1e-3]),
        (swish, [1e4, 1.0]),
    ],
    ids=["bias", "addend", "sum", "product", "hard swish"],
)
def test_scales_within_the_limits_of_each_operator(flat, widths):
    """Limits of the kernels: of XNNPACK's addition 2^-10 to 2^8, of its product 2^8, of LiteRT's hard swish 2^7."""
    flat = flat()
    intervals = intervals_of(flat, widths)
    found = apart(flat, intervals)
    (operator,) = flat.operators
    scales = [found[i].scale for i in flat.activations()]
    ratio = scales[0] / scales[-1]
    if flat.kind(operator) == "MUL":
        assert scales[0] * scales[1] / scales[2] < 256
    elif flat.kind(operator) == "HARD_SWISH":
        assert ratio <= 128
    elif flat.kind(operator) == "ADD":
        assert all(2**-10 <= scale / scales[2] < 256 for scale in scales[:2])
    else:  # a bias of 32 bits, in steps of input x weight, of which the smallest makes 1 / 256 of the output's
        assert 1e11 / (256 * scales[1]) < 2**31
    assert found != intervals
    Interpreter(quantize(flat, found, (), False).content()).run([np.zeros(MAP)] * len(flat.subgraph.inputs))


@pytest.mark.parametrize("flat", [convolution, lambda: merged("ADD"), lambda: merged("MUL"), swish])
def test_ordinary_scales_stay(flat):
    flat = flat()
    intervals = dict.fromkeys(flat.activations(), UNIT)
    assert apart(flat, intervals) == intervals


def test_tensors_that_share_a_scale_are_widened_together():
    flat = convolution(1e6)
    first, last = flat.activations()
    other = 99  # of a concatenation elsewhere
    intervals = {first: UNIT, last: TensorRange(-1e-3, 1e-3), other: TensorRange(-1e-3, 1e-3)}
    groups = DisjointSet(intervals)
    groups.merge(last, other)
    found = widened_to_requantization_limits(flat, intervals, groups, (), LIMITS)
    assert found[other] == found[last] != intervals[last]


def test_a_scale_that_an_operator_fixes_stays():
    flat = convolution(1e6)
    intervals = intervals_of(flat, [2.0, 1e-3])
    assert apart(flat, intervals, fixed=flat.activations()) == intervals

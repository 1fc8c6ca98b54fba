"""Interval arithmetic of the file's operators, against their own kernels on values drawn from the inputs' ranges."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.distributions.values import ChannelRanges, Source
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.ranges.interval_arithmetic import derived_range, file_ranges
from tests.flat import RELU, RELU6, FileBuilder

pytestmark = pytest.mark.fast

MAP = (1, 4, 4, 4)
DRAWS = 40
LOOSE = 0.1
"""By which share a range may be wider than what is drawn, half of which lies at the ends."""


def pooled(b, kind):
    options = schema.Pool2DOptionsT(padding=1, strideW=2, strideH=2, filterWidth=2, filterHeight=2)
    return b.op(kind, [0], (1, 2, 2, 4), table=options)


def resized(b, kind, options):
    return b.op(kind, [0, b.constant([8, 8], np.int32)], (1, 8, 8, 4), table=options)


def moved(kind, shape, *constants, **options):
    """An operator that reads integers beside its input."""
    return lambda b: b.op(kind, [0, *(b.constant(c, np.int32) for c in constants)], shape, **options)


def one_tap(b, activation=0):
    options = schema.DepthwiseConv2DOptionsT(
        padding=1, strideW=1, strideH=1, depthMultiplier=1, fusedActivationFunction=activation
    )
    weights = b.constant(np.array([0.5, -2.0, 0.0, 3.0]).reshape(1, 1, 1, 4))
    return b.op("DEPTHWISE_CONV_2D", [0, weights, b.constant([1.0, 2.0, -1.0, -4.0])], MAP, table=options)


STRIDED = schema.StridedSliceOptionsT(beginMask=0, endMask=0, ellipsisMask=0, newAxisMask=0, shrinkAxisMask=0)
EDGES = [[0, 0], [1, 1], [1, 1], [0, 0]]
EXACT = {
    "ADD": lambda b: b.op("ADD", [0, 1], MAP),
    "SUB": lambda b: b.op("SUB", [0, 1], MAP),
    "MUL": lambda b: b.op("MUL", [0, 1], MAP),
    "MINIMUM": lambda b: b.op("MINIMUM", [0, 1], MAP),
    "MAXIMUM": lambda b: b.op("MAXIMUM", [0, 1], MAP),
    "RESIZE_NEAREST_NEIGHBOR": lambda b: resized(
        b, "RESIZE_NEAREST_NEIGHBOR", schema.ResizeNearestNeighborOptionsT(False, False)
    ),
    "BROADCAST_TO": moved("BROADCAST_TO", (2, 4, 4, 4), [2, 4, 4, 4], version=2),
    "DEPTH_TO_SPACE": moved("DEPTH_TO_SPACE", (1, 8, 8, 1), table=schema.DepthToSpaceOptionsT(2)),
    "EXPAND_DIMS": moved("EXPAND_DIMS", (1, 1, 4, 4, 4), [1]),
    "GATHER": moved("GATHER", (1, 2, 4, 4), [2, 0], table=schema.GatherOptionsT(axis=1)),
    "GATHER_ND": moved("GATHER_ND", (3, 4), [[0, 1, 2], [0, 3, 3], [0, 0, 1]]),
    "MIRROR_PAD": moved("MIRROR_PAD", (1, 6, 6, 4), EDGES, table=schema.MirrorPadOptionsT(0)),
    "RESHAPE": moved("RESHAPE", (4, 16), [4, 16], table=schema.ReshapeOptionsT([4, 16])),
    "REVERSE_V2": moved("REVERSE_V2", MAP, [1]),
    "SLICE": moved("SLICE", (1, 2, 3, 4), [0, 1, 1, 0], [1, 2, 3, 4]),
    "SPACE_TO_DEPTH": moved("SPACE_TO_DEPTH", (1, 2, 2, 16), table=schema.SpaceToDepthOptionsT(2)),
    "SQUEEZE": moved("SQUEEZE", (4, 4, 4), table=schema.SqueezeOptionsT([0])),
    "STRIDED_SLICE": moved("STRIDED_SLICE", (1, 2, 4, 4), [0, 0, 0, 0], [1, 4, 4, 4], [1, 2, 1, 1], table=STRIDED),
    "TILE": moved("TILE", (1, 8, 4, 4), [1, 2, 1, 1]),
    "TRANSPOSE": moved("TRANSPOSE", MAP, [0, 3, 1, 2]),
    "UNPACK": lambda b: b.op("UNPACK", [0], *[(1, 4, 4)] * 4, table=schema.UnpackOptionsT(4, 1)),
    "SPACE_TO_BATCH_ND": moved("SPACE_TO_BATCH_ND", (4, 3, 3, 4), [2, 2], [[1, 1], [1, 1]]),
    "BATCH_TO_SPACE_ND": lambda b: b.op(
        "BATCH_TO_SPACE_ND", [1, b.constant([2, 2], np.int32), b.constant([[0, 0], [0, 0]], np.int32)], MAP
    ),
    "PAD": moved("PAD", (1, 6, 6, 4), EDGES),
    "RELU": lambda b: b.op("RELU", [0], MAP),
    "RELU6": lambda b: b.op("RELU6", [0], MAP),
    "one tap": one_tap,
    "one tap with RELU": lambda b: one_tap(b, RELU),
    "ADD with RELU6": lambda b: b.op("ADD", [0, 1], MAP, fusedActivationFunction=RELU6),
    "MUL by a constant": lambda b: b.op("MUL", [b.constant([2.0, -1.0, 0.0, 0.5]), 0], MAP),
    "SUB from a constant": lambda b: b.op("SUB", [b.constant(1.5), 0], MAP),
}
"""Operators whose ranges are those of the values that occur."""

WIDER = {
    "MEAN": lambda b: b.op("MEAN", [0, b.constant([1, 2], np.int32)], (1, 1, 1, 4), keepDims=True),
    "AVERAGE_POOL_2D": lambda b: pooled(b, "AVERAGE_POOL_2D"),
    "MAX_POOL_2D": lambda b: pooled(b, "MAX_POOL_2D"),
    "RESIZE_BILINEAR": lambda b: resized(b, "RESIZE_BILINEAR", schema.ResizeBilinearOptionsT(False, True)),
    "LOGISTIC": lambda b: b.op("LOGISTIC", [0], MAP),
    "SOFTMAX": lambda b: b.op("SOFTMAX", [0], MAP, table=schema.SoftmaxOptionsT(1.0)),
    "TANH": lambda b: b.op("TANH", [0], MAP),
    "a square": lambda b: b.op("MUL", [0, 0], MAP),
}
"""Operators whose outputs seldom reach the ends: of several values, and what is bounded whatever it reads."""


def drawn(known, shape, random):
    """Values within the range, half of them at its ends."""
    value = random.uniform(known.low, known.high, shape)
    place = random.random(shape)
    return np.where(place < 0.25, known.low, np.where(place > 0.75, known.high, value))


def built(build):
    """The file of one operator of which all outputs leave."""
    b = FileBuilder(MAP, (4, 2, 2, 4) if build is EXACT["BATCH_TO_SPACE_ND"] else MAP)
    outputs = build(b)
    return b.file(*(outputs if isinstance(outputs, list) else [outputs]))


@pytest.mark.parametrize("signs", [(-3.0, 3.0), (0.5, 4.0), (-9.0, -1.0)], ids=["both signs", "positive", "negative"])
@pytest.mark.parametrize("name", [*EXACT, *WIDER])
def test_outputs_lie_in_the_derived_range(name, signs, random):
    flat = built({**EXACT, **WIDER}[name])
    (operator,) = flat.operators
    ends = [np.sort(random.uniform(*signs, (2, 4)), axis=0) for _ in range(2)]
    known = {k: ChannelRanges(low, high, Source.BATCH_NORM) for k, (low, high) in enumerate(ends)}
    own = derived_range(flat, operator, known)
    interpreter = Interpreter(flat.content(), delegate=False)
    inputs = [[drawn(known[k], flat.shape(k), random) for k in range(2)] for _ in range(DRAWS)]
    values = np.stack([np.stack(interpreter.run(x)) for x in inputs])
    values = values.reshape(-1, values.shape[-1])
    slack = 1e-5 * own.amplitude.max()
    assert np.all(values >= own.low - slack)
    assert np.all(values <= own.high + slack)
    if name in EXACT and own.low.shape == (1,):
        assert np.ptp(values) >= (1 - LOOSE) * (own.high - own.low)
    elif name in EXACT:
        assert np.all(np.ptp(values, axis=0) >= (1 - LOOSE) * (own.high - own.low) - slack)


@pytest.mark.parametrize(("source", "expected"), [("FALLBACK", "FALLBACK"), ("BATCH_NORM", "PROPAGATED")])
def test_what_is_derived_from_samples_is_sampled(source, expected):
    flat = built(EXACT["ADD"])
    known = {k: ChannelRanges(-np.ones(4), np.ones(4), (Source.BATCH_NORM, Source[source])[k]) for k in range(2)}
    assert derived_range(flat, flat.operators[0], known).source is Source[expected]


def ends_of(width):
    return {0: ChannelRanges(np.full(4, -width), np.full(4, width), Source.BATCH_NORM)}


def test_an_operator_without_a_rule_is_sampled_with_a_margin(random):
    """An exponential; what has a rule downstream follows from that."""
    b = FileBuilder(MAP)
    sampled = b.op("EXP", [0], MAP)
    flat = b.file(b.op("MUL", [sampled, b.constant(-2.0)], MAP))
    found = file_ranges(flat, ends_of(1.0))
    assert found[sampled].source is Source.FALLBACK
    assert 0.8 * np.e < found[sampled].high[0] < 1.25 * np.e
    np.testing.assert_allclose(found[flat.subgraph.outputs[0]].low, -2 * found[sampled].high)


@pytest.mark.parametrize(
    ("readers", "highest"),
    [
        (["RELU6"], 6.0),
        (["RELU6", "minimum of 8"], 8.0),
        (["RELU6", "RELU"], 20.0),
        (["RELU6", "output"], 20.0),
    ],
    ids=["one", "the highest of two", "one that cuts nothing", "an output"],
)
def test_what_all_readers_cut_off_is_not_in_the_range(readers, highest):
    b = FileBuilder(MAP)
    doubled = b.op("ADD", [0, 0], MAP)
    outputs = [doubled] if "output" in readers else []
    for reader in readers:
        if reader == "minimum of 8":
            outputs.append(b.op("MINIMUM", [doubled, b.constant(8.0)], MAP))
        elif reader != "output":
            outputs.append(b.op(reader, [doubled], MAP))
    found = file_ranges(b.file(*outputs), ends_of(10.0))
    np.testing.assert_array_equal(found[doubled].high, highest)
    np.testing.assert_array_equal(found[doubled].low, -20.0)


def squares(b, share, read_twice=False):
    """A sum of squares, and the tensor that follows of it by a factor, an offset and a reshape."""
    square = b.op("MUL", [0, 0], MAP)
    total = b.op("SUM", [square, b.constant([1, 2], np.int32)], (1, 1, 1, 4), keepDims=True)
    flat = b.op("RESHAPE", [total, b.constant([1, 4], np.int32)], (1, 4), table=schema.ReshapeOptionsT([1, 4]))
    mean = b.op("MUL", [flat, b.constant(share)], (1, 4))
    return total, mean, [mean, *([b.op("RELU", [total], (1, 1, 1, 4))] if read_twice else [])]


def test_a_sum_has_the_range_that_its_known_mean_has():
    b = FileBuilder(MAP)
    total, mean, outputs = squares(b, 1 / 16)
    known = {**ends_of(3.0), mean: ChannelRanges(np.array([0.5]), np.array([2.0]), Source.FALLBACK)}
    found = file_ranges(b.file(*outputs), known)[total]
    np.testing.assert_allclose([found.low, found.high], [[8.0], [32.0]], rtol=1e-6)


def test_a_sum_has_the_range_that_its_known_share_with_an_offset_has():
    """2 (s / 16 + 1 / 2) is in [2, 5] where s is in [8, 32]."""
    b = FileBuilder(MAP)
    total = b.op("SUM", [b.op("MUL", [0, 0], MAP), b.constant([1, 2], np.int32)], (1, 1, 1, 4), keepDims=True)
    weights, bias = b.constant(np.full((1, 1, 1, 4), 1 / 16)), b.constant(np.full(4, 0.5))
    options = schema.DepthwiseConv2DOptionsT(padding=1, strideW=1, strideH=1, depthMultiplier=1)
    moved = b.op("DEPTHWISE_CONV_2D", [total, weights, bias], (1, 1, 1, 4), table=options)
    doubled = b.op("MUL", [moved, b.constant(2.0)], (1, 1, 1, 4))
    known = {**ends_of(3.0), doubled: ChannelRanges(np.array([2.0]), np.array([5.0]), Source.FALLBACK)}
    found = file_ranges(b.file(doubled), known)[total]
    np.testing.assert_allclose([found.low, found.high], [[8.0], [32.0]], rtol=1e-6)


@pytest.mark.parametrize(("share", "read_twice"), [(-1 / 16, False), (1 / 16, True), ([0.1, 0.2, 0.3, 0.4], False)])
def test_a_sum_of_which_that_does_not_follow_is_sampled(share, read_twice):
    b = FileBuilder(MAP)
    total, mean, outputs = squares(b, share, read_twice=read_twice)
    known = {**ends_of(3.0), mean: ChannelRanges(np.array([-2.0]), np.array([2.0]), Source.BATCH_NORM)}
    assert file_ranges(b.file(*outputs), known)[total].source is Source.FALLBACK

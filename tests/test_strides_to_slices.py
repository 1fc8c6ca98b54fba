"""Operators that take every second value become copies that XNNPACK makes, on files made by hand."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.targets import TARGETS
from spiq_tf.tflite.passes.order import INTEGER_PASSES, run_passes
from spiq_tf.tflite.passes.strides_to_slices import strides_to_slices
from spiq_tf.tflite.provenance import TensorProvenance
from spiq_tf.tflite.state import IntegerState
from spiq_tf.tflite.writing.op_versions import set_lowest_versions
from tests.flat import RELU, FileBuilder, kinds
from tests.integer_files import check_left_alone, check_rewritten, integer_state

pytestmark = pytest.mark.fast

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
COPIES = ["RESHAPE", "SLICE"]


def pool(b, x, shape, strides, kind="MAX_POOL_2D", **options):
    """Appends a pool of windows of one value to a tensor of some shape."""
    table = schema.Pool2DOptionsT(filterHeight=1, filterWidth=1, strideH=strides[0], strideW=strides[1], **options)
    sizes = [-(-n // stride) for n, stride in zip(shape[1:3], strides, strict=True)]
    return b.op(kind, [x], (shape[0], *sizes, shape[3]), table=table)


def pooled(shape, strides, kind="MAX_POOL_2D", **options):
    b = FileBuilder(shape)
    return b.file(pool(b, 0, shape, strides, kind, **options))


def sliced(b, x, shape, *index):
    """Appends a STRIDED_SLICE of a tensor of some shape, as Python's slices and numbers say, one an axis."""
    value, begins, ends, strides, gone = np.zeros(shape)[index], [], [], [], 0
    for axis, (size, each) in enumerate(zip(shape, index, strict=True)):
        gone |= isinstance(each, int) << axis
        each = slice(each, each + 1 or size, 1) if isinstance(each, int) else each
        begins.append(each.start or 0)
        ends.append(size if each.stop is None else each.stop)
        strides.append(each.step or 1)
    table = schema.StridedSliceOptionsT(shrinkAxisMask=gone)
    bounds = [b.constant(v, np.int32) for v in (begins, ends, strides)]
    return b.op("STRIDED_SLICE", [x, *bounds], value.shape, table=table)


def slice_of(shape, *index):
    b = FileBuilder(shape)
    return b.file(sliced(b, 0, shape, *index))


def state_of(flat):
    state = integer_state(flat, dict.fromkeys(flat.activations(), (-6.4, 6.35)))
    set_lowest_versions(state.flat)
    return state


def values(flat):
    random = np.random.default_rng(0)
    return [random.integers(-128, 128, flat.shape(int(i))) * 0.05 for i in flat.subgraph.inputs]


ALL = slice(None)
APPLIES = {
    "maxima": (lambda: pooled((2, 8, 6, 5), (2, 2)), COPIES),
    "averages": (lambda: pooled((1, 8, 6, 5), (2, 3), "AVERAGE_POOL_2D", padding=VALID), COPIES),
    "rows": (lambda: pooled((1, 9, 7, 4), (3, 1), "AVERAGE_POOL_2D"), COPIES),
    "odd averages": (lambda: pooled((2, 7, 6, 40), (2, 2), "AVERAGE_POOL_2D"), ["DEPTHWISE_CONV_2D"]),
    "a slice": (lambda: slice_of((1, 8, 6, 5), ALL, slice(None, None, 2), slice(1, None, 2), ALL), COPIES),
    "a part": (lambda: slice_of((1, 8, 6, 5), ALL, slice(2, 7, 2), slice(3, 5), slice(1, 4)), COPIES),
    "a part of odd": (
        lambda: slice_of((1, 9, 7, 5), ALL, slice(2, 8, 2), slice(1, 7, 3), ALL),
        ["SLICE", *COPIES],
    ),
    "all of odd": (lambda: slice_of((1, 9, 7, 5), ALL, slice(0, 9, 2), slice(0, 7, 2), ALL), ["DEPTHWISE_CONV_2D"]),
    "channels": (lambda: slice_of((1, 4, 3, 6), ALL, ALL, ALL, slice(1, None, 2)), [*COPIES, "RESHAPE"]),
    "all": (lambda: slice_of((1, 4, 6, 6), ALL, slice(0, 4, 2), slice(1, 6, 3), slice(1, 6, 2)), [*COPIES, "RESHAPE"]),
    "the batch": (lambda: slice_of((4, 3, 5), slice(1, 4, 2), ALL, ALL), COPIES),
    "a sequence": (lambda: slice_of((1, 12, 5), ALL, slice(3, 11, 4), ALL), COPIES),
    "a vector": (lambda: slice_of((12,), slice(2, 12, 4)), [*COPIES, "RESHAPE"]),
    "one token": (lambda: slice_of((1, 12, 5), ALL, 3, ALL), ["SLICE", "RESHAPE"]),
    "the last token": (lambda: slice_of((1, 12, 5), ALL, -1, ALL), ["SLICE", "RESHAPE"]),
    "one of rows of two": (lambda: slice_of((1, 12, 6, 5), ALL, slice(0, 12, 2), 2, ALL), [*COPIES, "RESHAPE"]),
}


@pytest.mark.parametrize("name", APPLIES)
def test_not_an_integer_changes(name):
    build, expected = APPLIES[name]
    state = state_of(build())
    check_rewritten(state, strides_to_slices, values(state.flat))
    assert kinds(state.flat) == expected


def test_ends_may_be_left_out():
    b = FileBuilder((1, 8, 6, 5))
    bounds = [b.constant(v, np.int32) for v in ([0, 5, 1, 0], [1, 3, 2, 5], [1, 2, 2, 1])]
    table = schema.StridedSliceOptionsT(beginMask=0b0010, endMask=0b0100)
    state = state_of(b.file(b.op("STRIDED_SLICE", [0, *bounds], (1, 2, 3, 5), table=table)))
    check_rewritten(state, strides_to_slices, values(state.flat))
    assert kinds(state.flat) == COPIES


def test_slices_of_one_tensor_share_its_neighborhoods():
    b, shape = FileBuilder((1, 8, 6, 3)), (1, 8, 6, 3)
    parts = [sliced(b, 0, shape, ALL, slice(i, None, 2), slice(j, None, 2), ALL) for i in (0, 1) for j in (0, 1)]
    state = state_of(b.file(b.op("CONCATENATION", parts, (1, 4, 3, 12), axis=3)))
    check_rewritten(state, strides_to_slices, values(state.flat))
    assert kinds(state.flat) == ["RESHAPE", "SLICE", "SLICE", "SLICE", "SLICE", "CONCATENATION"]


def convolved(window, kind="AVERAGE_POOL_2D", others=(), strides=1):
    """A pool whose output convolutions of some windows read, and other operators."""
    random, shape = np.random.default_rng(0), (1, 7, 6, 4)
    b = FileBuilder(shape)
    y = pool(b, 0, shape, (2, 3), kind)
    outputs = []
    for _ in range(2):
        table = schema.Conv2DOptionsT(strideH=strides, strideW=strides, padding=SAME)
        weights, bias = b.constant(random.normal(size=(5, *window, 4))), b.constant(random.normal(size=5))
        sizes = [-(-n // strides) for n in (4, 2)]
        outputs.append(b.op("CONV_2D", [y, weights, bias], (1, *sizes, 5), table=table))
    outputs += [b.op(each, [y], (1, 4, 2, 4)) for each in others]
    flat = b.file(*outputs)
    state = integer_state(flat, {i: (-6.4, 6.35) if i < 2 else (-30.0, 30.0) for i in flat.activations()}, {y: "pool"})
    assert state.provenance == {y: TensorProvenance("pool")}
    return state


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_convolutions_of_one_tap_take_the_stride(kind):
    state = convolved((1, 1), kind)
    check_rewritten(state, strides_to_slices, values(state.flat))
    assert kinds(state.flat) == ["CONV_2D", "CONV_2D"]
    assert {int(o.inputs[0]) for o in state.flat.operators} == {0}
    assert state.provenance == {}


@pytest.mark.parametrize(
    "state",
    [
        lambda: convolved((3, 1)),
        lambda: convolved((1, 1), strides=2),
        lambda: convolved((1, 1), others=["TANH"]),
    ],
    ids=["more taps", "a stride of their own", "another consumer"],
)
def test_other_consumers_read_what_is_taken(state):
    state = state()
    before = kinds(state.flat)
    check_rewritten(state, strides_to_slices, values(state.flat))
    assert kinds(state.flat) == ["DEPTHWISE_CONV_2D", *before[1:]]
    assert len(state.provenance) == 1


LEFT = {
    "odd maxima": lambda: pooled((1, 7, 6, 4), (2, 2)),
    "no stride": lambda: pooled((1, 8, 6, 4), (1, 1)),
    "an activation": lambda: pooled((1, 8, 6, 4), (2, 2), fusedActivationFunction=RELU),
    "a plain slice": lambda: slice_of((1, 8, 6, 5), ALL, slice(2, 7), slice(3, 5), ALL),
    "backwards": lambda: backwards(),
    "a sequence of odd length": lambda: slice_of((1, 11, 5), ALL, slice(0, 11, 2), ALL),
}


def backwards():
    b = FileBuilder((1, 8, 6, 5))
    bounds = [b.constant(v, np.int32) for v in ([0, 7, 0, 0], [1, 0, 6, 5], [1, -1, 1, 1])]
    table = schema.StridedSliceOptionsT(endMask=0b0010)
    return b.file(b.op("STRIDED_SLICE", [0, *bounds], (1, 8, 6, 5), table=table))


@pytest.mark.parametrize("name", LEFT)
def test_others_stay(name):
    check_left_alone(state_of(LEFT[name]()), strides_to_slices)


def test_floats_stay():
    check_left_alone(IntegerState(flat=pooled((1, 8, 6, 4), (2, 2))), strides_to_slices)


@pytest.mark.parametrize("name", TARGETS)
def test_only_targets_with_xnnpack_take_it(name):
    state = state_of(pooled((1, 8, 6, 4), (2, 2)))
    run_passes([each for each in INTEGER_PASSES if each.function is strides_to_slices], state, TARGETS[name])
    assert kinds(state.flat) == (COPIES if name in ("portable", "xnnpack") else ["MAX_POOL_2D"])

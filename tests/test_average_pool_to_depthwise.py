"""Average pools of small windows become depthwise convolutions."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

import spiq_tf
from spiq_tf.options import checked_options
from spiq_tf.pipeline import plan, rewritten_file
from spiq_tf.primitives.pool import AveragePool
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.search.noise_terms import PredictedNoise
from spiq_tf.targets import TARGETS
from spiq_tf.targets.target import EVERY_RUNTIME_LIMITS
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.lowering.lower import lower
from spiq_tf.tflite.passes.average_pool_to_depthwise import average_pool_to_depthwise
from spiq_tf.tflite.passes.order import RANGE_PASSES, run_passes
from spiq_tf.tflite.scale_assignment.assign import assign_tensor_ranges
from spiq_tf.tflite.writing import litert_quantizer
from spiq_tf.tflite.writing.op_versions import set_lowest_versions
from tests.file_state import check_invariants, ranges, state_of
from tests.flat import RELU, FileBuilder, check_same_function, kinds
from tests.networks import RANGE, settle

pytestmark = pytest.mark.fast

VALID, SAME = schema.Padding.VALID, schema.Padding.SAME
BOTH, AFTER = ["DEPTHWISE_CONV_2D", "SPLIT", "CONCATENATION"], ["SLICE", "DEPTHWISE_CONV_2D", "CONCATENATION"]
MEAN = ["DEPTHWISE_CONV_2D"]


def pool(b, x, shape, window, strides, padding, kind="AVERAGE_POOL_2D", **options):
    """Appends a pool of a tensor of some shape."""
    sizes = [
        -(-n // stride) if padding == SAME else (n - taps) // stride + 1
        for n, taps, stride in zip(shape[1:3], window, strides, strict=True)
    ]
    table = schema.Pool2DOptionsT(
        filterHeight=window[0],
        filterWidth=window[1],
        strideH=strides[0],
        strideW=strides[1],
        padding=padding,
        **options,
    )
    return b.op(kind, [x], (shape[0], *sizes, shape[3]), table=table)


def one(shape, window, strides=(1, 1), padding=SAME, **options):
    b = FileBuilder(shape)
    return b.file(pool(b, 0, shape, window, strides, padding, **options))


def rewritten(flat, low=-6.0, high=6.0, **known):
    """The state after the pass, with a range for each tensor."""
    state = state_of(flat, ranges={i: ranges(low, high) for i in flat.activations()}, **known)
    average_pool_to_depthwise(state)
    check_invariants(flat)
    assert state.ranges.keys() == set(flat.activations())
    return state


APPLIES = {
    "inside": (((2, 9, 7, 3), (3, 3), (1, 1), VALID), MEAN),
    "no overlap": (((1, 8, 6, 3), (2, 2), (2, 2), VALID), MEAN),
    "padded but inside": (((1, 8, 6, 3), (2, 2), (2, 2), SAME), MEAN),
    "25 taps": (((1, 9, 9, 2), (5, 5), (2, 2), VALID), MEAN),
    "padded": (((2, 9, 7, 3), (3, 3), (1, 1), SAME), [*BOTH, *BOTH, *MEAN]),
    "stride of 2, odd": (((1, 9, 7, 3), (3, 3), (2, 2), SAME), [*BOTH, *BOTH, *MEAN]),
    "stride of 2, even": (((1, 8, 6, 3), (3, 3), (2, 2), SAME), [*AFTER, *AFTER, *MEAN]),
    "odd and even": (((1, 8, 7, 3), (3, 3), (2, 2), SAME), [*AFTER, *BOTH, *MEAN]),
    "even window": (((1, 8, 6, 3), (2, 2), (1, 1), SAME), [*AFTER, *AFTER, *MEAN]),
    "stride of 3": (((1, 8, 7, 3), (3, 3), (3, 3), SAME), [*AFTER, *BOTH, *MEAN]),
    "no larger than the window": (((1, 3, 3, 2), (3, 3), (1, 1), SAME), [*BOTH, *BOTH, *MEAN]),
    "one window": (((1, 2, 1, 2), (3, 2), (2, 2), SAME), [*AFTER, *AFTER, *MEAN]),
    "one axis": (((1, 12, 1, 4), (3, 1), (1, 1), SAME), [*BOTH, *MEAN]),
    "columns": (((1, 4, 9, 2), (1, 3), (1, 2), SAME), [*BOTH, *MEAN]),
}


@pytest.mark.parametrize("name", APPLIES)
def test_convolutions_compute_the_same(name):
    arguments, expected = APPLIES[name]
    flat = one(*arguments)
    before = flat.content()
    rewritten(flat)
    assert kinds(flat) == expected
    check_same_function(before, flat)


def test_an_activation_stays():
    flat = one((1, 6, 6, 2), (3, 3), fusedActivationFunction=RELU)
    before = flat.content()
    rewritten(flat)
    assert flat.operators[-1].builtinOptions.fusedActivationFunction == RELU
    assert not any(o.builtinOptions.fusedActivationFunction for o in flat.operators[:-1] if flat.weights(o))
    check_same_function(before, flat)


def test_pools_of_one_tensor_share_what_they_read():
    b = FileBuilder((1, 8, 8, 3))
    outputs = [pool(b, 0, (1, 8, 8, 3), (3, 3), (1, 1), SAME) for _ in range(2)]
    other = pool(b, outputs[0], (1, 8, 8, 3), (3, 3), (1, 1), SAME)
    flat = b.file(*outputs, other)
    before = flat.content()
    rewritten(flat)
    assert kinds(flat) == [*BOTH, *BOTH, *MEAN, *MEAN, *BOTH, *BOTH, *MEAN]
    assert len({flat.weights(o) for o in flat.operators if flat.weights(o) is not None}) == 3
    check_same_function(before, flat)


LEFT = {
    "26 taps": ((1, 14, 14, 2), (2, 13), (1, 1), VALID),
    "far over the border": ((1, 9, 9, 2), (5, 5), (1, 1), SAME),
    "two after the last": ((1, 9, 9, 2), (4, 4), (1, 1), SAME),
    "larger than the map": ((1, 2, 8, 2), (3, 3), (1, 1), SAME),
    "over both ends": ((1, 1, 8, 2), (3, 3), (1, 1), SAME),
    "one tap": ((1, 8, 8, 2), (1, 1), (2, 2), VALID),
}


@pytest.mark.parametrize("name", LEFT)
def test_other_windows_stay(name):
    flat = one(*LEFT[name])
    before = flat.content()
    rewritten(flat)
    assert flat.content() == before


def test_other_operators_and_floats_stay():
    flat = one((1, 8, 8, 2), (3, 3), kind="MAX_POOL_2D")
    before = flat.content()
    rewritten(flat)
    assert flat.content() == before
    flat = one((1, 8, 8, 2), (3, 3))
    before = flat.content()
    rewritten(flat, float_outputs=frozenset({1}))
    assert flat.content() == before


@pytest.mark.parametrize("name", TARGETS)
def test_only_targets_with_xnnpack_take_it(name):
    flat = one((1, 8, 8, 2), (3, 3))
    state = state_of(flat, ranges={i: ranges(-6.0, 6.0) for i in flat.activations()})
    run_passes([each for each in RANGE_PASSES if each.function is average_pool_to_depthwise], state, TARGETS[name])
    assert ("AVERAGE_POOL_2D" in kinds(flat)) == (name not in ("portable", "xnnpack"))


def quantized(state):
    """The int8 file of a state, and the ranges of its tensors."""
    flat = state.flat
    tensor_ranges = assign_tensor_ranges(flat, state.ranges, (), {}, EVERY_RUNTIME_LIMITS, state.equal_scales)
    result = litert_quantizer.quantize(flat, tensor_ranges, (), per_channel_dense=False)
    set_lowest_versions(result)
    return result, tensor_ranges


@pytest.mark.parametrize("delegate", [False, True], ids=["kernels", "xnnpack"])
@pytest.mark.parametrize("name", ["inside", "padded", "stride of 2, even", "even window"])
def test_int8_means_are_rounded_once(name, delegate):
    """Within half a step of the exact mean, and a third of a step where values beyond the border are rounded too."""
    arguments, _ = APPLIES[name]
    flat = one(*arguments)
    exact = flat.content()
    file, tensor_ranges = quantized(rewritten(flat, -6.4, 6.35))
    assert len({r.quantization for r in tensor_ranges.values()}) == 1
    assert all(file.dtype(i) == np.int8 for i in file.activations())
    grid = tensor_ranges[0].quantization
    values = np.random.default_rng(0).integers(-128, 128, flat.shape(0)).astype(np.int8)
    x = grid.dequantize(values)
    (expected,) = Interpreter(exact, delegate=False).run([x])
    (found,) = Interpreter(file.content(), delegate=delegate).run([x])
    steps = np.abs(expected - found) / grid.scale
    assert steps.max() <= 0.5 + 1 / 3 + 0.01
    assert steps[:, 1:-1, 1:-1].max(initial=0) <= 0.51
    assert np.sqrt(np.mean(steps**2)) < 1.1 / np.sqrt(12)


def test_the_output_has_a_scale_of_its_own_and_what_lies_before_that_of_the_input():
    flat = one((1, 8, 8, 2), (3, 3))
    state = state_of(flat, ranges={0: ranges(-6.4, 6.35), 1: ranges(-1.0, 2.0)})
    average_pool_to_depthwise(state)
    _, tensor_ranges = quantized(state)
    assert (tensor_ranges[1].low, tensor_ranges[1].high) == (-1.0, 2.0)
    assert {(r.low, r.high) for i, r in tensor_ranges.items() if i != 1} == {(-6.4, 6.35)}


def test_tensors_between_follow_where_an_addition_moves_a_scale():
    """Of additions, whose scales follow from the noise that is predicted of the graph's tensors."""
    shape = (1, 8, 8, 2)
    b = FileBuilder(shape, shape)
    addends = [b.op("MUL", [0, other], shape) for other in (0, 1)]
    total = b.op("ADD", addends, shape)
    flat = b.file(pool(b, total, shape, (3, 3), (1, 1), SAME))
    reach = dict(zip(flat.activations(), (1.0, 1.0, 1.0, 1.1, 1.2, 0.9), strict=True))
    state = state_of(flat, ranges={i: ranges(-r, r) for i, r in reach.items()})
    average_pool_to_depthwise(state)
    noise = {i: PredictedNoise(rounding=1.0, clipping=0.1) for i in (*addends, total)}
    known = flat, state.ranges, (), noise, EVERY_RUNTIME_LIMITS, state.equal_scales
    found = assign_tensor_ranges(*known)
    assert len({found[i] for i in (*addends, total)}) == 1
    assert found[total] != TensorRange(-1.2, 1.2)
    assert {found[i] for i in state.equal_scales} == {found[total]}


LAYERS = {
    "no overlap": (layers.AveragePooling2D(2), True),
    "padded": (layers.AveragePooling2D(3, 1, padding="same"), True),
    "stride of 2": (layers.AveragePooling2D((2, 3), 2, padding="same"), True),
    "far over the border": (layers.AveragePooling2D(5, 1, padding="same"), False),
    "over both ends": (layers.AveragePooling2D((9, 2), 1, padding="same"), False),
    "many taps": (layers.AveragePooling2D(6, 1), False),
    "the whole map": (layers.AveragePooling2D(8), False),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_search_knows_which_pools_have_scales_of_their_own(name):
    layer, expected = LAYERS[name]
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 1, activation="relu")(image)
    model = settle(keras.Model(image, layers.Conv2D(2, 1)(type(layer).from_config(layer.get_config())(x))))
    planned = plan(model, RANGE, checked_options())
    (node,) = (n for n in planned.rescaled.graph.nodes if isinstance(n.primitive, AveragePool))
    assert node.primitive.has_depthwise_form == expected
    state = rewritten_file(planned, lower(planned.rescaled))
    assert ("AVERAGE_POOL_2D" in kinds(state.flat)) == (not expected and name != "the whole map")
    before, after = (planned.solution.ranges[t.name] for t in (node.inputs[0], node.output))
    own = expected or name == "the whole map"
    assert (after.high.max() < 0.95 * before.high.max()) == own


def test_the_search_for_other_targets_keeps_one_range():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 1, activation="relu")(image)
    model = settle(keras.Model(image, layers.Conv2D(2, 1)(layers.AveragePooling2D(2)(x))))
    planned = plan(model, RANGE, checked_options(target="edgetpu"))
    (node,) = (n for n in planned.rescaled.graph.nodes if isinstance(n.primitive, AveragePool))
    before, after = (planned.solution.ranges[t.name] for t in (node.inputs[0], node.output))
    np.testing.assert_allclose(after.high, before.high, rtol=1e-9)


def test_an_average_of_pixels_keeps_their_range():
    """Of single pixels the spread is known, of neighbors it is a guess: a uniform patch has an extreme mean."""
    image = keras.Input((12, 12, 3), name="image")
    pooled = layers.AveragePooling2D(3, strides=2, padding="same", name="pooled")(image)
    model = keras.Model(image, layers.Conv2D(4, 3, name="convolution")(pooled))
    tensors = {t.layer: t for t in spiq_tf.quantize(model, input_range=(-1, 1)).tensors}
    assert tensors["pooled"].low <= -1
    assert tensors["pooled"].high >= 1

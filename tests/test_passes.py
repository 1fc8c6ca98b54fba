"""The list of passes: its order, and that a file stays a file after each of them."""

import importlib
import pkgutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

from spiq_tf.options import checked_options
from spiq_tf.pipeline import chosen_tensor_ranges, file_state, integer_file, plan
from spiq_tf.targets import TARGETS
from spiq_tf.tflite import passes
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.lowering.lower import lower
from spiq_tf.tflite.passes.order import (
    FUNCTION_PASSES,
    INTEGER_PASSES,
    PASSES,
    RANGE_PASSES,
    STRUCTURAL_PASSES,
    Pass,
    run_passes,
)
from spiq_tf.tflite.ranges.interval_arithmetic import file_ranges
from tests.file_state import check_invariants, state_of
from tests.flat import RELU, FileBuilder, check_same_function, kinds
from tests.layer_table import prelu
from tests.networks import conv_bn, settle


def test_every_pass_stands_once():
    functions = [each.function for each in PASSES]
    assert len(set(functions)) == len(functions)


def test_every_module_of_passes_is_in_the_list():
    """But for folding, which is part of lowering and shares its module with a pass."""
    modules = {module.name for module in pkgutil.iter_modules(passes.__path__)} - {"order"}
    assert {each.function.__module__.rsplit(".", 1)[-1] for each in PASSES} == modules


def test_each_stands_after_those_that_it_requires():
    place = {each.function: index for index, each in enumerate(PASSES)}
    for each in PASSES:
        for required in each.requires:
            assert place[required] < place[each.function], f"{each.function.__name__} needs {required.__name__} before"


@pytest.mark.parametrize("each", PASSES, ids=lambda each: each.function.__name__)
def test_a_pass_says_what_it_does(each):
    assert "Given:" in importlib.import_module(each.function.__module__).__dict__[each.function.__name__].__doc__
    assert "Result" in each.function.__doc__
    assert each.leaves


def test_passes_run_in_order_on_the_targets_that_take_them():
    log = []
    chosen = [
        Pass(function=lambda flat: log.append("all"), leaves=""),
        Pass(function=lambda flat: log.append("batch"), leaves="", when=lambda target: target.largest_batch is None),
        Pass(function=lambda flat, n: log.append(n), leaves="", settings=lambda target: (target.largest_batch,)),
    ]
    for name in ("portable", "edgetpu"):
        run_passes(chosen, FileBuilder((1,)).file(0), TARGETS[name])
    assert log == ["all", "batch", None, "all", 1]


FOR_EVERY_TARGET = {
    *("affine_to_depthwise", "div_to_reciprocal", "elementwise_to_lut", "fill_lookup_tables", "flatten_biases"),
    *("fold_norm_into_prelu", "global_pool_to_mean", "legalize_for_target", "neg_square_to_mul", "decompose_prelu"),
    *("sorting_layers_to_float", "split_v_to_slice", "sum_of_squares_to_matmul", "take_pixel_inputs"),
}
"""Or decided by what the target's own table says, rather than by XNNPACK."""


@pytest.mark.parametrize("each", PASSES, ids=lambda each: each.function.__name__)
def test_what_is_done_for_xnnpack_is_done_for_no_other_target(each):
    if each.function.__name__ not in FOR_EVERY_TARGET:
        assert {name for name, target in TARGETS.items() if each.when(target)} == {"portable", "xnnpack"}


def many_passes():
    """A model in which nearly all passes find something."""
    image = keras.Input((24, 24, 3), name="image")
    x = layers.Conv2D(3, 3, strides=2, padding="same")(layers.Rescaling(1 / 127.5, -1)(image))
    x = prelu([-0.7, 0.0, 0.3, 1.0])(conv_bn(x, 4, activation=layers.Activation("hard_swish")))
    y = [layers.Conv2D(n, 3, padding="same")(x) for n in (2, 2, 1, 1, 1)]
    y = layers.BatchNormalization()(layers.Concatenate()([x, *y]))
    y = layers.LeakyReLU(0.1)(layers.Conv2D(6, 1)(prelu([0.1] * 11)(y)))
    first, second = keras.ops.split(layers.Activation("softplus")(y), [2], axis=-1)
    x = layers.Concatenate()([layers.GroupNormalization(2)(second), -first])
    x = layers.Add()([x, layers.ReLU()(x)])
    x = layers.BatchNormalization()(layers.Conv2DTranspose(4, 2, strides=2)(x))
    x = layers.DepthwiseConv2D(7, padding="same")(layers.Activation("softsign")(x))
    x = layers.MaxPooling2D(1, strides=2)(layers.AveragePooling2D(3, strides=1, padding="same")(x))
    x = layers.AveragePooling2D(12)(x)
    x = x / (keras.ops.sqrt(keras.ops.sum(keras.ops.square(x), axis=-1, keepdims=True)) + 0.5)
    return settle(keras.Model(image, layers.Dense(5)(layers.Flatten()(x))), values=(0.0, 255.0))


def test_the_file_is_one_after_each_pass_for_every_target():
    """And each pass changed something for one target or another, or this shows nothing of it."""
    planned = plan(many_passes(), None, checked_options(inference_input_type="uint8"))
    lowered = lower(planned.rescaled)
    changed = set()
    for target in TARGETS.values():
        flat = FlatModel(lowered.content)
        give_a_bias_four_axes(flat)
        check_invariants(flat)
        changed |= run_each(STRUCTURAL_PASSES, flat, flat, target)
        options = replace(planned.options, target=target)
        targeted = replace(planned, options=options)
        state = file_state(targeted, lowered, flat)
        changed |= run_each(FUNCTION_PASSES, state, flat, target)
        state.ranges = file_ranges(flat, state.ranges)
        changed |= run_each(RANGE_PASSES, state, flat, target)
        assert state.ranges.keys() >= set(flat.activations())
        integer = integer_file(targeted, state, chosen_tensor_ranges(targeted, state))
        changed |= run_each(INTEGER_PASSES, integer, integer.flat, target)
    # one only asks for float operators
    assert changed == {each.function.__name__ for each in PASSES} - {"sorting_layers_to_float"}


def give_a_bias_four_axes(flat):
    """As the converter does in networks that are harder to come by."""
    (operator,) = (o for o in flat.operators if flat.kind(o) == "TRANSPOSE_CONV")
    bias = flat.tensor(int(operator.inputs[3]))
    bias.shape = np.array([1, 1, 1, *bias.shape], np.int32)


def run_each(group, subject, flat, target):
    """Runs passes one by one; returns the names of those that changed the file."""
    changed = set()
    for each in group:
        before = flat.content()
        run_passes([each], subject, target)
        check_invariants(flat)
        if flat.content() != before:
            changed.add(each.function.__name__)
    return changed


def two_producers(b):
    first = b.op("RELU", [0], (1, 4))
    b.op("RELU", [0], (1, 4))
    flat = b.file(first)
    flat.operators[1].outputs = flat.operators[0].outputs
    return flat


def late_producer(b):
    first = b.op("RELU", [0], (1, 4))
    flat = b.file(b.op("RELU", [first], (1, 4)))
    flat.subgraph.operators = flat.operators[::-1]
    return flat


def dangling(b):
    flat = b.file(b.op("RELU", [0], (1, 4)))
    flat.operators[0].inputs = np.int32([7])
    return flat


def missing_output(b):
    flat = b.file(b.op("RELU", [0], (1, 4)))
    flat.subgraph.operators = []
    return flat


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (two_producers, "two producers"),
        (late_producer, "not there yet"),
        (dangling, "leads nowhere"),
        (missing_output, "nothing computes"),
    ],
)
def test_the_invariants_notice_broken_files(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_invariants(broken(FileBuilder((1, 4))))


def square_of_a_pool(b):
    """The mean of squares of a normalization that Keras and the converter write by a square and a pool."""
    square = b.op("SQUARE", [0], (1, 4, 4, 3))
    pool = schema.Pool2DOptionsT(filterHeight=4, filterWidth=4, strideH=4, strideW=4, padding=1)
    return b.op("AVERAGE_POOL_2D", [square], (1, 1, 1, 3), table=pool)


def test_what_one_pass_leaves_is_what_the_next_looks_for():
    """SQUARE and AVERAGE_POOL_2D -> MUL and MEAN -> BATCH_MATMUL; its last MUL -> DEPTHWISE_CONV_2D."""
    b = FileBuilder((1, 4, 4, 3))
    flat = b.file(square_of_a_pool(b))
    before = flat.content()
    run_passes(STRUCTURAL_PASSES, flat, TARGETS["portable"])
    assert {"BATCH_MATMUL", "DEPTHWISE_CONV_2D"} <= set(kinds(flat))
    assert not {"SQUARE", "MUL", "MEAN", "AVERAGE_POOL_2D"} & set(kinds(flat))
    check_same_function(before, flat)
    check_invariants(flat)


def test_a_target_with_a_prelu_of_its_own_keeps_it():
    b = FileBuilder((1, 4, 4, 3))
    norm = b.op("MUL", [0, b.constant([1.0, 2.0, 3.0])], (1, 4, 4, 3))
    flat = b.file(b.op("PRELU", [norm, b.constant(np.float32([0.1, 0.2, 0.3]).reshape(1, 1, 3))], (1, 4, 4, 3)))
    content = flat.content()
    run_passes(STRUCTURAL_PASSES, flat, replace(TARGETS["portable"], native_prelu=True))
    assert kinds(flat) == ["DEPTHWISE_CONV_2D", "PRELU"]
    flat = FlatModel(content)
    run_passes(STRUCTURAL_PASSES, flat, TARGETS["portable"])
    assert kinds(flat) == ["DEPTHWISE_CONV_2D", "DEPTHWISE_CONV_2D", "ADD"]
    assert flat.operators[1].builtinOptions.fusedActivationFunction == RELU
    run_passes(FUNCTION_PASSES, state_of(flat), TARGETS["portable"])
    assert kinds(flat) == ["DEPTHWISE_CONV_2D", "DEPTHWISE_CONV_2D", "ADD"]

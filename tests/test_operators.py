"""The operator table: that it is complete, and that LiteRT, litert-quantizer and TFLiteConverter say the same."""

import ast
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from litert_quantizer import default_policy, qtyping

from spiq_tf.distributions.values import ChannelRanges, Source
from spiq_tf.quantization.bit_width import INT8
from spiq_tf.targets import TARGETS
from spiq_tf.targets.target import EVERY_RUNTIME_LIMITS
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.operators.operator import Quantizer, Scales
from spiq_tf.tflite.operators.table import OPERATORS
from spiq_tf.tflite.ranges.interval_arithmetic import file_ranges
from spiq_tf.tflite.scale_assignment.assign import assign_tensor_ranges
from spiq_tf.tflite.silence import silence
from spiq_tf.tflite.writing import litert_quantizer
from spiq_tf.tflite.writing.complete_int8 import complete_int8
from spiq_tf.tflite.writing.op_versions import set_lowest_versions
from tests.flat import FileBuilder

SOURCES = Path(__file__).parents[1] / "spiq_tf" / "tflite"


def emitted():
    """Operators that the passes and the writing make."""
    trees = [ast.parse(path.read_text()) for path in SOURCES.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {n.attr for n in nodes if isinstance(n.value, ast.Attribute) and n.value.attr == "BuiltinOperator"}


def test_every_operator_that_a_target_lists_has_a_row():
    assert set().union(*(target.operators or () for target in TARGETS.values())) <= set(OPERATORS)


def test_every_operator_that_the_conversion_makes_has_a_row():
    assert {"MUL", "GATHER", "QUANTIZE", "RESHAPE", "GELU"} <= emitted() <= set(OPERATORS)


def test_every_row_is_an_operator_of_the_schema():
    assert set(OPERATORS) <= set(vars(schema.BuiltinOperator))


@pytest.mark.parametrize("kind", OPERATORS)
def test_rows_are_whole(kind):
    row = OPERATORS[kind]
    tied = row.scales in (Scales.SAME, Scales.FIXED)
    assert row.range_rule is not None or not (tied or row.quantizer is Quantizer.COMPLETE_INT8)
    assert (INT8 in row.fixed_output) == (row.scales is Scales.FIXED)
    assert (row.layout is None) == (row.weights_operand is None) == (row.quantized_dimension is None)
    assert (row.bias_operand is None) == (row.weights_operand is None)
    if tied or row.quantizer is Quantizer.COMPLETE_INT8 or row.int8_elementwise:
        assert INT8 in row.versions


def test_the_quantizer_of_each_row_is_the_one_that_knows_it():
    """The oracle is litert-quantizer's own policy; of DIV its file would ignore the scales."""
    policy = json.loads(default_policy.DEFAULT_JSON_POLICY)
    other = {"INPUT", "OUTPUT", "STABLEHLO_COMPOSITE", "DYNAMIC_UPDATE_SLICE", "DIV"}
    known = {qtyping.TFLOperationName(name) for name in set(policy["ops_per_config"]["static_wi8_ai8"]) - other}
    rows = litert_quantizer.quantizer_rows()
    assert known == {name for name, row in rows.items() if row.quantizer is Quantizer.LITERT_QUANTIZER}
    assert len(known) == sum(row.quantizer is Quantizer.LITERT_QUANTIZER for row in OPERATORS.values())


MAP = (1, 4, 4, 3)
LOW, HIGH = np.array([-1.0, -0.25, 0.5]), np.array([2.0, 0.75, 3.0])


@dataclass
class Case:
    """An operator on one or two feature maps, by the constants after them, its outputs' shapes and its options.

    Attributes:
        reaches: whether the ends of the range rule are met by values of the inputs' ranges.
        first: constants before them.
    """

    kind: str
    constants: tuple = ()
    shapes: tuple = (MAP,)
    options: object = None
    inputs: int = 1
    input_shape: tuple = MAP
    reaches: bool = True
    first: tuple = ()
    version: int = 1

    def build(self):
        b = FileBuilder(*[self.input_shape] * self.inputs)
        before = [b.constant(value, np.asarray(value).dtype) for value in self.first]
        constants = [b.constant(value, np.asarray(value).dtype) for value in self.constants]
        made = b.op(
            self.kind,
            [*before, *range(self.inputs), *constants],
            *self.shapes,
            table=self.options,
            version=self.version,
        )
        flat = b.file(*(made if isinstance(made, list) else [made]))
        flat.model.signatureDefs = []  # litert-quantizer asks for them where it leaves all float
        return flat


def ints(*values):
    return np.array(values, np.int32)


POOL = schema.Pool2DOptionsT(padding=1, strideH=2, strideW=2, filterHeight=2, filterWidth=2)
REDUCE = schema.ReducerOptionsT(keepDims=False)
HALF = ((1, 2, 2, 3),)
CASES = [
    Case("ADD", inputs=2, options=schema.AddOptionsT()),
    Case("SUB", inputs=2, options=schema.SubOptionsT()),
    Case("MUL", inputs=2, options=schema.MulOptionsT()),
    Case("MAXIMUM", inputs=2, options=schema.MaximumMinimumOptionsT()),
    Case("MINIMUM", inputs=2, options=schema.MaximumMinimumOptionsT()),
    Case("MEAN", (ints(1, 2),), ((1, 3),), REDUCE),
    Case("REDUCE_MAX", (ints(1, 2),), ((1, 3),), REDUCE),
    Case("REDUCE_MIN", (ints(3),), ((1, 4, 4),), REDUCE, reaches=False),
    Case("AVERAGE_POOL_2D", shapes=HALF, options=POOL),
    Case("MAX_POOL_2D", shapes=HALF, options=POOL),
    Case("RESIZE_BILINEAR", (ints(8, 8),), ((1, 8, 8, 3),), schema.ResizeBilinearOptionsT()),
    Case("RESIZE_NEAREST_NEIGHBOR", (ints(8, 8),), ((1, 8, 8, 3),), schema.ResizeNearestNeighborOptionsT()),
    Case("BROADCAST_TO", (ints(2, 4, 4, 3),), ((2, 4, 4, 3),), schema.BroadcastToOptionsT(), version=2),
    Case("SPACE_TO_DEPTH", shapes=((1, 2, 2, 12),), options=schema.SpaceToDepthOptionsT(blockSize=2)),
    Case(
        "DEPTH_TO_SPACE",
        shapes=((1, 8, 8, 3),),
        options=schema.DepthToSpaceOptionsT(blockSize=2),
        input_shape=(1, 4, 4, 12),
    ),
    Case("GATHER", (ints(2, 0),), ((1, 4, 4, 2),), schema.GatherOptionsT(axis=3)),
    Case("GATHER_ND", (np.array([[0, 1], [0, 3]], np.int32),), ((2, 4, 3),), schema.GatherNdOptionsT()),
    Case("MIRROR_PAD", (ints([0, 0], [1, 1], [1, 1], [0, 0]),), ((1, 6, 6, 3),), schema.MirrorPadOptionsT()),
    Case("PAD", (ints([0, 0], [1, 1], [1, 1], [0, 0]),), ((1, 6, 6, 3),), schema.PadOptionsT()),
    Case(
        "PADV2",
        (ints([0, 0], [1, 1], [1, 1], [0, 0]), np.array(4.0, np.float32)),
        ((1, 6, 6, 3),),
        schema.PadV2OptionsT(),
    ),
    Case("RESHAPE", (ints(1, 16, 3),), ((1, 16, 3),), schema.ReshapeOptionsT(newShape=[1, 16, 3])),
    Case("REVERSE_V2", (ints(1),), options=schema.ReverseV2OptionsT()),
    Case("SLICE", (ints(0, 1, 0, 0), ints(1, 2, 4, 3)), ((1, 2, 4, 3),), schema.SliceOptionsT()),
    Case(
        "STRIDED_SLICE",
        (ints(0, 0, 0, 0), ints(1, 4, 4, 3), ints(1, 2, 2, 1)),
        HALF,
        schema.StridedSliceOptionsT(),
    ),
    Case("TILE", (ints(1, 2, 1, 1),), ((1, 8, 4, 3),), schema.TileOptionsT()),
    Case("TRANSPOSE", (ints(0, 3, 1, 2),), ((1, 3, 4, 4),), schema.TransposeOptionsT()),
    Case("UNPACK", shapes=((1, 4, 3),) * 4, options=schema.UnpackOptionsT(num=4, axis=1)),
    Case("SPLIT", shapes=((1, 4, 2, 3),) * 2, options=schema.SplitOptionsT(numSplits=2), first=(ints(2)[0],)),
    Case("CONCATENATION", inputs=2, shapes=((1, 4, 4, 6),), options=schema.ConcatenationOptionsT(axis=3)),
    Case("PACK", inputs=2, shapes=((2, 1, 4, 4, 3),), options=schema.PackOptionsT(valuesCount=2, axis=0)),
    Case(
        "SPACE_TO_BATCH_ND",
        (ints(2, 2), ints([1, 1], [1, 1])),
        ((4, 3, 3, 3),),
        schema.SpaceToBatchNDOptionsT(),
    ),
    Case(
        "BATCH_TO_SPACE_ND",
        (ints(2, 2), ints([0, 0], [0, 0])),
        ((1, 8, 8, 3),),
        schema.BatchToSpaceNDOptionsT(),
        input_shape=(4, 4, 4, 3),
    ),
    Case("ELU"),
    Case("LEAKY_RELU", options=schema.LeakyReluOptionsT(alpha=0.3)),
    Case("PRELU", (np.array([[[0.25, -1.5, 0.5]]], np.float32),)),
    Case("RELU"),
    Case("RELU6"),
    Case("RELU_0_TO_1"),
    Case("L2_NORMALIZATION", options=schema.L2NormOptionsT(), reaches=False),
    Case("LOG_SOFTMAX", options=schema.LogSoftmaxOptionsT(), reaches=False),
    Case("LOGISTIC", reaches=False),
    Case("SOFTMAX", options=schema.SoftmaxOptionsT(beta=1.0), reaches=False),
    Case("TANH", reaches=False),
]
FLOAT_ONLY = [
    Case("LEAKY_RELU", options=schema.LeakyReluOptionsT(alpha=-0.5), reaches=False),
    Case("RELU_N1_TO_1"),
    Case("EXPAND_DIMS", (ints(1)[0],), ((1, 1, 4, 4, 3),), schema.ExpandDimsOptionsT()),
    Case("SQUEEZE", shapes=((4, 4, 3),), options=schema.SqueezeOptionsT(squeezeDims=[0])),
    Case("SPLIT_V", (ints(1, 3), ints(2)[0]), ((1, 4, 1, 3), (1, 4, 3, 3)), schema.SplitVOptionsT(numSplits=2)),
]


def name_of(case):
    return case.kind


def input_ranges(flat):
    channels = flat.shape(0)[-1] // len(LOW)
    return {
        int(i): ChannelRanges(np.tile(LOW, channels), np.tile(HIGH, channels), Source.GIVEN)
        for i in flat.subgraph.inputs
    }


def test_every_rule_is_tried():
    assert {case.kind for case in CASES + FLOAT_ONLY} == {k for k, row in OPERATORS.items() if row.range_rule}


@pytest.mark.parametrize("case", CASES + FLOAT_ONLY, ids=name_of)
def test_range_rules_hold_what_litert_computes(case, random):
    """The oracle is the float kernel, on random values of the inputs' ranges and on their ends."""
    flat = case.build()
    known = input_ranges(flat)
    ranges = file_ranges(flat, known)
    interpreter = Interpreter(flat.content(), delegate=False)
    drawn = []
    for trial in range(24):
        values = [random.uniform(r.low, r.high, flat.shape(i)) for i, r in known.items()]
        share = (0.0, 1.0, 0.5)[trial % 3]
        ends = [np.where(random.random(flat.shape(i)) < share, r.low, r.high) for i, r in known.items()]
        drawn.append(interpreter.run(values if trial % 4 == 3 else ends))
    for output, each in zip(map(int, flat.subgraph.outputs), zip(*drawn, strict=True), strict=True):
        own = ranges[output]
        assert np.all(np.stack(each) >= own.low - 1e-5)
        assert np.all(np.stack(each) <= own.high + 1e-5)
        if case.reaches:
            assert np.min(each) == pytest.approx(own.low.min(), abs=1e-5)
            assert np.max(each) == pytest.approx(own.high.max(), abs=1e-5)


@pytest.mark.parametrize("delegate", [False, True], ids=["kernels", "xnnpack"])
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_int8_kernels_take_the_rows_scales(case, delegate, random):
    """The int8 file of one operator against its float kernel on the same values: within one integer of the output."""
    flat = case.build()
    ranges = file_ranges(flat, input_ranges(flat))
    tensor_ranges = assign_tensor_ranges(flat, ranges, (), {}, EVERY_RUNTIME_LIMITS, {})
    quantized = litert_quantizer.quantize(flat, tensor_ranges, (), per_channel_dense=False)
    complete_int8(quantized, tensor_ranges, ())
    set_lowest_versions(quantized)
    assert {quantized.kind(o) for o in quantized.operators} == {case.kind}
    assert all(quantized.dtype(i) == np.int8 for i in quantized.activations())
    check_ties(quantized)
    grid = [quantized.quantization(int(i)) for i in quantized.subgraph.inputs]
    values = [random.uniform(r.low, r.high, flat.shape(i)) for i, r in input_ranges(flat).items()]
    values = [p.dequantize(p.quantize(v)) for p, v in zip(grid, values, strict=True)]
    expected = Interpreter(flat.content(), delegate=False).run(values)
    found = Interpreter(quantized.content(), delegate=delegate).run(values)
    for index, x, y in zip(map(int, quantized.subgraph.outputs), expected, found, strict=True):
        parameters = quantized.quantization(index)
        assert np.abs(np.clip(x, parameters.low, parameters.high) - y).max() <= 1.01 * parameters.scale


def check_ties(flat):
    """Scales of a file as the rows say."""
    for operator in flat.operators:
        row = flat.row(operator)
        tensors = [*flat.activation_inputs(operator), *map(int, operator.outputs)]
        parameters = [p for p in map(flat.quantization, tensors) if p is not None and p.bit_width == INT8]
        if row.scales is Scales.SAME:
            assert len(set(parameters)) <= 1, flat.kind(operator)
        if row.scales is Scales.FIXED:
            assert parameters[-1] == row.fixed_output[INT8], flat.kind(operator)


def functions(x, y):
    """Most operators of the table, as TensorFlow writes them; x and y of shape (1, 8, 8, 4)."""
    maps = [tf.nn.conv2d(v, tf.ones((1, 1, 4, 4)) * 0.3, 1, "SAME") for v in (x, y)]
    a, b = maps
    return [
        *(a + b, a - 2.0 * b, a * b, tf.maximum(a, b), tf.minimum(a, b)),
        *(tf.reduce_mean(a, [1, 2]), tf.reduce_max(a, [1, 2]), tf.reduce_min(a, 3), tf.reduce_sum(a, [1, 2])),
        *(tf.nn.avg_pool2d(a, 2, 2, "VALID"), tf.nn.max_pool2d(b, 2, 2, "VALID")),
        *(tf.image.resize(a, (16, 16)), tf.image.resize(a, (16, 16), "nearest")),
        *(tf.concat([a, b], 3), tf.stack([a, b]), *tf.split(a, 2, 3), *tf.unstack(b, axis=1)[:2]),
        *(tf.pad(a, [[0, 0], [1, 1], [1, 1], [0, 0]]), tf.pad(a, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT")),
        *(tf.pad(a, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=9.0), tf.gather(a, [2, 0], axis=3)),
        *(tf.nn.space_to_depth(a, 2), tf.nn.depth_to_space(a, 2), tf.tile(a, [1, 2, 1, 1]), a[:, 1:5, ::2]),
        *(tf.transpose(a, [0, 3, 1, 2]), tf.reshape(a, (1, 64, 4)), tf.reverse(a, [1])),
        *(tf.nn.softmax(a), tf.nn.log_softmax(a), tf.sigmoid(a), tf.tanh(b), tf.nn.l2_normalize(a, 3)),
        *(tf.nn.elu(a), tf.nn.leaky_relu(b, 0.3), tf.nn.relu6(3 * a), tf.nn.gelu(b, approximate=True)),
        tf.math.squared_difference(a, b),
    ]


def test_ties_and_fixed_outputs_are_those_of_tensorflows_converter():
    """What the converter's own int8 file ties is tied in the table, and nothing else."""
    signature = [tf.TensorSpec((1, 8, 8, 4), tf.float32)] * 2
    concrete = tf.function(functions, input_signature=signature, autograph=False).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    random = np.random.default_rng(0)
    examples = [[s * random.normal(0.2, 1, (1, 8, 8, 4)).astype(np.float32) for s in (1.0, 1.7)] for _ in range(8)]
    converter.representative_dataset = lambda: iter(examples)
    converter.inference_input_type = converter.inference_output_type = tf.int8
    with silence():
        flat = FlatModel(converter.convert())
    # the kernel of REVERSE_V2 copies integers: what the converter writes of its output's scale is wrong
    flat.subgraph.operators = [operator for operator in flat.operators if flat.kind(operator) != "REVERSE_V2"]
    check_ties(flat)
    differ, integer = set(), set()
    for operator in flat.operators:
        tensors = [*flat.activation_inputs(operator), *map(int, operator.outputs)]
        if all(flat.dtype(i) == np.int8 for i in tensors):
            integer.add(flat.kind(operator))
            if len({flat.quantization(i) for i in tensors}) > 1:
                differ.add(flat.kind(operator))
    assert differ == {kind for kind in integer if OPERATORS[kind].scales is not Scales.SAME}
    assert len(integer) > 35


def test_tensors_of_one_name_keep_their_own_ranges():
    """litert-quantizer knows tensors by their names; two of one name would share the last one's range."""
    b = FileBuilder(MAP)
    total = b.op("ADD", [b.op("ADD", [0, 0], MAP), 0], MAP)
    flat = b.file(total)
    for index in (1, 2):
        flat.tensor(index).name = b"twice"
    known = {i: ChannelRanges(-k * np.ones(1), k * np.ones(1), Source.GIVEN) for i, k in enumerate((1.0, 2.0, 3.0))}
    tensor_ranges = assign_tensor_ranges(flat, known, (), {}, EVERY_RUNTIME_LIMITS, {})
    quantized = litert_quantizer.quantize(flat, tensor_ranges, (), per_channel_dense=False)
    for index, expected in tensor_ranges.items():
        assert quantized.quantization(index) == expected.quantization

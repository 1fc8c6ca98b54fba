"""What the LiteRT 8-bit quantization specification and the runtimes demand of an int8 file, on the small networks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.silence import silence
from spiq_tf.tflite.writing.op_versions import lowest_version
from tests import tiers
from tests.conversions import converted
from tests.layer_table import TABLE
from tests.networks import NETWORKS
from tests.tiers import ROWS, with_fast

SAME_SCALE = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION", "RESHAPE", "PAD")
FIXED = {"LOGISTIC": (1 / 256, -128), "SOFTMAX": (1 / 256, -128), "TANH": (1 / 128, 0)}
KERNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": None}


@pytest.fixture(params=with_fast(NETWORKS, tiers.NETWORKS))
def name(request):
    return request.param


@pytest.fixture
def flat(name):
    return FlatModel(converted(name))


def quantization(flat, index):
    found = flat.tensor(index).quantization
    return np.asarray(found.scale, np.float64), np.asarray(found.zeroPoint)


def test_every_tensor_is_an_integer(flat):
    assert {flat.dtype(i) for i in range(len(flat.subgraph.tensors))} <= {np.int8, np.int32}


def test_nothing_is_left_over(flat):
    """Constants that another one took the place of, tensors of operators that are gone."""
    used = {int(i) for operator in flat.operators for i in (*operator.inputs, *operator.outputs)}
    assert used == set(range(len(flat.subgraph.tensors)))
    described = {entry.buffer for entry in flat.model.metadata}
    assert {flat.tensor(i).buffer for i in used} | described | {0} == set(range(len(flat.model.buffers)))


def test_weights_and_biases(flat):
    for operator in flat.operators:
        if flat.kind(operator) not in KERNELS:
            continue
        x, w, b = (int(i) for i in operator.inputs)
        axis = KERNELS[flat.kind(operator)]
        scales, zeros = quantization(flat, w)
        assert np.all(zeros == 0)
        assert len(scales) == (1 if axis is None else flat.shape(w)[axis])
        if axis is not None:
            assert flat.tensor(w).quantization.quantizedDimension == axis
        assert flat.value(w).min() >= -127
        bias_scales, bias_zeros = quantization(flat, b)
        assert flat.dtype(b) == np.int32
        assert np.all(bias_zeros == 0)
        np.testing.assert_allclose(bias_scales, quantization(flat, x)[0] * scales, rtol=1e-6)
        multiplier = bias_scales / quantization(flat, int(operator.outputs[0]))[0]
        assert np.all(multiplier < 256)


def test_operators_whose_ends_share_a_scale(flat):
    for operator in flat.operators:
        if flat.kind(operator) not in SAME_SCALE:
            continue
        ends = [int(i) for i in (*operator.inputs, *operator.outputs) if flat.dtype(int(i)) == np.int8]
        for index in ends[1:]:
            np.testing.assert_equal(quantization(flat, index), quantization(flat, ends[0]))


def test_operators_with_a_fixed_output(flat):
    for operator in flat.operators:
        if flat.kind(operator) in FIXED:
            scale, zero_point = quantization(flat, int(operator.outputs[0]))
            assert (scale[0], zero_point[0]) == FIXED[flat.kind(operator)]


def test_activations_have_one_scale_and_a_zero_point_in_int8(flat):
    for index in flat.activations():
        if flat.dtype(index) == np.int8:
            scale, zero_point = quantization(flat, index)
            assert scale.shape == zero_point.shape == (1,)
            assert -128 <= zero_point[0] <= 127


def test_shapes_are_static(flat):
    kinds = {flat.kind(operator) for operator in flat.operators}
    assert not kinds & {"SHAPE", "STRIDED_SLICE", "PACK"}


def test_buffers_lie_at_multiples_of_16_bytes(name):
    content = converted(name)
    model = schema.Model.GetRootAs(content, 0)
    start = np.frombuffer(content, np.uint8).ctypes.data
    buffers = [model.Buffers(k) for k in range(model.BuffersLength())]
    places = [b.DataAsNumpy().ctypes.data - start for b in buffers if b.DataLength()]
    assert len(places) > 3
    assert {place % 16 for place in places} == {0}


def test_no_operator_code_is_left_over(flat):
    used = {operator.opcodeIndex for operator in flat.operators}
    assert used == set(range(len(flat.model.operatorCodes)))
    assert len({(code.builtinCode, code.version) for code in flat.model.operatorCodes}) == len(used)


VERSIONED = [row for row in TABLE if row.name not in ("unknown", "heads")]


@pytest.mark.parametrize("row", with_fast(VERSIONED, ROWS), ids=lambda r: r.name)
def test_versions_are_those_that_tensorflow_gives(row):
    """Oracle: the versioner in TensorFlow's own converter, on the operators of its own int8 file of the same layer."""
    inputs = [keras.Input((8, 8, 6), name=name, batch_size=1) for name in ("x", "y")]
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, row.apply(*inputs)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    noise = np.random.default_rng(0).uniform(-1, 1, (3, 2, 1, 8, 8, 6)).astype(np.float32)
    converter.representative_dataset = lambda: (list(each) for each in noise)
    converter.inference_input_type = converter.inference_output_type = tf.int8
    with silence():
        flat = FlatModel(converter.convert())
    found: dict[int, int] = {}  # operators of one kind share a code there, of the highest version
    for operator in flat.operators:
        code = operator.opcodeIndex
        found[code] = max(found.get(code, 0), lowest_version(flat, operator))
    assert found == {code: flat.model.operatorCodes[code].version for code in found}

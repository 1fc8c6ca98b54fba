"""Neighbors along the stride of a convolution over few channels become channels, on files made by hand."""

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.tflite.passes.strides_into_channels import strides_into_channels
from tests.flat import FileBuilder, kinds
from tests.integer_files import check_left_alone, check_rewritten, integer_state

pytestmark = pytest.mark.fast

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID


def convolution(shape, kernel, strides, padding, dilation=1):
    """A file of one convolution to 5 channels."""
    random = np.random.default_rng(0)
    b = FileBuilder((1, *shape))
    weights = b.constant(random.normal(size=(5, *kernel, shape[-1])))
    span = [dilation * (k - 1) + 1 for k in kernel]
    ends = [-(-n // s) if padding == SAME else (n - k) // s + 1 for n, k, s in zip(shape, span, strides, strict=False)]
    options = schema.Conv2DOptionsT(padding=padding, strideH=strides[0], strideW=strides[1])
    options.dilationHFactor = options.dilationWFactor = dilation
    y = b.op("CONV_2D", [0, weights, b.constant(random.normal(size=5))], (1, *ends, 5), table=options)
    return integer_state(b.file(y), {0: (-1.0, 2.0), y: (-9.0, 11.0)})


@pytest.mark.parametrize(
    ("shape", "kernel", "strides", "padding", "taps"),
    [
        ((12, 16, 3), (3, 3), (2, 2), SAME, (3, 2)),
        ((12, 16, 3), (3, 3), (2, 2), VALID, (3, 2)),
        ((13, 16, 3), (5, 5), (2, 2), SAME, (5, 3)),
        ((11, 14, 3), (7, 7), (2, 2), SAME, (7, 4)),
        ((14, 14, 3), (7, 7), (2, 2), VALID, (7, 4)),
        ((12, 16, 4), (2, 2), (2, 2), SAME, (2, 1)),
        ((12, 16, 1), (3, 4), (1, 2), SAME, (3, 3)),
        ((9, 16, 2), (3, 4), (1, 4), VALID, (3, 1)),
        ((80, 1, 1), (20, 1), (4, 1), SAME, (5, 1)),
        ((1, 80, 1), (1, 9), (1, 4), VALID, (1, 3)),
        ((1, 81, 2), (1, 9), (1, 3), SAME, (1, 3)),
    ],
)
def test_not_an_integer_changes(shape, kernel, strides, padding, taps):
    state = convolution(shape, kernel, strides, padding)
    inputs = [np.random.default_rng(1).uniform(-1.0, 2.0, (1, *shape))]
    check_rewritten(state, strides_into_channels, inputs)
    assert kinds(state.flat) == ["RESHAPE", "CONV_2D"]
    assert state.flat.shape(int(state.flat.operators[-1].inputs[1]))[1:3] == taps


@pytest.mark.parametrize(
    ("shape", "kernel", "strides", "padding", "dilation"),
    [
        ((12, 15, 3), (3, 3), (2, 2), SAME, 1),
        ((12, 16, 3), (3, 3), (2, 1), SAME, 1),
        ((12, 16, 8), (3, 3), (2, 2), SAME, 1),
        ((12, 16, 3), (3, 3), (1, 1), SAME, 2),
        ((12, 18, 2), (3, 1), (1, 3), SAME, 1),
    ],
    ids=["odd width", "stride along the height", "many channels", "dilated", "one tap"],
)
def test_others_are_left_alone(shape, kernel, strides, padding, dilation):
    check_left_alone(convolution(shape, kernel, strides, padding, dilation), strides_into_channels)


def test_several_groups_of_channels_are_left_alone():
    state = convolution((12, 16, 2), (3, 3), (2, 2), SAME)
    operator = state.flat.operators[0]
    weights = state.flat.value(int(operator.inputs[1]))[..., :1]
    index = state.flat.add_constant("grouped", weights)
    state.flat.tensor(index).quantization = state.flat.tensor(int(operator.inputs[1])).quantization
    operator.inputs[1] = index
    check_left_alone(state, strides_into_channels)


def test_the_batch_may_be_resized():
    """As that of a file without the pass."""
    state = convolution((12, 16, 3), (3, 3), (2, 2), SAME)
    image = np.random.default_rng(1).integers(-128, 128, (12, 16, 3)).astype(np.int8)
    strides_into_channels(state)
    outputs = []
    for batch in (1, 3):
        interpreter = litert.Interpreter(model_content=state.flat.content(), num_threads=1)
        interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], [batch, 12, 16, 3])
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.stack([image] * batch))
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    np.testing.assert_array_equal(outputs[1], np.concatenate([outputs[0]] * 3))

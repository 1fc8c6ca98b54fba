"""Additions whose addends and sum have one scale."""

import keras
import numpy as np
import pytest
from keras import layers
from scipy.cluster.hierarchy import DisjointSet

import spiq_tf
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.search.noise_terms import PredictedNoise
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.scale_assignment.equal_scale_add import equalize_add_scales
from tests.converted_files import lowered
from tests.networks import RANGE, conv_bn, settle

pytestmark = pytest.mark.fast


def trunk(merge=layers.Add):
    """Residual blocks without an activation after the addition, as of MobileNetV2."""
    image = keras.Input((12, 12, 3), name="image")
    x = conv_bn(image, 8)
    for _ in range(4):
        x = merge()([x, conv_bn(conv_bn(x, 16, activation=layers.ReLU()), 8)])
    x = layers.GlobalAveragePooling2D()(conv_bn(x, 12, activation=layers.ReLU()))
    return settle(keras.Model(image, layers.Dense(5)(x)))


def additions(flat):
    return [o for o in flat.operators if flat.kind(o) in ("ADD", "SUB") and len(flat.activation_inputs(o)) == 2]


def shared(flat, operator):
    scales = [flat.quantization(int(i)).scale for i in (*operator.inputs, *operator.outputs)]
    return np.ptp(scales) <= 1e-6 * max(scales)


@pytest.mark.parametrize("delegate", [True, False])
@pytest.mark.parametrize(("merge", "kind", "sign"), [(layers.Add, "ADD", 1), (layers.Subtract, "SUB", -1)])
def test_sum_is_that_of_the_integers(merge, kind, sign, delegate, random):
    """Whatever the zero points, to the last bit, by both kernels."""
    flat = FlatModel(spiq_tf.convert(trunk(merge), input_range=RANGE))
    found = [operator for operator in additions(flat) if shared(flat, operator)]
    assert len(found) >= 2
    for operator in found:
        assert flat.kind(operator) == kind
        inputs, (output,) = flat.activation_inputs(operator), operator.outputs
        parameters = [flat.quantization(int(i)) for i in (*inputs, output)]
        scale, zeros = parameters[0].scale, [p.zero_point for p in parameters]
        interpreter = Interpreter(flat.part([operator], inputs, [output]).content(), delegate=delegate)
        values = [random.integers(-128, 128, flat.shape(i)) for i in inputs]
        (y,) = interpreter.run([(v - z) * scale for v, z in zip(values, zeros[:2], strict=True)])
        expected = np.clip(values[0] - zeros[0] + sign * (values[1] - zeros[1]) + zeros[2], -128, 127)
        np.testing.assert_array_equal(np.rint(y / scale) + zeros[2], expected)


def test_methods_as_published_leave_scales_apart():
    for method in ("spiq", "dfq"):
        flat = FlatModel(spiq_tf.convert(trunk(), input_range=RANGE, method=method))
        assert not any(shared(flat, operator) for operator in additions(flat))


def test_a_range_of_the_users_is_not_moved():
    model = trunk()
    (first, *_) = (layer.name for layer in model.layers if isinstance(layer, layers.Add))
    result = spiq_tf.quantize(model, input_range=RANGE, ranges={first: (-2.0, 3.0)})
    (found,) = (t for t in result.tensors if t.layer == first)
    assert found.scale == pytest.approx(5 / 255, rel=1e-6)


@pytest.fixture(scope="module")
def addition():
    """A float file with one addition, and the indices of its addends and sum."""
    image = keras.Input((6, 6, 3), name="image")
    model = keras.Model(image, layers.Conv2D(2, 1)(layers.Add()([conv_bn(image, 4), conv_bn(image, 4)])))
    flat = lowered(settle(model)).flat
    (operator,) = additions(flat)
    return flat, [*map(int, operator.inputs), int(operator.outputs[0])]


def steps(addition, widths, noise):
    """What the three tensors' scales are made, given as widths of ranges about 0 whose zero points are no ties."""
    flat, indices = addition
    intervals = {i: TensorRange(-w / 4, 3 * w / 4) for i, w in zip(indices, widths, strict=True)}
    given = {i: n for i, n in zip(indices, noise, strict=True) if n is not None}
    found = equalize_add_scales(flat, intervals, DisjointSet(indices), given)
    assert all(found[i].quantization.zero_point == intervals[i].quantization.zero_point for i in indices)
    return [found[i].high * 4 / 3 for i in indices]


def test_scale_is_that_of_the_least_noise(addition):
    """Against a search over all widths, with clipping noise as the powers of the width that balance the rounding."""
    widths, rounding, cutting = np.array([1.0, 1.3, 1.6]), np.array([2.0, 1.0, 5.0]), np.array([0.6, 0.5, 1.5])
    found = steps(addition, widths, [PredictedNoise(r, c) for r, c in zip(rounding, cutting, strict=True)])
    width = np.linspace(0.8, 2, 100_001)[:, None]
    noise = np.array([1, 1, 0]) * rounding * (width / widths) ** 2
    noise = noise + cutting * (width / widths) ** (-2 * rounding / cutting)
    best = width[noise.sum(axis=1).argmin()]
    assert 1.0 < best < 1.6
    assert found == pytest.approx([float(best[0])] * 3, rel=1e-3)


def test_what_is_not_clipped_is_not_narrowed(addition):
    found = steps(
        addition, [1.0, 1.0, 1.2], [PredictedNoise(1.0, 0.3), PredictedNoise(1.0, 0.3), PredictedNoise(1.0, 0.0)]
    )
    assert found == [pytest.approx(1.2)] * 3


@pytest.mark.parametrize(
    "noise",
    [
        [PredictedNoise(1.0, 0.3), None, PredictedNoise(1.0, 0.3)],  # of which nothing is predicted
        [
            PredictedNoise(1.0, 0.3),
            PredictedNoise(50.0, 15.0),
            PredictedNoise(0.1, 0.03),
        ],  # more is lost than the sum's rounding
    ],
)
def test_scales_stay_apart(addition, noise):
    assert steps(addition, [1.2, 1.0, 1.4], noise) == pytest.approx([1.2, 1.0, 1.4], abs=1e-12)

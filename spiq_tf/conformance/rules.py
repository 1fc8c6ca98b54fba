"""The rules that a full-integer int8 file must keep to; each looks at one thing and yields what breaks it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.conformance.violation import Violation
from spiq_tf.targets import Target
from spiq_tf.tflite.flatbuffer import WEIGHTED_OPERATORS, FlatModel
from spiq_tf.tflite.operators import FIXED_OUTPUT, QUANTIZED_DIMENSION, SHARED_SCALE

Rule: TypeAlias = Callable[[FlatModel, Target], Iterator[Violation]]
_Array: TypeAlias = npt.NDArray[np.float64]

_AGAIN = "convert the model again with spiq_tf, or quantize this file anew"
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
_BIAS_TOLERANCE = 1e-5  # relative: products of float32 numbers
_LARGEST_ADDEND = 2.0**19  # of an input's scale over the output's: the multiplier of LiteRT's kernel is then below 1


@dataclass(frozen=True)
class _At:
    """An operator and its place."""

    flat: FlatModel
    place: int
    operator: Any

    @property
    def kind(self) -> str:
        return self.flat.kind(self.operator)

    @property
    def inputs(self) -> list[int]:
        return [] if self.operator.inputs is None else [int(i) for i in self.operator.inputs if i >= 0]

    @property
    def outputs(self) -> list[int]:
        return [] if self.operator.outputs is None else [int(i) for i in self.operator.outputs]

    @property
    def activations(self) -> list[int]:
        return [i for i in (*self.inputs, *self.outputs) if not self.flat.is_constant(i)]

    def breaks(self, rule: str, found: str, advice: str, tensor: int | None = None) -> Violation:
        index = next(iter(self.outputs), None) if tensor is None else tensor
        name = "" if index is None else self.flat.name(index)
        return Violation(rule, f"{self.place} {self.kind}", name, found, advice)


def _all(flat: FlatModel) -> Iterator[_At]:
    return (_At(flat, place, operator) for place, operator in enumerate(flat.operators))


def _quantization(flat: FlatModel, index: int) -> tuple[_Array, npt.NDArray[np.int64], int]:
    """Scales, as many zero points, and their axis; none where the tensor has none."""
    found = flat.tensor(index).quantization
    if found is None or found.scale is None or len(found.scale) == 0:
        return np.zeros(0), np.zeros(0, np.int64), 0
    whole = found.zeroPoint is not None and len(found.zeroPoint) == len(found.scale)
    zero_points = found.zeroPoint if whole else np.zeros(len(found.scale))
    return np.asarray(found.scale, np.float64), np.asarray(zero_points, np.int64), int(found.quantizedDimension)


def mapped_operators(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """The target has every operator, in the version that the file asks for."""
    for at in _all(flat):
        version = flat.model.operatorCodes[at.operator.opcodeIndex].version
        if not target.runs(at.kind) or at.kind == "CUSTOM":
            found = f"expected an operator that {target.name} has, found {at.kind}"
            yield at.breaks("operator", found, "replace the layer, or see that this part runs on the CPU")
            continue
        highest = target.highest_version(at.kind)
        if highest is not None and version > highest:
            found = f"expected version {highest} at most, found {version}"
            yield at.breaks("operator version", found, "write the lowest version that the operator needs")


def integer_operators(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """No operator computes in floats; they only enter and leave through QUANTIZE and DEQUANTIZE."""
    for at in _all(flat):
        floats = [i for i in at.activations if np.issubdtype(flat.dtype(i), np.floating)]
        if floats and at.kind not in _CONVERSIONS:
            found = f"expected integers, found {np.dtype(flat.dtype(floats[0])).name}"
            yield at.breaks("float operator", found, "quantize it, or accept a slow operator on the CPU", floats[0])


def static_shapes(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Every size but the batch is known, and the batch is one that the target takes."""
    for index, tensor in enumerate(flat.subgraph.tensors):
        open_sizes = [] if tensor.shapeSignature is None else [int(n) for n in tensor.shapeSignature]
        if any(n < 0 for n in open_sizes[1:]):
            found = f"expected known sizes, found {open_sizes}"
            yield Violation("static shapes", None, flat.name(index), found, "convert with fixed sizes")
        elif open_sizes and open_sizes[0] < 0 and index in flat.subgraph.inputs and not target.dynamic_batch:
            found = f"expected a fixed batch, found {open_sizes}"
            yield Violation("static shapes", None, flat.name(index), found, "convert with a fixed batch")
    for index in map(int, flat.subgraph.inputs):
        shape = flat.shape(index)
        if target.largest_batch is not None and shape and shape[0] > target.largest_batch:
            found = f"expected {target.largest_batch} at most, found {shape[0]}"
            yield Violation("batch", None, flat.name(index), found, "convert with batch_size=1")


def ranks(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """All axes but the last few have the length 1."""
    if target.largest_rank is None:
        return
    for at in _all(flat):
        for index in at.activations:
            if any(n > 1 for n in flat.shape(index)[: -target.largest_rank]):
                found = f"expected 1 for all but the last {target.largest_rank} axes, found {flat.shape(index)}"
                yield at.breaks("rank", found, "reshape so that fewer axes are longer than 1", index)


def activations(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Every int8 activation has one positive scale and a zero point in int8."""
    for index in flat.activations():
        if flat.dtype(index) != np.int8:
            continue
        scales, zero_points, _ = _quantization(flat, index)
        if len(scales) != 1 or not np.all(np.isfinite(scales)) or not np.all(scales > 0):
            found = f"expected one positive scale, found {scales.tolist()}"
            yield Violation("activation scale", None, flat.name(index), found, _AGAIN)
        elif not -128 <= zero_points[0] <= 127:
            found = f"expected -128 to 127, found {zero_points[0]}"
            yield Violation("zero point", None, flat.name(index), found, _AGAIN)


def weights(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Weights are symmetric and narrow, with a scale for each output or for all."""
    for at in _with_weights(flat):
        index = at.inputs[1]
        scales, zero_points, axis = _quantization(flat, index)
        if flat.dtype(index) != np.int8:
            found = f"expected int8, found {np.dtype(flat.dtype(index)).name}"
            yield at.breaks("weights", found, _AGAIN, index)
            continue
        if np.any(zero_points != 0) or flat.value(index).min() < -127:
            found = f"expected zero point 0 and -127 to 127, found {zero_points[0]} and {flat.value(index).min()}"
            yield at.breaks("symmetric weights", found, _AGAIN, index)
        expected = QUANTIZED_DIMENSION[at.kind]
        if len(scales) == 0 or not np.all(np.isfinite(scales)) or not np.all(scales > 0):
            found = f"expected positive scales, found {scales.tolist()}"
            yield at.breaks("weight scales", found, _AGAIN, index)
        elif len(scales) > 1 and (axis != expected or len(scales) != flat.shape(index)[expected]):
            found = (
                f"expected {flat.shape(index)[expected]} scales along axis {expected}, found {len(scales)} along {axis}"
            )
            yield at.breaks("weight scales", found, _AGAIN, index)
        elif len(scales) > 1 and at.kind == "FULLY_CONNECTED" and not target.per_channel_dense:
            found = f"expected one scale, found {len(scales)}: runtimes before 2024 compute wrong numbers"
            yield at.breaks("per-channel Dense", found, "convert with per_channel_dense=False", index)


def constants(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Constants that are no weights have one scale. Other kernels know no more: BATCH_MATMUL makes zeros of a constant
    with one for each channel."""
    for at in _all(flat):
        for index in at.inputs if at.kind not in WEIGHTED_OPERATORS else ():
            scales = _quantization(flat, index)[0]
            if flat.is_constant(index) and len(scales) > 1:
                yield at.breaks("constant scale", f"expected one scale, found {len(scales)}", _AGAIN, index)


def biases(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Biases are int32, their scale is input scale x weight scale."""
    for at in _with_weights(flat):
        place = flat.bias_operand(at.operator)
        if len(at.inputs) <= place:
            continue
        index = at.inputs[place]
        scales, zero_points, _ = _quantization(flat, index)
        if flat.dtype(index) != np.int32 or np.any(zero_points != 0):
            found = (
                f"expected int32 and zero point 0, found {np.dtype(flat.dtype(index)).name} and {zero_points.tolist()}"
            )
            yield at.breaks("bias", found, _AGAIN, index)
            continue
        product = _products(at)
        if len(product) == 0:
            continue  # the input or the weights have no scale, which is a violation of its own
        if len(scales) not in (1, len(product)) or not np.allclose(scales, product, rtol=_BIAS_TOLERANCE, atol=0.0):
            found = f"expected input scale x weight scale, {product[0]:.6g}, found {scales[:1].tolist()}"
            yield at.breaks("bias scale", found, _AGAIN, index)


def multipliers(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Fixed-point multipliers are such as the kernels can hold."""
    for at in _all(flat):
        output = _quantization(flat, at.outputs[0])[0] if at.outputs else np.zeros(0)
        if len(output) != 1 or output[0] <= 0:
            continue
        if at.kind in WEIGHTED_OPERATORS and target.largest_multiplier is not None:
            largest = float((_products(at) / output[0]).max(initial=0.0))
            if largest >= target.largest_multiplier:
                found = (
                    f"expected input x weight / output scale below {target.largest_multiplier:g}, found {largest:.4g}"
                )
                yield at.breaks("multiplier", found, "widen the output's range: XNNPACK refuses to start")
        elif at.kind in ("ADD", "SUB"):
            largest = max(float(_quantization(flat, i)[0].max(initial=0.0)) for i in at.inputs) / output[0]
            if largest >= _LARGEST_ADDEND:
                found = f"expected input / output scale below {_LARGEST_ADDEND:g}, found {largest:.4g}"
                yield at.breaks("multiplier", found, "widen the output's range: LiteRT ends the process")


def shared_scales(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Operators that only move or compare values keep scale and zero point."""
    for at in _all(flat):
        if at.kind not in SHARED_SCALE:
            continue
        expected = _quantization(flat, at.outputs[0])
        for index in (i for i in (*at.inputs, *at.outputs[1:]) if flat.dtype(i) == np.int8):
            found = _quantization(flat, index)
            if not (np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])):
                text = f"expected the output's scale and zero point, {_shown(expected)}, found {_shown(found)}"
                yield at.breaks("shared scale", text, _AGAIN, index)


def fixed_outputs(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Operators whose output scale is fixed have it."""
    for at in _all(flat):
        if at.kind in FIXED_OUTPUT and flat.dtype(at.outputs[0]) == np.int8:
            found, expected = _quantization(flat, at.outputs[0]), FIXED_OUTPUT[at.kind]
            if _shown(found) != f"{expected[0]:.6g} and {expected[1]}":
                text = f"expected {expected[0]:.6g} and {expected[1]}, found {_shown(found)}"
                yield at.breaks("fixed scale", text, _AGAIN)


def fused_activations(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Pools and concatenations end without an activation where the target takes none there."""
    for at in _all(flat) if not target.pools_fuse else ():
        pools = at.kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION")
        fused = getattr(at.operator.builtinOptions, "fusedActivationFunction", schema.ActivationFunctionType.NONE)
        if pools and fused != schema.ActivationFunctionType.NONE:
            yield at.breaks("fused activation", "expected none", "give the activation an operator of its own")


def slopes(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """PRELU has a slope for each channel, or one, where the target takes no more."""
    for at in _all(flat) if target.channel_slopes else ():
        if at.kind == "PRELU" and any(n > 1 for n in flat.shape(at.inputs[1])[:-1]):
            found = f"expected one for each channel, found {flat.shape(at.inputs[1])}"
            yield at.breaks("slopes", found, "share them between positions: PReLU(shared_axes=[1, 2])", at.inputs[1])


RULES: tuple[Rule, ...] = (
    mapped_operators,
    integer_operators,
    static_shapes,
    ranks,
    activations,
    weights,
    constants,
    biases,
    multipliers,
    shared_scales,
    fixed_outputs,
    fused_activations,
    slopes,
)


def _with_weights(flat: FlatModel) -> Iterator[_At]:
    """Operators with constant weights on int8 tensors."""
    for at in _all(flat):
        data = at.inputs[flat.data_operand(at.operator)] if at.inputs else -1
        if at.kind in WEIGHTED_OPERATORS and flat.dtype(data) == np.int8 and flat.is_constant(at.inputs[1]):
            yield at


def _products(at: _At) -> _Array:
    """Input scale x weight scale, one a channel or one for all."""
    data = at.inputs[at.flat.data_operand(at.operator)]
    given, weights_ = (_quantization(at.flat, index)[0] for index in (data, at.inputs[1]))
    return given[0] * weights_ if len(given) else np.zeros(0)


def _shown(found: tuple[_Array, npt.NDArray[np.int64], int]) -> str:
    return f"{found[0][0]:.6g} and {found[1][0]}" if len(found[0]) else "none"

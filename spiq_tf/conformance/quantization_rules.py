"""Rules of types, scales and zero points."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from spiq_tf.conformance.operation import (
    REQUANTIZE,
    int8_operations_with_weights,
    operations,
    quantization_of,
)
from spiq_tf.conformance.violation import Violation
from spiq_tf.quantization.bit_width import INT8, INT8_WEIGHT, INT16, INT32, BitWidth
from spiq_tf.targets import Target
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.operators.operator import Scales

_BIAS_TOLERANCE = 1e-5  # relative: products of float32 numbers
_LARGEST_ADDEND = 2.0**19
"""Input scale over output scale of an addition: the multiplier of LiteRT's kernel is then below 1."""

_PRECISIONS = {"w8a8": INT8, "w8a16": INT16}
"""Bit widths of activations, by the precisions that targets name."""


def activation_types(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Quantized activations have a type in which the target computes; inputs and outputs may have another where a
    QUANTIZE converts."""
    allowed = _activation_bit_widths(target)
    producers, consumers = flat.producers(), flat.all_consumers()
    ends = {*map(int, flat.subgraph.inputs), *map(int, flat.subgraph.outputs)}
    for index in flat.activations():
        dtype = flat.dtype(index)
        quantized = np.issubdtype(dtype, np.integer) and len(quantization_of(flat, index).scales) > 0
        if not quantized or dtype in allowed:
            continue
        around = [*consumers.get(index, ()), *([producers[index]] if index in producers else [])]
        if index not in ends or not all(flat.kind(operator) == "QUANTIZE" for operator in around):
            expected = " or ".join(np.dtype(t).name for t in allowed)
            found = f"expected {expected}, found {np.dtype(dtype).name}"
            yield Violation(rule="activation type", tensor=flat.name(index), found=found, advice=REQUANTIZE)


def activations(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Every activation of a type in which the target computes has one positive scale and a zero point among its
    integers."""
    bit_widths = _activation_bit_widths(target)
    for index in flat.activations():
        bit_width, quantization = bit_widths.get(flat.dtype(index)), quantization_of(flat, index)
        if bit_width is None:
            continue
        lowest, highest = (0, 0) if bit_width.symmetric else (bit_width.qmin, bit_width.qmax)
        if len(quantization.scales) != 1 or not quantization.is_valid:
            found = f"expected one positive scale, found {quantization.scales.tolist()}"
            yield Violation(rule="activation scale", tensor=flat.name(index), found=found, advice=REQUANTIZE)
        elif not lowest <= quantization.zero_points[0] <= highest:
            found = f"expected {lowest} to {highest}, found {quantization.zero_points[0]}"
            yield Violation(rule="zero point", tensor=flat.name(index), found=found, advice=REQUANTIZE)


def _activation_bit_widths(target: Target) -> dict[npt.DTypeLike, BitWidth]:
    """In which the target computes, by their types."""
    allowed = (bit_width for name, bit_width in _PRECISIONS.items() if name in target.precisions)
    return {bit_width.dtype: bit_width for bit_width in allowed}


def weights(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Weights are symmetric and narrow, with a scale for each output or for all."""
    lowest, highest = INT8_WEIGHT.qmin, INT8_WEIGHT.qmax
    for at in int8_operations_with_weights(flat):
        index, expected = at.weights, at.row.quantized_dimension
        quantization = quantization_of(flat, index)
        scales = quantization.scales
        if flat.dtype(index) != INT8_WEIGHT.dtype:
            found = f"expected int8, found {np.dtype(flat.dtype(index)).name}"
            yield at.breaks("weights", found, REQUANTIZE, index)
            continue
        if np.any(quantization.zero_points != 0) or flat.value(index).min() < lowest:
            found = (
                f"expected zero point 0 and {lowest} to {highest}, found {quantization.zero_points[0]} and"
                f" {flat.value(index).min()}"
            )
            yield at.breaks("symmetric weights", found, REQUANTIZE, index)
        outputs = 0 if expected is None else flat.shape(index)[expected]
        if not quantization.is_valid:
            yield at.breaks("weight scales", f"expected positive scales, found {scales.tolist()}", REQUANTIZE, index)
        elif len(scales) > 1 and (quantization.axis != expected or len(scales) != outputs):
            found = f"expected {outputs} scales along axis {expected}, found {len(scales)} along {quantization.axis}"
            yield at.breaks("weight scales", found, REQUANTIZE, index)
        elif len(scales) > 1 and at.row.optional_channel_scales and not target.per_channel_dense:
            found = f"expected one scale, found {len(scales)}: runtimes before 2024 compute wrong numbers"
            yield at.breaks("per-channel Dense", found, "convert with per_channel_dense=False", index)


def constants(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Constants that are no weights have one scale. Other kernels know no more: BATCH_MATMUL makes zeros of a constant
    with one for each channel."""
    for at in operations(flat):
        for index in at.inputs if at.row.weights_operand is None else ():
            scales = quantization_of(flat, index).scales
            if flat.is_constant(index) and len(scales) > 1:
                yield at.breaks("constant scale", f"expected one scale, found {len(scales)}", REQUANTIZE, index)


def biases(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Biases are int32, their scale is input scale x weight scale."""
    for at in int8_operations_with_weights(flat):
        index = flat.bias(at.operator)
        if index is None:
            continue
        quantization, dtype = quantization_of(flat, index), np.dtype(flat.dtype(index))
        if dtype != INT32.dtype or np.any(quantization.zero_points != 0):
            found = f"expected int32 and zero point 0, found {dtype.name} and {quantization.zero_points.tolist()}"
            yield at.breaks("bias", found, REQUANTIZE, index)
            continue
        scales, product = quantization.scales, at.scale_products
        if len(product) == 0:
            continue  # the input or the weights have no scale, which is a violation of its own
        if len(scales) not in (1, len(product)) or not np.allclose(scales, product, rtol=_BIAS_TOLERANCE, atol=0.0):
            found = f"expected input scale x weight scale, {product[0]:.6g}, found {scales[:1].tolist()}"
            yield at.breaks("bias scale", found, REQUANTIZE, index)


def multipliers(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Fixed-point multipliers are such as the kernels can hold."""
    for at in operations(flat):
        output = quantization_of(flat, at.outputs[0]).scales if at.outputs else np.zeros(0)
        if len(output) != 1 or output[0] <= 0:
            continue
        if at.row.weights_operand is not None and target.largest_multiplier is not None:
            largest = float((at.scale_products / output[0]).max(initial=0.0))
            if largest >= target.largest_multiplier:
                found = (
                    f"expected input x weight / output scale below {target.largest_multiplier:g}, found {largest:.4g}"
                )
                yield at.breaks("multiplier", found, "widen the output's range: XNNPACK refuses to start")
        elif at.kind in ("ADD", "SUB"):
            largest = max(float(quantization_of(flat, i).scales.max(initial=0.0)) for i in at.inputs) / output[0]
            if largest >= _LARGEST_ADDEND:
                found = f"expected input / output scale below {_LARGEST_ADDEND:g}, found {largest:.4g}"
                yield at.breaks("multiplier", found, "widen the output's range: LiteRT ends the process")


def shared_scales(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Operators that only move or compare values keep scale and zero point."""
    for at in operations(flat):
        if at.row.scales is not Scales.SAME:
            continue
        expected = quantization_of(flat, at.outputs[0])
        for index in (i for i in (*at.inputs, *at.outputs[1:]) if flat.dtype(i) == INT8.dtype):
            quantization = quantization_of(flat, index)
            same = np.array_equal(quantization.scales, expected.scales)
            if not (same and np.array_equal(quantization.zero_points, expected.zero_points)):
                text = f"expected the output's scale and zero point, {expected}, found {quantization}"
                yield at.breaks("shared scale", text, REQUANTIZE)


def fixed_outputs(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Operators whose output scale is fixed have it."""
    for at in operations(flat):
        if at.row.scales is not Scales.FIXED or flat.dtype(at.outputs[0]) != INT8.dtype:
            continue
        fixed = at.row.fixed_output[INT8]
        found, expected = quantization_of(flat, at.outputs[0]), f"{fixed.scale:.6g} and {fixed.zero_point}"
        if str(found) != expected:
            yield at.breaks("fixed scale", f"expected {expected}, found {found}", REQUANTIZE)

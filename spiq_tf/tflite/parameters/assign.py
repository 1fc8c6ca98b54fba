"""Float flatbuffer and ranges -> int8 flatbuffer, by litert-quantizer."""

import re
from collections.abc import Collection, Mapping

import numpy as np
from litert_quantizer import algorithm_manager, qtyping, quantizer, recipe
from scipy.cluster.hierarchy import DisjointSet

from spiq_tf.distributions.values import ChannelRanges
from spiq_tf.quantization.bit_width import INT8
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.search.noise_terms import PredictedNoise
from spiq_tf.targets.target import RequantizationLimits
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.operators import FIXED_OUTPUT, SHARED_SCALE
from spiq_tf.tflite.parameters.equal_scale_add import equalize_add_scales
from spiq_tf.tflite.parameters.requantization_limits import widened_to_requantization_limits
from spiq_tf.tflite.silence import silence
from spiq_tf.tflite.writing.complete_int8 import complete_int8

_FIXED = {
    kind: TensorRange((INT8.qmin - zero_point) * scale, (INT8.qmax - zero_point) * scale)
    for kind, (scale, zero_point) in FIXED_OUTPUT.items()
}

_SMALLEST_WIDTH = 1e-6
_NOT = algorithm_manager.AlgorithmName.NO_QUANTIZE
_WRONG = (qtyping.TFLOperationName.DIV,)
"""Operators that LiteRT runs on int8 tensors without regard for their scales; they stay float."""


def tensor_intervals(
    flat: FlatModel,
    ranges: Mapping[int, ChannelRanges],
    images: Collection[int],
    noise: Mapping[int, PredictedNoise],
    limits: RequantizationLimits,
) -> dict[int, TensorRange]:
    """One interval a tensor; tensors that must share a scale get the one that covers them all.

    Args:
        flat: the float file.
        ranges: of every activation, by tensor index.
        images: tensors that hold 8-bit pixels, besides the inputs: behind a Rescaling.
        noise: predicted for tensors that keep to their ranges, by index. Those around additions may be given one step.
        limits: of the ratios of scales, the target's.
    """
    groups, fixed = DisjointSet(ranges), _fixed_intervals(flat)
    result = dict(fixed)
    for operator in flat.operators:
        if flat.kind(operator) in SHARED_SCALE:
            tensors = [int(i) for i in (*operator.outputs, *operator.inputs)]
            first, *rest = [i for i in tensors if i in ranges and i not in fixed] or [-1]
            for other in rest:
                groups.merge(first, other)
    pixels = {*images, *map(int, flat.subgraph.inputs)}
    for group in groups.subsets():
        if not fixed.keys().isdisjoint(group):
            continue
        low = min(0.0, *(float(ranges[i].low.min()) for i in group))
        high = max(0.0, *(float(ranges[i].high.max()) for i in group))
        high = max(high, low + _SMALLEST_WIDTH) if high > low else 1.0  # where all is 0, any scale will do
        interval = TensorRange(low, high)
        result |= dict.fromkeys(group, interval if pixels.isdisjoint(group) else interval.aligned_to_pixels())
    movable = {i: own for i, own in noise.items() if i in ranges and i not in fixed and i not in pixels}
    equalized = equalize_add_scales(flat, result, groups, movable)
    return widened_to_requantization_limits(flat, equalized, groups, fixed, limits)


def _fixed_intervals(flat: FlatModel) -> dict[int, TensorRange]:
    """Of tensors that an operator gives a fixed scale, and of those that it is handed on to; a concatenation converts
    what it reads."""
    found: dict[int, TensorRange] = {}
    for operator in flat.operators:
        kind, read = flat.kind(operator), flat.activation_inputs(operator)
        if kind in _FIXED:
            found[int(operator.outputs[0])] = _FIXED[kind]
        elif kind in SHARED_SCALE and len(read) == 1 and read[0] in found:
            found |= {int(i): found[read[0]] for i in operator.outputs}
    return found


def quantize(
    flat: FlatModel, intervals: Mapping[int, TensorRange], float_outputs: Collection[int], per_channel_dense: bool
) -> FlatModel:
    """The int8 file: weights as they stand on their grids, activations with the scales of their intervals.

    Args:
        flat: the float file with corrected weights.
        intervals: of every activation, by tensor index.
        kept: outputs of the operators that stay float.
        per_channel_dense: whether a fully connected operator's weights have a scale for each output.
    """
    rules = recipe.static_wi8_ai8()
    writer = quantizer.Quantizer(flat.content(), rules)
    # the kernels of BATCH_MATMUL know one scale for a constant: with one for each channel they make zeros of it
    products = [qtyping.TFLOperationName.BATCH_MATMUL]
    for name in products if per_channel_dense else [qtyping.TFLOperationName.FULLY_CONNECTED, *products]:
        writer.add_static_config(".*", name, 8, 8, qtyping.QuantGranularity.TENSORWISE)
    for name in _WRONG:
        writer.update_quantization_recipe(".*", name, algorithm_key=_NOT)
    if float_outputs:
        names = "|".join(re.escape(flat.name(index)) for index in sorted(float_outputs))
        every = qtyping.TFLOperationName.ALL_SUPPORTED
        writer.update_quantization_recipe(f"^(?:{names});", every, algorithm_key=_NOT)
    statistics = {
        flat.name(index): {"min": np.array(i.low, np.float32), "max": np.array(i.high, np.float32)}
        for index, i in intervals.items()
    }
    with silence():
        result = writer.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    quantized = FlatModel(result.quantized_model)
    _quantize_unread_outputs(quantized, intervals)
    complete_int8(quantized, {index: i for index, i in intervals.items() if index not in float_outputs})
    return quantized


def _quantize_unread_outputs(flat: FlatModel, intervals: Mapping[int, TensorRange]) -> None:
    """Outputs that nothing reads, of operators with others that are int8 (one half of a split): the quantizer leaves
    them float, which no runtime takes."""
    read = {int(i) for operator in flat.operators for i in operator.inputs} | {int(i) for i in flat.subgraph.outputs}
    for operator in flat.operators:
        outputs = [int(i) for i in operator.outputs]
        twins = [flat.quantization(i) for i in outputs if flat.dtype(i) == np.int8]
        for index in outputs:
            if index not in read and flat.dtype(index) == np.float32 and twins:
                # a split's halves have one scale, to the last bit
                shared = twins[0] if flat.kind(operator) in SHARED_SCALE else None
                flat.set_quantization(index, shared or intervals[index].quantization)

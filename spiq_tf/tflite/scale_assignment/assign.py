"""One range for each tensor of the file, from which its scale and zero point follow."""

from collections.abc import Collection, Mapping

from scipy.cluster.hierarchy import DisjointSet

from spiq_tf.distributions.values import ChannelRanges
from spiq_tf.quantization.bit_width import INT8
from spiq_tf.quantization.parameters import SMALLEST_WIDTH
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.search.noise_terms import PredictedNoise
from spiq_tf.targets.target import RequantizationLimits
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.operators.operator import Scales
from spiq_tf.tflite.scale_assignment.equal_scale_add import equalize_add_scales
from spiq_tf.tflite.scale_assignment.requantization_limits import widened_to_requantization_limits


def assign_tensor_ranges(
    flat: FlatModel,
    ranges: Mapping[int, ChannelRanges],
    images: Collection[int],
    noise: Mapping[int, PredictedNoise],
    limits: RequantizationLimits,
    equal_scales: Mapping[int, int],
) -> dict[int, TensorRange]:
    """One range a tensor, in file units; tensors that must share a scale get the one that covers them all.

    Args:
        flat: the float file.
        ranges: of every activation, by tensor index, in file units.
        images: tensors that hold 8-bit pixels, besides the inputs: after a Rescaling.
        noise: predicted for tensors whose ranges the method chose, by index. Those around additions may be given one
            scale.
        limits: of the ratios of scales, the target's.
        equal_scales: for tensors that passes have made of another's values, that one, whose range they get, by index.
    """
    fixed = _fixed_ranges(flat)
    groups = _scale_groups(flat, ranges.keys() - equal_scales.keys(), fixed)
    result = dict(fixed)
    pixels = {*images, *map(int, flat.subgraph.inputs)}
    for group in groups.subsets():
        if fixed.keys().isdisjoint(group):
            whole = _covering([ranges[i] for i in group])
            result |= dict.fromkeys(group, whole if pixels.isdisjoint(group) else whole.aligned_to_pixels())
    movable = {i: predicted for i, predicted in noise.items() if i in ranges and i not in fixed and i not in pixels}
    equalized = equalize_add_scales(flat, result, groups, movable)
    for index, other in equal_scales.items():
        groups.add(index)
        groups.merge(index, other)
        equalized[index] = equalized[other]
    return widened_to_requantization_limits(flat, equalized, groups, fixed, limits)


def _scale_groups(flat: FlatModel, ranges: Collection[int], fixed: Collection[int]) -> DisjointSet:
    """Activations that must share a scale, those of fixed ones apart."""
    groups = DisjointSet(ranges)
    for operator in flat.operators:
        if flat.row(operator).scales is Scales.SAME:
            tensors = [int(i) for i in (*operator.outputs, *operator.inputs)]
            first, *rest = [i for i in tensors if i in ranges and i not in fixed] or [-1]
            for other in rest:
                groups.merge(first, other)
    return groups


def _covering(ranges: Collection[ChannelRanges]) -> TensorRange:
    """The tensor range that covers 0 and all channels."""
    low = min(0.0, *(float(r.low.min()) for r in ranges))
    high = max(0.0, *(float(r.high.max()) for r in ranges))
    # where all is 0, any scale will do; less than the smallest width litert-quantizer would widen itself
    return TensorRange(low, max(high, low + SMALLEST_WIDTH) if high > low else 1.0)


def _fixed_ranges(flat: FlatModel) -> dict[int, TensorRange]:
    """Of tensors that an operator gives a fixed scale, and of those that it is handed on to; a concatenation converts
    what it reads."""
    fixed: dict[int, TensorRange] = {}
    for operator in flat.operators:
        row, read = flat.row(operator), flat.activation_inputs(operator)
        if row.scales is Scales.FIXED:
            parameters = row.fixed_output[INT8]
            fixed[int(operator.outputs[0])] = TensorRange(parameters.low, parameters.high)
        elif row.scales is Scales.SAME and len(read) == 1 and read[0] in fixed:
            fixed |= {int(i): fixed[read[0]] for i in operator.outputs}
    return fixed

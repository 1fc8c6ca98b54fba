"""What XNNPACK asks of single uses beyond number and types of tensors: each condition one function."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.targets.xnnpack import (
    ADDEND_RATIOS,
    LEAKY_NEGATIVE_RATIOS,
    PRODUCT_RATIOS,
    RESCALING_RATIOS,
    ScaleRatios,
)
from spiq_tf.tflite.operators.delegate_support import (
    FLOATS,
    FOUR_AXES,
    FROM_TWO_AXES,
    INTEGERS,
    MOST_AXES,
    Condition,
    rank_breach,
)
from spiq_tf.tflite.operators.use import OperatorUse, TensorUse

_ACTIVATIONS = {v: k for k, v in vars(schema.ActivationFunctionType).items() if not k.startswith("_")}
_FUSED = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")
_PADDINGS = schema.Padding.SAME, schema.Padding.VALID
_SMALL_WEIGHTS = {"INT4": 2, "INT2": 4}
"""Weights of less than a byte; how many of them fill it."""


def fused_activation(use: OperatorUse) -> str:
    """The fused activation is a clamp. LiteRT reads an unknown number as none."""
    found = _ACTIVATIONS.get(use.option("fusedActivationFunction"), "NONE")
    return "" if found in _FUSED else f"expected a fused {', '.join(_FUSED[1:])} or none, found {found}"


def same_type(use: OperatorUse) -> str:
    """All tensors have one type."""
    found = sorted({t.type.lower() for t in (*use.inputs, *use.outputs)})
    return "" if len(found) == 1 else f"expected tensors of one type, found {' and '.join(found)}"


def addends(use: OperatorUse) -> str:
    """The scale of each addend is near that of the sum."""
    if use.output.type not in INTEGERS:
        return ""
    return next((text for t in use.inputs if (text := _ratio_breach("addend", t.scale, use.output, ADDEND_RATIOS))), "")


def product(use: OperatorUse) -> str:
    """The product of the scales is near that of the output."""
    if use.output.type not in INTEGERS:
        return ""
    scale = float(np.float32(use.inputs[0].scale) * np.float32(use.inputs[1].scale))
    return _ratio_breach("product of the inputs", scale, use.output, PRODUCT_RATIOS)


def requantization(use: OperatorUse) -> str:
    """Floats become integers of any scale; integers keep their type, and nearly their scale."""
    (source,) = use.inputs
    if source.type in FLOATS:
        return ""
    return same_type(use) or _ratio_breach("input", source.scale, use.output, RESCALING_RATIOS)


def leaky_slope(use: OperatorUse) -> str:
    """The slope is a normal number that the integer kernel can hold together with the scales."""
    (source,), slope = use.inputs, np.float32(use.option("alpha"))
    if not _is_normal(slope):
        return f"expected a slope other than 0, found {slope:g}"
    if source.type not in INTEGERS or use.output.type not in INTEGERS:
        return ""
    negative = float(_ratio(source.scale, use.output) * slope)
    too_small = abs(negative) < RESCALING_RATIOS.smallest
    if too_small or negative not in LEAKY_NEGATIVE_RATIOS:
        limits = f"{RESCALING_RATIOS.smallest:g} to {RESCALING_RATIOS.largest:g}"
        return f"expected slope x input / output scale of magnitude {limits}, found {negative:.4g}"
    return _ratio_breach("input", source.scale, use.output, RESCALING_RATIOS)


def float_slopes(use: OperatorUse) -> str:
    """The slopes are floats."""
    found = use.inputs[1].type
    return "" if found in FLOATS else f"expected slopes in float32, found {found.lower()}"


def unit_beta(use: OperatorUse) -> str:
    """The exponents are not scaled."""
    return "" if use.option("beta") == 1.0 else f"expected beta 1, found {use.option('beta'):g}"


def overlapping_windows(use: OperatorUse) -> str:
    """No value lies between two windows."""
    if use.option("padding") not in _PADDINGS:
        return f"expected padding SAME or VALID, found number {use.option('padding')}"
    windows = use.option("filterHeight"), use.option("filterWidth")
    strides = use.option("strideH"), use.option("strideW")
    if min(*windows, *strides) > 0 and strides[0] <= windows[0] and strides[1] <= windows[1]:
        return ""
    return f"expected strides up to the window, found strides {strides} of windows {windows}"


def positive_strides(use: OperatorUse) -> str:
    """Strides and dilations are positive."""
    names = "strideH", "strideW", "dilationHFactor", "dilationWFactor"
    found = tuple(use.option(name) for name in names)
    return "" if min(found) > 0 else f"expected positive strides and dilations, found {found}"


def whole_depth_multiplier(use: OperatorUse) -> str:
    """The depth multiplier divides the output channels."""
    multiplier, channels = use.option("depthMultiplier"), use.inputs[1].shape[-1]
    if multiplier > 0 and channels % multiplier == 0:
        return ""
    return f"expected a depth multiplier that divides {channels} channels, found {multiplier}"


def convolution_weights(axis: int, *, on_floats: bool, data: int = 0) -> Condition:
    """Weights of four axes, in the type of the activations and with scales along one axis.

    Args:
        axis: of the scales.
        on_floats: whether int8 weights may stand beside float activations.
        data: place of the activations among the operands.
    """

    def condition(use: OperatorUse) -> str:
        source, weights, output = use.inputs[data].type, use.inputs[1], use.output.type
        hybrid = on_floats and (source, weights.type) == ("FLOAT32", "INT8")
        if output != source or not (weights.type == source or hybrid):
            found = f"{weights.type.lower()} weights of {source.lower()} and {output.lower()} tensors"
            return f"expected weights of the tensors' type, found {found}"
        return rank_breach(weights, FOUR_AXES) or _scales_breach("weights", weights, axis)

    return condition


def vector_bias(place: int) -> Condition:
    """A bias of one axis, if there is one.

    Args:
        place: among the operands.
    """

    def condition(use: OperatorUse) -> str:
        bias = use.operands[place] if place < len(use.operands) else None
        return "" if bias is None else rank_breach(bias, (1, 1)) or _bias_breach(bias)

    return condition


def dense_weights(use: OperatorUse) -> str:
    """Weights of two axes in the usual order and in a type that goes with that of the activations."""
    data, weights = use.inputs[:2]
    if use.option("weightsFormat") != schema.FullyConnectedOptionsWeightsFormat.DEFAULT:
        return "expected weights in the usual order, found them shuffled"
    small = weights.type == "INT8" or weights.type in _SMALL_WEIGHTS
    if use.output.type != data.type or not (weights.type == data.type or (small and data.type in ("INT8", *FLOATS))):
        return f"expected weights that go with {data.type.lower()}, found {weights.type.lower()}"
    if small and len(weights.scales) == 0:
        return "expected scales of the weights, found none"
    if len(weights.scales) > 1 and weights.axis != 0:
        return f"expected scales of the weights along axis 0, found axis {weights.axis}"
    if data.type not in FLOATS and weights.type == "INT8" and weights.zero_point != 0:
        return f"expected zero point 0 of the weights, found {weights.zero_point}"
    filled = _SMALL_WEIGHTS.get(weights.type, 1)
    if weights.shape[-1:] and weights.shape[-1] % filled:
        return f"expected a multiple of {filled} inputs of {weights.type.lower()} weights, found {weights.shape[-1]}"
    return rank_breach(weights, (2, 2))


def dense_bias(use: OperatorUse) -> str:
    """A bias for each output, or none."""
    bias = use.operands[2] if len(use.operands) > 2 else None
    if bias is None:
        return ""
    outputs = use.inputs[1].shape[0]
    return _bias_breach(bias) if bias.size == outputs else f"expected a bias of {outputs} values, found {bias.size}"


def not_sparse(use: OperatorUse) -> str:
    """The weights are not sparse."""
    return "" if use.version != 8 else "expected dense weights, found version 8 of the operator, for sparse ones"


def transposed_padding(use: OperatorUse) -> str:
    """The output's size is one that the strides and windows lead to."""
    shape, weights, data = use.inputs[:3]
    if shape.type != "INT32" or shape.shape != (4,):
        return f"expected an output shape of 4 int32, found {shape.shape} {shape.type.lower()}"
    if (weights.shape[0], weights.shape[3]) != (shape.integers[3], data.shape[3]):
        found = f"{weights.shape[3]} to {weights.shape[0]} for {data.shape[3]} to {shape.integers[3]}"
        return f"expected weights of the tensors' channels, found {found}"
    outputs, windows = shape.integers[1:3], weights.shape[1:3]
    if use.option("padding") == schema.Padding.VALID:
        fits = all(window <= size for window, size in zip(windows, outputs, strict=True))
        return "" if fits else f"expected outputs of the window's size at least, found {tuple(outputs)} and {windows}"
    strides = use.option("strideH"), use.option("strideW")
    if min(strides) <= 0 or any(window < stride for window, stride in zip(windows, strides, strict=True)):
        return f"expected strides up to the window, found strides {strides} of windows {windows}"
    sizes = tuple(-(-size // stride) for size, stride in zip(outputs, strides, strict=True))
    return "" if sizes == data.shape[1:3] else f"expected an input of {sizes}, found {data.shape[1:3]}"


def matrix_operands(use: OperatorUse) -> str:
    """Two matrices, or stacks of them; the second symmetric where both are integers."""
    first, second = use.inputs
    hybrid = (first.type, second.type) == ("FLOAT32", "INT8")
    if not hybrid and (first.type != second.type or len(second.scales) > 1):
        found = f"{first.type.lower()} and {second.type.lower()} with {len(second.scales)} scales"
        return f"expected matrices of one type with one scale each, found {found}"
    if not hybrid and second.type == "INT8" and second.zero_point != 0:
        return f"expected zero point 0 of the second matrix, found {second.zero_point}"
    axis = second.rank - (2 if use.has("adjY") else 1)
    return rank_breach(second, FROM_TWO_AXES) or _scales_breach("second matrix", second, axis)


def existing_axis(use: OperatorUse) -> str:
    """Tensors are joined along an axis that they have."""
    axis, ranks = use.option("axis"), [t.rank for t in use.inputs]
    return "" if axis < min(ranks) else f"expected an axis below {min(ranks)}, found {axis}"


def reduced_axes(use: OperatorUse) -> str:
    """Axes are given, as int32."""
    data, axes = use.inputs
    scalar = data.rank == 0 and axes.integers == [0]
    if axes.type == "INT32" and axes.rank <= 1 and 1 <= axes.size <= MOST_AXES and not scalar:
        return ""
    return f"expected 1 to {MOST_AXES} axes in int32, found {axes.shape} in {axes.type.lower()}"


def paddings(use: OperatorUse) -> str:
    """Two numbers for each axis, none of them negative."""
    data, pads = use.inputs
    if pads.type == "INT32" and pads.shape == (data.rank, 2) and min(pads.integers) >= 0:
        return ""
    return f"expected 2 paddings of 0 at least for each axis, found {pads.integers} in {pads.type.lower()}"


def kept_scale(use: OperatorUse) -> str:
    """Integers keep scale and zero point."""
    source, output = use.inputs[0], use.output
    if output.type not in INTEGERS or (source.scale, source.zero_point) == (output.scale, output.zero_point):
        return ""
    found = f"{source.scale:.6g} and {source.zero_point}"
    return f"expected the output's scale and zero point, {output.scale:.6g} and {output.zero_point}, found {found}"


def plain_shape(use: OperatorUse) -> str:
    """The new shape is given as int32, with a size where it has one axis alone."""
    shape = use.inputs[1] if len(use.inputs) > 1 else None
    if shape is not None and (shape.type != "INT32" or any(n != 1 for n in shape.shape[:-1])):
        return f"expected a shape of one axis in int32, found {shape.shape} in {shape.type.lower()}"
    option = use.option("newShape")
    sizes = shape.integers if shape is not None else [] if option is None else np.ravel(option).tolist()
    return "expected a known size, found one axis of unknown size" if sizes in ([-1], [0]) else ""


def target_size(use: OperatorUse) -> str:
    """The size to resize to is given as int32."""
    size = use.inputs[1]
    if size.type == "INT32" and size.rank == 1 and size.integers[:1] > [0]:
        return ""
    return f"expected a size in int32, found {size.integers} in {size.type.lower()}"


def whole_blocks(use: OperatorUse) -> str:
    """Blocks of 2 at least, into which height and width are divided."""
    block, sizes = use.option("blockSize"), use.inputs[0].shape[1:3]
    if block > 1 and all(size % block == 0 for size in sizes):
        return ""
    return f"expected a block above 1 that divides {sizes}, found {block}"


def blocks(use: OperatorUse) -> str:
    """Blocks of 2 at least."""
    return "" if use.option("blockSize") > 1 else f"expected a block above 1, found {use.option('blockSize')}"


def int32_axis(use: OperatorUse) -> str:
    """The axis is given as int32, as the first operand."""
    found = use.inputs[0].type
    return "" if found == "INT32" else f"expected an axis in int32, found {found.lower()}"


def slice_sizes(use: OperatorUse) -> str:
    """Starts and sizes are given, sizes as numbers."""
    begin, size = use.inputs[1:]
    if any(t.type not in ("INT32", "INT64") or t.rank != 1 for t in (begin, size)) or begin.shape != size.shape:
        return f"expected starts and sizes of one axis, found {begin.shape} and {size.shape}"
    return "" if min(size.integers, default=1) > 0 else f"expected sizes above 0, found {size.integers}"


def plain_slice(use: OperatorUse) -> str:
    """Starts, ends and strides for each axis; strides of 1, and no axis goes or comes."""
    masks = [name for name in ("ellipsisMask", "newAxisMask", "shrinkAxisMask") if use.has(name)]
    if masks:
        return f"expected no {', no '.join(masks)}, found it"
    data, *bounds = use.inputs
    if any(t.type != "INT32" or t.shape != (data.rank,) for t in bounds):
        return f"expected starts, ends and strides for {data.rank} axes in int32, found {[t.shape for t in bounds]}"
    strides = bounds[2].integers
    return "" if all(n == 1 for n in strides) else f"expected strides of 1, found {strides}"


def _bias_breach(bias: TensorUse) -> str:
    if bias.type in FLOATS:
        return ""
    if bias.type != "INT32" or (bias.zero_point != 0 and len(bias.scales) == 1):
        return f"expected a bias in int32 with zero point 0, found {bias.type.lower()} and {bias.zero_point}"
    return _scales_breach("bias", bias, 0)


def _scales_breach(what: str, tensor: TensorUse, axis: int) -> str:
    """Whether integers lack scales, or have some that are no normal positive numbers or lie along another axis."""
    if tensor.type in FLOATS:
        return ""
    if len(tensor.scales) == 0 or not all(_is_normal(s) and s > 0 for s in tensor.scales):
        least = min(tensor.scales, default=None)
        return f"expected normal numbers as scales of the {what}, found {'none' if least is None else f'{least:.4g}'}"
    if len(tensor.scales) > 1 and (tensor.axis != axis or tensor.zero_point != 0):
        found = f"axis {tensor.axis} and {tensor.zero_point}"
        return f"expected scales of the {what} along axis {axis} and zero point 0, found {found}"
    return ""


def _is_normal(number: np.float32) -> bool:
    return bool(np.isfinite(number)) and abs(float(number)) >= float(np.finfo(np.float32).tiny)


def _ratio(scale: float, output: TensorUse) -> np.float32:
    """In float32, as the delegate computes it: limits are met exactly."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.float32(np.float32(scale) / np.float32(output.scale))


def _ratio_breach(what: str, scale: float, output: TensorUse, limits: ScaleRatios) -> str:
    found = float(_ratio(scale, output))
    return "" if found in limits else f"expected the scale of the {what} over the output's {limits}, found {found:.4g}"

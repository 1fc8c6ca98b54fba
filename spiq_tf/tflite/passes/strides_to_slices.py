"""int8 operators that take every second value, or an axis away -> SLICE and RESHAPE, which XNNPACK takes.

In memory the values s i, s i + 1, ... of an axis are neighbors, so a RESHAPE makes the next axis of them and a SLICE
takes the first of each group. Integers are copied: a pool of one value, of a residual network's shortcut, too.

Measured with XNNPACK on x86, a delegated operator before and after, over MAX_POOL_2D, AVERAGE_POOL_2D and STRIDED_SLICE
of strides 2: 0.88 to 0.93, 0.33 to 0.35, 0.24 to 0.35; along channels 0.7 to 0.9 of STRIDED_SLICE's. Where the size is
no multiple of the stride, a depthwise convolution of a weight of 1 takes 0.36 of AVERAGE_POOL_2D and STRIDED_SLICE, as
long as MAX_POOL_2D; where convolutions of one tap alone read the values, they take the stride themselves, and nothing
is copied at all. SLICE and RESHAPE are plain copies on every processor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.quantization.bit_width import INT8, INT32
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.state import IntegerState

_POOLS = ("AVERAGE_POOL_2D", "MAX_POOL_2D")
_MOST_AXES = 6
_ONE = 64
"""The integer of a weight of 1: a power of 2, so that its scale is exact."""


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """What an operator takes of its input along an axis.

    Attributes:
        size: of the input.
        first, stride, count: of the values that are taken.
    """

    size: int
    first: int
    stride: int
    count: int

    @property
    def is_whole(self) -> bool:
        """Whether values are taken from one end to the other."""
        return self.first == 0 and self.count == -(-self.size // self.stride)

    @property
    def neighborhood(self) -> tuple[int, int] | None:
        """Start and size of whole groups of neighbors that hold all that is taken; None where the last is not whole."""
        if self.size % self.stride == 0:
            return 0, self.size
        start, size = max(0, self.first - self.stride + 1), self.stride * self.count
        return (start, size) if start + size <= self.size else None


def strides_to_slices(state: IntegerState) -> None:
    """Replaces, in place, int8 pools of one value with a stride, and slices with strides or fewer axes.

    Given:
        y = MAX_POOL_2D(x), AVERAGE_POOL_2D(x) or STRIDED_SLICE(x) with strides of 2 along height and width

    Result:
        g = RESHAPE(x) of shape (batch, height / 2, width, 2 channels), one for all that take something of x
        y = SLICE(g), the first half of the last two axes

    Result, where convolutions of one tap alone read y:
        the convolutions read x, with strides of 2

    Result, where height or width are no multiple of the stride:
        y = DEPTHWISE_CONV_2D(x, 1) with strides of 2, in the place of AVERAGE_POOL_2D or STRIDED_SLICE

    Where an axis goes, or along channels, another RESHAPE follows. Left alone where a pool has an activation.
    """
    flat, result = state.flat, []
    reshaped: dict[tuple[int, tuple[int, ...]], int] = {}
    consumers = flat.all_consumers()
    for operator in flat.operators:
        taken, y = _taken(flat, operator), int(operator.outputs[0])
        if taken is None:
            result.append(operator)
        elif _is_subsampling(flat, y, taken) and _take_strides(flat, operator, consumers.get(y, ()), taken):
            state.provenance.pop(y, None)
        else:
            result += _copies(flat, operator, taken, reshaped) or _subsampled(flat, operator, taken) or [operator]
    flat.subgraph.operators = result


def _taken(flat: FlatModel, operator: Any) -> list[_Taken] | None:
    """What an operator takes along each axis, if XNNPACK leaves it for that."""
    kind, x, options = flat.kind(operator), int(operator.inputs[0]), operator.builtinOptions
    if flat.dtype(x) != INT8.dtype or kind not in (*_POOLS, "STRIDED_SLICE"):
        return None
    shape = flat.shape(x)
    if kind == "STRIDED_SLICE":
        return _taken_by_slice(flat, operator)
    strides = (1, options.strideH, options.strideW, 1)
    plain = options.fusedActivationFunction == schema.ActivationFunctionType.NONE
    if (options.filterHeight, options.filterWidth) != (1, 1) or max(strides) == 1 or not plain:
        return None
    return [_Taken(size=n, first=0, stride=s, count=-(-n // s)) for n, s in zip(shape, strides, strict=True)]


def _taken_by_slice(flat: FlatModel, operator: Any) -> list[_Taken] | None:
    x, options = int(operator.inputs[0]), operator.builtinOptions
    if not all(flat.is_constant(int(i)) for i in operator.inputs[1:]):
        return None
    begins, ends, strides = (flat.channels(operator, operand).tolist() for operand in (1, 2, 3))
    plain = not (options.ellipsisMask or options.newAxisMask or getattr(options, "offset", False))
    if not plain or min(strides) < 1 or (max(strides) == 1 and not options.shrinkAxisMask):
        return None
    taken = []
    for axis, (size, begin, end, stride) in enumerate(zip(flat.shape(x), begins, ends, strides, strict=True)):
        if options.shrinkAxisMask >> axis & 1:
            taken.append(_Taken(size=size, first=begin % size, stride=1, count=1))
            continue
        begin = None if options.beginMask >> axis & 1 else begin
        end = None if options.endMask >> axis & 1 else end
        places = range(*slice(begin, end, stride).indices(size))
        taken.append(_Taken(size=size, first=places.start, stride=stride, count=len(places)))
    return taken if all(each.count for each in taken) else None


def _is_subsampling(flat: FlatModel, y: int, taken: Sequence[_Taken]) -> bool:
    """Whether all is taken, but for strides along height and width."""
    whole = len(taken) == len(flat.shape(y)) == 4 and all(each.is_whole for each in taken)
    return whole and taken[0].stride == taken[3].stride == 1


def _take_strides(flat: FlatModel, operator: Any, consumers: Sequence[Any], taken: Sequence[_Taken]) -> bool:
    """Lets the convolutions that read an operator's output read its input with strides, if all can."""
    x, y = int(operator.inputs[0]), int(operator.outputs[0])
    if not consumers or y in map(int, flat.subgraph.outputs) or not all(_has_one_tap(flat, c, y) for c in consumers):
        return False
    for convolution in consumers:
        convolution.inputs[0] = x
        convolution.builtinOptions.strideH, convolution.builtinOptions.strideW = (each.stride for each in taken[1:3])
    return True


def _has_one_tap(flat: FlatModel, operator: Any, x: int) -> bool:
    """Whether an operator is a convolution of x of one tap and no stride."""
    if flat.kind(operator) not in ("CONV_2D", "DEPTHWISE_CONV_2D") or x in map(int, operator.inputs[1:]):
        return False
    options = operator.builtinOptions
    return flat.shape(int(operator.inputs[1]))[1:3] == (1, 1) == (options.strideH, options.strideW)


def _copies(
    flat: FlatModel, operator: Any, taken: Sequence[_Taken], reshaped: dict[tuple[int, tuple[int, ...]], int]
) -> list[Any]:
    """RESHAPE and SLICE in place of an operator, none where groups of neighbors are not whole.

    Args:
        flat: the file, which gets the new tensors.
        operator: of it.
        taken: what the operator takes along each axis.
        reshaped: tensors that are there already, by what they are made of and by shape; extended.
    """
    x, y = int(operator.inputs[0]), int(operator.outputs[0])
    found = [each.neighborhood for each in taken]
    neighborhoods = [each for each in found if each is not None]
    if len(neighborhoods) < len(taken):
        return []
    operators = []
    if any(size < each.size for (_, size), each in zip(neighborhoods, taken, strict=True)):
        whole = _new(flat, y, "groups", [size for _, size in neighborhoods])
        operators.append(_slice(flat, x, whole, [start for start, _ in neighborhoods]))
        x = whole
    shape, begins, sizes = [], [], []
    before, place = 1, 0  # stride of the axis before, and which of its neighbors is taken
    for each, (start, size) in zip(taken, neighborhoods, strict=True):
        groups = size // each.stride
        shape.append(before * groups)
        begins.append(place * groups + (each.first - start) // each.stride)
        sizes.append(each.count)
        before, place = each.stride, (each.first - start) % each.stride
    if before > 1:
        shape, begins, sizes = [*shape, before], [*begins, place], [*sizes, 1]
    if len(shape) > _MOST_AXES:
        return []
    if tuple(shape) != flat.shape(x):
        key = x, tuple(shape)
        if key not in reshaped:
            reshaped[key] = _new(flat, y, "neighbors", shape)
            operators.append(flat.reshape(x, reshaped[key]))
        x = reshaped[key]
    if tuple(sizes) == flat.shape(y):
        return [*operators, _slice(flat, x, y, begins)]
    part = _new(flat, y, "part", sizes)
    return [*operators, _slice(flat, x, part, begins), flat.reshape(part, y)]


def _new(flat: FlatModel, y: int, name: str, shape: Sequence[int]) -> int:
    """A tensor with the scale of y."""
    parameters = flat.quantization(y)
    assert parameters is not None, flat.name(y)  # int8
    index = flat.add_activation(name, y, shape=shape)
    flat.set_quantization(index, parameters)
    return index


def _slice(flat: FlatModel, x: int, y: int, begins: Sequence[int]) -> Any:
    """The operator that takes y of x."""
    bounds = {"begin": begins, "size": flat.shape(y)}
    constants = [flat.add_constant(f"{flat.name(y)}/{name}", np.array(v, np.int32)) for name, v in bounds.items()]
    return flat.operator(schema.BuiltinOperator.SLICE, [x, *constants], y, schema.SliceOptionsT())


def _subsampled(flat: FlatModel, operator: Any, taken: Sequence[_Taken]) -> list[Any]:
    """A depthwise convolution in place of an operator that it is faster than."""
    x, y = int(operator.inputs[0]), int(operator.outputs[0])
    parameters = flat.quantization(x)
    if flat.kind(operator) == "MAX_POOL_2D" or not _is_subsampling(flat, y, taken) or parameters is None:
        return []
    channels = flat.shape(x)[-1]
    weights = flat.add_constant(f"{flat.name(y)}/one", np.full((1, 1, 1, channels), _ONE, INT8.dtype))
    bias = flat.add_constant(f"{flat.name(y)}/bias", np.zeros(channels, INT32.dtype))
    for index, scale, axis in ((weights, 1 / _ONE, 3), (bias, parameters.scale / _ONE, 0)):
        flat.tensor(index).quantization = schema.QuantizationParametersT(
            scale=np.full(channels, scale, np.float32), zeroPoint=np.zeros(channels, np.int64), quantizedDimension=axis
        )
    options = schema.DepthwiseConv2DOptionsT(
        padding=schema.Padding.VALID, strideH=taken[1].stride, strideW=taken[2].stride, depthMultiplier=1
    )
    return [flat.operator(schema.BuiltinOperator.DEPTHWISE_CONV_2D, [x, weights, bias], y, options)]

"""Ranges for every tensor of the file, those born in lowering included.

A layer's output has the range that the graph gave it. What lies inside a layer follows by interval
arithmetic, a channel at a time; where the table has no operator, the float file is run on noise.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from spiq_tf import priors
from spiq_tf.distributions.values import Array, ChannelRanges, Source, derived_source
from spiq_tf.errors import InvalidModelError
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.passes.affine_to_depthwise import is_pointwise_depthwise

_Rule = Callable[[Sequence[ChannelRanges]], tuple[Array, Array]]

_SAMPLES = 4


def file_ranges(flat: FlatModel, known: Mapping[int, ChannelRanges]) -> dict[int, ChannelRanges]:
    """The range of every activation tensor of the file.

    Args:
        flat: the float file.
        known: ranges of the tensors that are a layer's, by index.
    """
    found: dict[int, ChannelRanges] = {i: r for i, r in known.items() if not flat.is_constant(i)}
    ceilings = _ceilings(flat)
    sampled: dict[int, ChannelRanges] | None = None
    for operator in flat.operators:
        for output in map(int, operator.outputs):
            if output in found:
                continue
            own = derived_range(flat, operator, found) or _from_behind(flat, output, known)
            if own is None:
                sampled = _sample(flat, found) if sampled is None else sampled
                own = sampled[output]
            ceiling = ceilings.get(output, np.inf)
            found[output] = ChannelRanges(np.minimum(own.low, ceiling), np.minimum(own.high, ceiling), own.source)
    return found


def _from_behind(flat: FlatModel, index: int, known: Mapping[int, ChannelRanges]) -> ChannelRanges | None:
    """The range of a sum of squares of which the mean is known: it is reshaped, multiplied and shifted into that."""
    factor, offset = 1.0, 0.0
    while index not in known:
        consumers = flat.consumers(index)
        if len(consumers) != 1:
            return None
        (reader,) = consumers
        constants = [flat.value(int(i)) for i in reader.inputs if flat.is_constant(int(i))]
        if flat.kind(reader) == "MUL" or is_pointwise_depthwise(flat, reader):
            if any(np.ptp(value) for value in constants) or len(constants) != len(reader.inputs) - 1:
                return None
            by, plus = (*(float(value.flat[0]) for value in constants), 0.0)[:2]
            factor, offset = factor * by, offset * by + plus
        elif flat.kind(reader) != "RESHAPE":
            return None
        index = int(reader.outputs[0])
    if factor <= 0:
        return None
    low, high = ((end - offset) / factor for end in (known[index].low.min(), known[index].high.max()))
    return ChannelRanges(np.array([low]), np.array([high]), known[index].source)


def check_bounded(
    flat: FlatModel, ranges: Mapping[int, ChannelRanges], float_outputs: Collection[int], layers: Mapping[int, str]
) -> None:
    """Raises InvalidModelError where an int8 tensor's range is none of float32, which may end LiteRT's process.

    Args:
        flat: the float file.
        ranges: of every activation, by tensor index.
        kept: outputs of the operators that stay float.
        layers: the name of the layer that makes each tensor, by index, where there is one.
    """
    for operator in flat.operators:
        if int(operator.outputs[0]) in float_outputs:
            continue
        for index in (*flat.activation_inputs(operator), *map(int, operator.outputs)):
            reach = float(ranges[index].amplitude.max())
            if not reach < np.finfo(np.float32).max:
                raise InvalidModelError(
                    f"layer {layers.get(index, flat.name(index))!r} makes values of up to {reach:.3g}: expected what"
                    " float32 holds; where it divides by what may be 0, as in x / relu(y), add an epsilon, and make a"
                    " mask of -1e9; or keep what makes and reads them float: float_layers=[...]"
                )


def _ceilings(flat: FlatModel) -> dict[int, float]:
    """What is cut off of a tensor by all that read it, by index: the file need not hold what lies above."""
    found: dict[int, list[float]] = {}
    for operator in flat.operators:
        constants = [flat.value(int(i)) for i in operator.inputs if i >= 0 and flat.is_constant(int(i))]
        for index in flat.activation_inputs(operator):
            ceiling = float(constants[0].max()) if constants and flat.kind(operator) == "MINIMUM" else np.inf
            found.setdefault(index, []).append(_CEILINGS.get(flat.kind(operator), ceiling))
    leaving = set(map(int, flat.subgraph.outputs))
    return {index: max(each) for index, each in found.items() if index not in leaving and max(each) < np.inf}


_CEILINGS = {"RELU6": 6.0, "RELU_0_TO_1": 1.0, "RELU_N1_TO_1": 1.0}


def derived_range(flat: FlatModel, operator: Any, found: Mapping[int, ChannelRanges]) -> ChannelRanges | None:
    """What an operator can make of inputs of the given ranges; None where no rule tells."""
    primitive = _channelwise if is_pointwise_depthwise(flat, operator) else _RULES.get(flat.kind(operator))
    if primitive is None:
        return None
    indices = [int(i) for i in operator.inputs if i >= 0]
    inputs = [_constant(flat.value(i)) if flat.is_constant(i) else found[i] for i in indices]
    low, high = primitive(inputs)
    if flat.is_square(operator):
        low = np.maximum(low, 0.0)
    low, high = _activated(low, high, getattr(getattr(operator, "builtinOptions", None), "fusedActivationFunction", 0))
    return ChannelRanges(low, high, derived_source(found[i].source for i in indices if i in found))


def _constant(value: npt.NDArray[np.float32]) -> ChannelRanges:
    flat = np.atleast_1d(value.astype(np.float64))
    flat = flat.reshape(-1, flat.shape[-1])
    return ChannelRanges(flat.min(axis=0), flat.max(axis=0), Source.FIXED)


def _activated(low: Array, high: Array, activation: int) -> tuple[Array, Array]:
    limits = {
        schema.ActivationFunctionType.RELU: (0.0, np.inf),
        schema.ActivationFunctionType.RELU6: (0.0, 6.0),
        schema.ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0),
    }
    floor, ceiling = limits.get(activation, (-np.inf, np.inf))
    return np.clip(low, floor, ceiling), np.clip(high, floor, ceiling)


def _add(x: Sequence[ChannelRanges]) -> tuple[Array, Array]:
    return x[0].low + x[1].low, x[0].high + x[1].high


def _sub(x: Sequence[ChannelRanges]) -> tuple[Array, Array]:
    return x[0].low - x[1].high, x[0].high - x[1].low


def _mul(x: Sequence[ChannelRanges]) -> tuple[Array, Array]:
    ends = np.stack(np.broadcast_arrays(*(a * b for a in (x[0].low, x[0].high) for b in (x[1].low, x[1].high))))
    return ends.min(axis=0), ends.max(axis=0)


def _channelwise(x: Sequence[ChannelRanges]) -> tuple[Array, Array]:
    low, high = _mul(x[:2])
    return low + x[2].low, high + x[2].high


def _minimum(x: Sequence[ChannelRanges]) -> tuple[Array, Array]:
    return np.minimum(x[0].low, x[1].low), np.minimum(x[0].high, x[1].high)


def _maximum(x: Sequence[ChannelRanges]) -> tuple[Array, Array]:
    return np.maximum(x[0].low, x[1].low), np.maximum(x[0].high, x[1].high)


def _same(x: Sequence[ChannelRanges]) -> tuple[Array, Array]:
    return x[0].low, x[0].high


def _whole(x: Sequence[ChannelRanges]) -> tuple[Array, Array]:
    return np.atleast_1d(x[0].low.min()), np.atleast_1d(x[0].high.max())


def _between(low: float, high: float) -> _Rule:
    return lambda x: (np.array([low]), np.array([high]))


def _monotonic(function: Callable[[Array], Array]) -> _Rule:
    return lambda x: (function(x[0].low), function(x[0].high))


_RULES: Mapping[str, _Rule] = {
    "ADD": _add,
    "SUB": _sub,
    "MUL": _mul,
    "MINIMUM": _minimum,
    "MAXIMUM": _maximum,
    "MEAN": _whole,
    "AVERAGE_POOL_2D": _same,
    "MAX_POOL_2D": _same,
    "RESIZE_BILINEAR": _same,
    "RESIZE_NEAREST_NEIGHBOR": _same,
    **dict.fromkeys(
        (
            *("BROADCAST_TO", "DEPTH_TO_SPACE", "EXPAND_DIMS", "GATHER", "GATHER_ND", "MIRROR_PAD", "RESHAPE"),
            *("REVERSE_V2", "SLICE", "SPACE_TO_DEPTH", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK"),
        ),
        _whole,
    ),
    "SPACE_TO_BATCH_ND": lambda x: (np.minimum(x[0].low, 0.0), np.maximum(x[0].high, 0.0)),
    "BATCH_TO_SPACE_ND": _same,
    "PAD": lambda x: (np.minimum(x[0].low, 0.0), np.maximum(x[0].high, 0.0)),
    "LOGISTIC": _between(0.0, 1.0),
    "SOFTMAX": _between(0.0, 1.0),
    "TANH": _between(-1.0, 1.0),
    "RELU": _monotonic(lambda v: np.maximum(v, 0.0)),
    "RELU6": _monotonic(lambda v: np.clip(v, 0.0, 6.0)),
}


def _sample(flat: FlatModel, known: Mapping[int, ChannelRanges]) -> dict[int, ChannelRanges]:
    """Smallest and largest value of every tensor of the float file over a few noise inputs (fixed seed)."""
    interpreter = Interpreter(flat.content(), keep_all=True)
    random = np.random.default_rng(0)
    seen: dict[int, tuple[float, float]] = {}
    for _ in range(_SAMPLES):
        noise = [
            random.uniform(known[int(i)].low, known[int(i)].high, flat.shape(int(i))) for i in flat.subgraph.inputs
        ]
        interpreter.run(noise)
        for index in flat.activations():
            value = interpreter.value(index)
            low, high = seen.get(index, (np.inf, -np.inf))
            seen[index] = min(low, float(value.min())), max(high, float(value.max()))
    gap = priors.WHITE_NOISE_SAMPLE_GAP.value
    return {
        index: ChannelRanges(np.array([low * gap]), np.array([high * gap]), Source.FALLBACK)
        for index, (low, high) in seen.items()
    }

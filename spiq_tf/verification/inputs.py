"""The inputs that a file is verified on: the user's, or synthetic ones in the range that the file states."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from spiq_tf import priors
from spiq_tf.distributions.values import Array, ChannelRanges, InputStatistics, Moments, Source
from spiq_tf.errors import InvalidArgumentError
from spiq_tf.graph.layer_graph import LayerGraph, Tensor
from spiq_tf.statistics.synthetic import synthetic_input
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.lowering.correspondence import input_tensor_names

Inputs: TypeAlias = npt.NDArray[Any] | Sequence[npt.NDArray[Any]] | Mapping[str, npt.NDArray[Any]]
Batch: TypeAlias = Sequence[npt.NDArray[np.float32]]
"""One array for each input, in the model's order."""

_NUM_GENERATED = 16
_SINGLE_EXAMPLE_ADVICE = "; a single example needs a first axis: x[None]"


def given_batches(graph: LayerGraph, inputs: Inputs) -> list[Batch]:
    """The user's inputs in batches of the file's size; an incomplete last batch is dropped.

    Raises:
        InvalidArgumentError: an input is missing, of another shape than the model's, or there are fewer examples than
            one batch holds.
    """
    arrays = _arrays(graph, inputs)
    for tensor, array in zip(graph.inputs, arrays, strict=True):
        if array.ndim != len(tensor.shape) or array.shape[1:] != tensor.shape[1:]:
            raise InvalidArgumentError(
                f"inputs: expected an array of shape ({', '.join(map(str, ('examples', *tensor.shape[1:])))}) for input"
                f" {tensor.name!r}, found {array.shape}{_SINGLE_EXAMPLE_ADVICE * (array.shape == tensor.shape[1:])}"
            )
        if len(array) != len(arrays[0]):
            raise InvalidArgumentError(
                f"inputs: expected as many examples for input {tensor.name!r} as for {graph.inputs[0].name!r},"
                f" {len(arrays[0])}, found {len(array)}"
            )
        if not np.all(np.isfinite(array)):
            raise InvalidArgumentError(
                f"inputs: expected finite numbers for input {tensor.name!r}, found NaN or infinity"
            )
    size = graph.inputs[0].shape[0]
    if len(arrays[0]) < size:
        raise InvalidArgumentError(f"inputs: expected at least one batch, {size} examples, found {len(arrays[0])}")
    return [[a[k : k + size] for a in arrays] for k in range(0, len(arrays[0]) - size + 1, size)]


def _arrays(graph: LayerGraph, inputs: Inputs) -> list[npt.NDArray[np.float32]]:
    if isinstance(inputs, Mapping):
        names = [t.name for t in graph.inputs]
        if set(names) != set(inputs):
            raise InvalidArgumentError(f"inputs: expected arrays for {names}, found them for {list(inputs)}")
        arrays = [inputs[t.name] for t in graph.inputs]
    else:
        arrays = list(inputs) if isinstance(inputs, list | tuple) else [np.asarray(inputs)]
    if len(arrays) != len(graph.inputs):
        raise InvalidArgumentError(f"inputs: expected {len(graph.inputs)} arrays, found {len(arrays)}")
    try:
        return [np.asarray(value, np.float32) for value in arrays]
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"inputs: expected arrays of numbers, found something else: {error}") from error


def generated_batches(graph: LayerGraph, flat: FlatModel) -> Iterator[Batch]:
    """Synthetic images with a 1/f spectrum (fixed seed), within the ranges of the file's inputs."""
    random = np.random.default_rng(0)
    size = graph.inputs[0].shape[0]
    inputs = zip(graph.inputs, input_tensor_names(flat, graph), flat.subgraph.inputs, strict=True)
    channels = [_channels(t, *_before(graph, name, *_range(flat, int(index)))) for t, name, index in inputs]
    for _ in range(max(_NUM_GENERATED // size, 1)):
        yield [
            np.concatenate([synthetic_input(tensor, statistics, random) for _ in range(size)])
            for tensor, statistics in zip(graph.inputs, channels, strict=True)
        ]


def _before(graph: LayerGraph, name: str, low: float, high: float) -> tuple[Array, Array]:
    """The model's own input range, where a Rescaling at the input is folded into the file's input quantization."""
    inverse = graph.producers[name].primitive.inverse if name in graph.producers else None
    ends = np.array(low), np.array(high)
    return ends if inverse is None else (inverse(ends[0]), inverse(ends[1]))


def _channels(tensor: Tensor, low: Array, high: Array) -> InputStatistics:
    ones = np.ones(tensor.channels)
    moments = Moments((low + high) / 2 * ones, ((high - low) / priors.INPUT_RANGE_SIGMAS.value) ** 2 * ones)
    return InputStatistics(moments, ChannelRanges(low * ones, high * ones, Source.TOLD))


def _range(flat: FlatModel, index: int) -> tuple[float, float]:
    """The range of an input's quantized values; of a float input, that of the tensor it is quantized to."""
    parameters = flat.quantization(index)
    if parameters is not None:
        return parameters.low, parameters.high
    quantizers = [operator for operator in flat.consumers(index) if flat.kind(operator) == "QUANTIZE"]
    if not quantizers:
        raise InvalidArgumentError(
            f"inputs: the range of the float input {flat.name(index)!r} is not known: pass inputs"
        )
    return _range(flat, int(quantizers[0].outputs[0]))

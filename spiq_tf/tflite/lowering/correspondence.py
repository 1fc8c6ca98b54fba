"""Which tensor of the float file holds which tensor of the graph."""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from spiq_tf.execution.executor import execute, input_tensors
from spiq_tf.graph.layer_graph import Call, LayerGraph, Tensor
from spiq_tf.rescaling import RescaledModel
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.operators.table import WEIGHTED_OPERATORS
from spiq_tf.tflite.provenance import TensorProvenance

SCOPE = re.compile(r"(?:^|;)call(\d+)/")
"""The name scope of a layer call in the name of an operation or a tensor, see `scope_of`."""


def scope_of(call: Call) -> str:
    """The name scope under which a call is traced: it survives in the names of the file's tensors."""
    return f"call{call.index}"


def tensor_provenance(flat: FlatModel, content: bytes, rescaled: RescaledModel) -> dict[int, TensorProvenance]:
    """The graph's tensor that each of the file's tensors holds, checked by value; converter-generated intermediates are
    absent.

    Args:
        flat: the float file, before any pass.
        content: the same, packed.
        rescaled: the model that it was made of.
    """
    return with_reshaped(checked_by_value(match(flat, rescaled.graph), flat, content, rescaled), flat)


def match(flat: FlatModel, graph: LayerGraph) -> dict[int, str]:
    """Which graph tensor each of the file's tensors seems to hold, by names and shapes alone.

    The last tensor of a layer call is the call's output; those before it are outputs of linear operators within the
    call (the depthwise half of a SeparableConv2D, a convolution before its own sigmoid) or converter-generated.
    """
    result = {int(i): name for i, name in zip(flat.subgraph.inputs, input_tensor_names(flat, graph), strict=True)}
    tensors_of: dict[int, list[tuple[int, str]]] = {}
    calls = origin_calls(flat, graph)
    for operator in flat.operators:
        for index in map(int, operator.outputs):
            if index in calls:
                tensors_of.setdefault(calls[index], []).append((index, flat.kind(operator)))
    for call, tensors in tensors_of.items():
        result |= _match_call(flat, graph, call, tensors)
    result |= {index: tensor.name for index, tensor in _outputs(flat, graph).items()}
    for call, tensors in tensors_of.items():
        # of a folded BatchNorm that adds nothing, as in an untrained model, the file's tensor bears no name
        last, ends = tensors[-1][0], [graph.materialized_for(t) for t in graph.calls[call].outputs]
        if last not in result and len(ends) == 1 and ends[0].name not in result.values():
            result |= {last: ends[0].name} if _holds(flat.shape(last), ends[0].shape) else {}
    return result


def input_tensor_names(flat: FlatModel, graph: LayerGraph) -> list[str]:
    """The graph's tensor that each of the file's inputs holds: an input, or the output of a Rescaling of it that the
    input's scale has taken in."""
    scopes = (SCOPE.search(flat.name(int(index))) for index in flat.subgraph.inputs)
    return [
        tensor.name if scope is None else graph.calls[int(scope[1])].outputs[0].name
        for scope, tensor in zip(scopes, graph.inputs, strict=True)
    ]


def _outputs(flat: FlatModel, graph: LayerGraph) -> dict[int, Tensor]:
    return {int(i): t for i, t in zip(flat.subgraph.outputs, graph.outputs, strict=True)}


def origin_calls(flat: FlatModel, graph: LayerGraph) -> dict[int, int]:
    """Index of the layer call that each computed tensor comes from, where that is known.

    It is the last of those whose operations were fused into one operator, all of which its name lists. Where a layer is
    called again, the calls with which it shares weights may stand there too, after its own.
    """
    outputs = _outputs(flat, graph)
    result: dict[int, int] = {}
    for index in (int(i) for operator in flat.operators for i in operator.outputs):
        named = [int(number) for number in SCOPE.findall(flat.name(index))]
        first_of_layer = {id(graph.calls[call].layer): call for call in reversed(named)}
        calls = list(first_of_layer.values())
        if index in outputs:  # another name stands there
            producer = graph.producers.get(outputs[index].name)
            calls = [] if producer is None else [producer.call.index]
        if calls:
            result[index] = max(calls)
    return result


def _match_call(
    flat: FlatModel, graph: LayerGraph, index_of_call: int, tensors: list[tuple[int, str]]
) -> dict[int, str]:
    call = graph.calls[index_of_call]
    last, _ = tensors[-1]
    result = {}
    materialized = len(call.outputs) == 1 and call.outputs[0].name not in graph.fused
    if materialized and _holds(flat.shape(last), call.outputs[0].shape):
        result[last] = call.outputs[0].name
    nodes = [n for n in graph.nodes_of_call[index_of_call] if n.output.name not in graph.fused]
    linears = [n.output for n in nodes if n.primitive.is_linear]
    padded = [n.output for n in nodes if n.primitive.is_padding]
    for expected, kinds in ((linears, WEIGHTED_OPERATORS), (padded, _PADS)):
        candidates = [index for index, kind in tensors if kind in kinds and index not in result]
        for index, tensor in zip(candidates, expected, strict=False):
            if _holds(flat.shape(index), tensor.shape):
                result[index] = tensor.name
    return result


_PADS = ("PAD", "PADV2")


def _holds(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether a tensor can hold another's values: the converter flattens spatial locations, never channels."""
    return math.prod(shape) == math.prod(expected) and shape[-1:] == expected[-1:]


def checked_by_value(
    names: Mapping[int, str], flat: FlatModel, content: bytes, rescaled: RescaledModel
) -> dict[int, TensorProvenance]:
    """Those of the matches that are right by value: each layer is run on what the file holds of its inputs.

    Where the file holds a multiple, the match gets its factor; where it holds something else, the match is dropped.
    Layers that end with a convolution or with an activation that is fused into the operator are taken as they are,
    unless the layer is called again, or the tensor of its name is not the output of an operator with weights (a reshape
    that was moved before a Dense); so are tensors within a call, unless one function computes the call's output from
    them.

    Args:
        names: of the graph's tensors, by the file's index.
        flat: the float file.
        content: the same, packed.
        rescaled: the model that it was made of.
    """
    graph = rescaled.graph
    calls = Counter(id(call.layer) for call in graph.calls)
    result = {index: TensorProvenance(name) for index, name in names.items()}
    values = _Values(rescaled, content, {name: (index, 1.0) for index, name in names.items()})
    weighted = {int(i) for o in flat.operators if flat.kind(o) in WEIGHTED_OPERATORS for i in o.outputs}
    for call in graph.calls:
        if not _needs_check(call, graph, values, weighted) and calls[id(call.layer)] == 1:
            continue
        for tensor in call.outputs:
            if tensor.name not in values.matches:
                continue
            index, _ = values.matches.pop(tensor.name)
            factor = _ratio(values.of_file(index), values[tensor.name].ravel())
            if factor is None:
                del result[index]
            else:
                result[index] = TensorProvenance(tensor.name, factor)
                values.matches[tensor.name] = index, factor
        for name in _misread(call, graph, values):
            index, _ = values.matches.pop(name)
            del result[index]
    return result


def _misread(call: Call, graph: LayerGraph, values: "_Values") -> list[str]:
    """Tensors before a call's own activation of which the file holds something else.

    Of a hard sigmoid, relu6(x + 3) / 6, the converter adds the 3 to the bias of the convolution and fuses the ReLU6.
    """
    nodes = graph.nodes_of_call[call.index]
    ends, within = ({tensor.name for tensor in tensors} for tensors in (call.outputs, (n.output for n in nodes)))
    result = []
    for node in nodes:
        inner = node.inputs[0]
        if len(node.inputs) > 1 or node.output.name not in ends:
            continue
        if inner.name not in (within - ends) & values.matches.keys():
            continue
        index, _ = values.matches[inner.name]
        computed = node.primitive.forward([values.of_file(index).reshape(inner.shape).astype(np.float64)])
        if (
            computed is not None
            and _ratio(computed.ravel().astype(np.float32), values[node.output.name].ravel()) != 1.0
        ):
            result.append(inner.name)
    return result


_RESHAPES = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")


def with_reshaped(provenance: Mapping[int, TensorProvenance], flat: FlatModel) -> dict[int, TensorProvenance]:
    """The matches, and those of tensors that hold the same values in another shape of as many channels.

    A convolution in one dimension becomes one in two between reshapes.
    """
    result = dict(provenance)
    reshapes = [o for o in flat.operators if flat.kind(o) in _RESHAPES]
    pairs = [(int(o.inputs[0]), int(o.outputs[0])) for o in reshapes]
    pairs = [(x, y) for x, y in pairs if flat.shape(x)[-1:] == flat.shape(y)[-1:]]
    for x, y in pairs:
        if x in result:
            result.setdefault(y, result[x])
    for x, y in reversed(pairs):
        if y in result:
            result.setdefault(x, result[y])
    return result


class _Values:
    """Values of the graph's tensors for one random input: the file's where it holds them, else their layer's."""

    def __init__(self, rescaled: RescaledModel, content: bytes, matches: dict[str, tuple[int, float]]) -> None:
        """Runs the file.

        Args:
            rescaled: the model.
            content: the float file.
            matches: index and factor of the file's tensor that holds each of the graph's, by name; may be changed.
        """
        self.matches = matches
        self._rescaled, self._graph = rescaled, rescaled.graph
        self._run: dict[str, npt.NDArray[np.float32]] = {}
        random, inputs = np.random.default_rng(0), self._graph.inputs
        ranges = [rescaled.ranges[t.name] for t in inputs]
        self._file = Interpreter(content, keep_all=True)
        self._file.run([random.uniform(r.low, r.high, t.shape) for r, t in zip(ranges, inputs, strict=True)])

    def of_file(self, index: int) -> npt.NDArray[np.float32]:
        """What the file holds, as a vector."""
        return self._file.value(index).ravel()

    def __getitem__(self, name: str) -> npt.NDArray[np.float32]:
        if name not in self.matches:
            if name not in self._run:
                self._replay(self._graph.producers[name].call)
            return self._run[name]
        index, factor = self.matches[name]
        value = self._file.value(index)
        return np.asarray(value / factor, np.float32) if np.issubdtype(value.dtype, np.floating) else value

    def _replay(self, call: Call) -> None:
        inputs = {t.name: tf.constant(self[t.name].reshape(t.shape)) for t in input_tensors(call)}
        keys = {key for node in self._graph.nodes_of_call[call.index] for key in node.primitive.variables()}
        weights = [(self._graph.variables[key], tf.constant(self._rescaled.weights[key])) for key in keys]
        values = execute([call], inputs, weights=weights)
        self._run |= {t.name: np.asarray(values[t.name]) for t in call.outputs}


def _needs_check(call: Call, graph: LayerGraph, values: _Values, weighted: Collection[int]) -> bool:
    last = graph.nodes_of_call[call.index][-1].primitive
    if last.is_linear:
        return any(values.matches[t.name][0] not in weighted for t in call.outputs if t.name in values.matches)
    return not last.fuses_into_producer


def _ratio(values: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> float | None:
    """The number by which the expected values were multiplied, or None if there is none; 1 where all are 0."""
    power = float(expected @ expected)
    factor = float(values @ expected) / power if power else 1.0
    if abs(factor - 1) < _SAME:
        factor = 1.0
    close = np.linalg.norm(values - factor * expected) <= _SAME * np.linalg.norm(values)
    return factor if close and factor else None


_SAME = 1e-3
"""Share of a tensor's size that float32 kernels of two libraries may differ by."""

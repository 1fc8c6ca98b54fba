"""Which tensor of the float file holds which tensor of the graph."""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from spiq_tf.frontend.capture import replay
from spiq_tf.graph.layer_graph import Call, LayerGraph, Tensor
from spiq_tf.rescaling import RescaledModel
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.operators.table import WEIGHTED_OPERATORS

_SCOPE = re.compile(r"(?:^|;)call(\d+)/")


def match(flat: FlatModel, graph: LayerGraph) -> dict[int, str]:
    """Which graph tensor each of the file's tensors seems to hold, told from names and shapes.

    The last tensor of a layer call is the call's output; tensors before it are a kernel's within the call (the
    depthwise half of a SeparableConv2D, a convolution in front of its own sigmoid) or are born in lowering.
    """
    found = {int(i): name for i, name in zip(flat.subgraph.inputs, input_tensor_names(flat, graph), strict=True)}
    owned: dict[int, list[tuple[int, str]]] = {}
    owned_by = origin_calls(flat, graph)
    for operator in flat.operators:
        for index in map(int, operator.outputs):
            if index in owned_by:
                owned.setdefault(owned_by[index], []).append((index, flat.kind(operator)))
    for owner, tensors in owned.items():
        found |= _match_call(flat, graph, owner, tensors)
    found |= {index: tensor.name for index, tensor in _leaving(flat, graph).items()}
    for owner, tensors in owned.items():
        # of a folded BatchNorm that adds nothing, as in an untrained model, the file's tensor bears no name
        last, ends = tensors[-1][0], [graph.materialized_for(t) for t in graph.calls[owner].outputs]
        if last not in found and len(ends) == 1 and ends[0].name not in found.values():
            found |= {last: ends[0].name} if _holds(flat.shape(last), ends[0].shape) else {}
    return found


def input_tensor_names(flat: FlatModel, graph: LayerGraph) -> list[str]:
    """The graph's tensor that each of the file's inputs holds: an input, or what a Rescaling in front, which the file
    has taken in, makes of one."""
    scopes = (_SCOPE.search(flat.name(int(index))) for index in flat.subgraph.inputs)
    return [
        tensor.name if scope is None else graph.calls[int(scope[1])].outputs[0].name
        for scope, tensor in zip(scopes, graph.inputs, strict=True)
    ]


def _leaving(flat: FlatModel, graph: LayerGraph) -> dict[int, Tensor]:
    return {int(i): t for i, t in zip(flat.subgraph.outputs, graph.outputs, strict=True)}


def origin_calls(flat: FlatModel, graph: LayerGraph) -> dict[int, int]:
    """Index of the call that each computed tensor belongs to, where that is known.

    It is the last of those whose operations were fused into one operator, all of which its name lists. Where a layer is
    called again, the calls with which it shares weights may stand there too, behind its own.
    """
    leaving = _leaving(flat, graph)
    found: dict[int, int] = {}
    for index in (int(i) for operator in flat.operators for i in operator.outputs):
        named = [int(number) for number in _SCOPE.findall(flat.name(index))]
        first_of_layer = {id(graph.calls[call].layer): call for call in reversed(named)}
        calls = list(first_of_layer.values())
        if index in leaving:  # another name stands there
            producer = graph.producers.get(leaving[index].name)
            calls = [] if producer is None else [producer.call.index]
        if calls:
            found[index] = max(calls)
    return found


def _match_call(flat: FlatModel, graph: LayerGraph, owner: int, tensors: list[tuple[int, str]]) -> dict[int, str]:
    call = graph.calls[owner]
    last, _ = tensors[-1]
    found = {}
    held_alone = len(call.outputs) == 1 and call.outputs[0].name not in graph.fused
    if held_alone and _holds(flat.shape(last), call.outputs[0].shape):
        found[last] = call.outputs[0].name
    nodes = [n for n in graph.nodes_of_call[owner] if n.output.name not in graph.fused]
    linears = [n.output for n in nodes if n.primitive.is_linear]
    padded = [n.output for n in nodes if n.primitive.is_padding]
    for expected, kinds in ((linears, WEIGHTED_OPERATORS), (padded, _PADS)):
        made = [index for index, kind in tensors if kind in kinds and index not in found]
        for index, tensor in zip(made, expected, strict=False):
            if _holds(flat.shape(index), tensor.shape):
                found[index] = tensor.name
    return found


_PADS = ("PAD", "PADV2")


def _holds(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether a tensor can hold another's values: the converter flattens positions, never channels."""
    return math.prod(shape) == math.prod(expected) and shape[-1:] == expected[-1:]


@dataclass(frozen=True)
class TensorProvenance:
    """What a tensor of the file holds.

    Attributes:
        name: of the graph's tensor.
        factor: the file's values over the graph's. Not 1 where the converter has moved a factor from the end of a layer
            into the weights behind it (an average's half, a hard sigmoid's sixth).
    """

    name: str
    factor: float = 1.0


def checked_by_value(
    names: Mapping[int, str], flat: FlatModel, content: bytes, rewritten: RescaledModel
) -> dict[int, TensorProvenance]:
    """Those of the matches that hold by value: each layer is run on what the file holds of its inputs.

    Where the file holds a multiple, the factor is told; where it holds something else, the match is dropped. Layers
    that end with a convolution or with an activation that is fused into the operator are taken as they are, unless the
    layer is called again, or what bears its name is no kernel's output (a reshape that was moved in front of a Dense);
    so is what lies within a call, unless one function makes the call's output of it.

    Args:
        names: of the graph's tensors, by the file's index.
        flat: the float file.
        content: the same, packed.
        rewritten: the model that it was made of.
    """
    graph = rewritten.graph
    calls = Counter(id(call.layer) for call in graph.calls)
    found = {index: TensorProvenance(name) for index, name in names.items()}
    values = _Values(rewritten, content, {name: (index, 1.0) for index, name in names.items()})
    kernels = {int(i) for o in flat.operators if flat.kind(o) in WEIGHTED_OPERATORS for i in o.outputs}
    for call in graph.calls:
        if not _needs_check(call, graph, values, kernels) and calls[id(call.layer)] == 1:
            continue
        for tensor in call.outputs:
            if tensor.name not in values.held:
                continue
            index, _ = values.held.pop(tensor.name)
            factor = _ratio(values.of_file(index), values[tensor.name].ravel())
            if factor is None:
                del found[index]
            else:
                found[index] = TensorProvenance(tensor.name, factor)
                values.held[tensor.name] = index, factor
        for name in _misread(call, graph, values):
            index, _ = values.held.pop(name)
            del found[index]
    return found


def _misread(call: Call, graph: LayerGraph, values: "_Values") -> list[str]:
    """Tensors in front of a call's own activation of which the file holds something else.

    Of a hard sigmoid, relu6(x + 3) / 6, the converter adds the 3 to the bias of the convolution and fuses the ReLU6.
    """
    nodes = graph.nodes_of_call[call.index]
    ends, within = ({tensor.name for tensor in tensors} for tensors in (call.outputs, (n.output for n in nodes)))
    found = []
    for node in nodes:
        inner = node.inputs[0]
        if node.output.name not in ends or inner.name not in (within - ends) & values.held.keys():
            continue
        index, _ = values.held[inner.name]
        made = node.primitive.forward([values.of_file(index).reshape(inner.shape).astype(np.float64)])
        if made is not None and _ratio(made.ravel().astype(np.float32), values[node.output.name].ravel()) != 1.0:
            found.append(inner.name)
    return found


_RESHAPES = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")


def with_reshaped(found: Mapping[int, TensorProvenance], flat: FlatModel) -> dict[int, TensorProvenance]:
    """The matches, and those of tensors that hold the same values in another shape, channels apart as before.

    A convolution in one dimension becomes one in two between reshapes.
    """
    result = dict(found)
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
    """Values of the graph's tensors for one made-up input: the file's where it holds them, else their layer's."""

    def __init__(self, rewritten: RescaledModel, content: bytes, held: dict[str, tuple[int, float]]) -> None:
        """Runs the file.

        Args:
            rewritten: the model.
            content: the float file.
            held: which of the file's tensors holds how much of each of the graph's; may be changed.
        """
        self.held = held
        self._rewritten, self._graph = rewritten, rewritten.graph
        self._run: dict[str, npt.NDArray[np.float32]] = {}
        random, inputs = np.random.default_rng(0), self._graph.inputs
        ranges = [rewritten.ranges[t.name] for t in inputs]
        self._file = Interpreter(content, keep_all=True)
        self._file.run([random.uniform(r.low, r.high, t.shape) for r, t in zip(ranges, inputs, strict=True)])

    def of_file(self, index: int) -> npt.NDArray[np.float32]:
        """What the file holds, flat."""
        return self._file.value(index).ravel()

    def __getitem__(self, name: str) -> npt.NDArray[np.float32]:
        if name not in self.held:
            if name not in self._run:
                self._replay(self._graph.producers[name].call)
            return self._run[name]
        index, factor = self.held[name]
        value = self._file.value(index)
        return np.asarray(value / factor, np.float32) if np.issubdtype(value.dtype, np.floating) else value

    def _replay(self, call: Call) -> None:
        arguments = keras.tree.flatten((call.args, dict(call.kwargs)))
        read = [a for a in arguments if isinstance(a, Tensor)]
        inputs = {t.name: tf.constant(self[t.name].reshape(t.shape)) for t in read}
        keys = {key for node in self._graph.nodes_of_call[call.index] for key in node.primitive.variables()}
        weights = [(self._graph.variables[key], tf.constant(self._rewritten.weights[key])) for key in keys]
        with keras.StatelessScope(state_mapping=weights):
            outputs = replay(call, inputs)
        self._run |= {t.name: np.asarray(y) for t, y in zip(call.outputs, outputs, strict=True)}


def _needs_check(call: Call, graph: LayerGraph, values: _Values, kernels: Collection[int]) -> bool:
    last = graph.nodes_of_call[call.index][-1].primitive
    if last.is_linear:
        return any(values.held[t.name][0] not in kernels for t in call.outputs if t.name in values.held)
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

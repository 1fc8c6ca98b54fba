"""The rewritten model -> a float flatbuffer, and which of its tensors is which layer's.

Tracing with the new weights in place of the old ones leaves the user's model alone and needs no SavedModel; a
name scope for each layer call survives in the names of the file's tensors.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from spiq_tf.capture import replay
from spiq_tf.errors import LoweringError
from spiq_tf.graph import LayerGraph, Tensor
from spiq_tf.rewriting import Rewritten
from spiq_tf.tflite.channelwise import multiply_channelwise
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.parametric import add_rectified
from spiq_tf.tflite.silence import silence
from spiq_tf.tflite.whole_maps import average_whole_maps

_SCOPE = re.compile(r"(?:^|;)call(\d+)/")
_KERNEL_OPERATORS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


@dataclass(frozen=True)
class Lowered:
    """A float flatbuffer.

    Attributes:
        content: the file as the converter wrote it.
        flat: the same to be changed; its inputs and outputs are in the order of the Keras model's.
        tensors: the name of the graph's tensor that each of the file's tensors holds, by index. Tensors born
            in lowering are absent.
        owners: the index of the layer call that each operator's output belongs to, by tensor index.
    """

    content: bytes
    flat: FlatModel
    tensors: dict[int, str]
    owners: dict[int, int]

    def made_by(self, calls: Collection[int]) -> frozenset[int]:
        """Indices of the tensors that the operators of some layer calls make."""
        return frozenset(index for index, call in self.owners.items() if call in calls)


def lower(rewritten: Rewritten) -> Lowered:
    """Traces the model with its new weights and converts it.

    Raises:
        LoweringError: TensorFlow cannot trace the model, or its converter has no operator for a part of it.
    """
    # variables, not constants: the converter copies the graph several times before it puts their values in
    held = {key: tf.Variable(value, trainable=False) for key, value in rewritten.weights.items()}
    content = _convert(_trace(rewritten.graph, held))
    flat = FlatModel(content)
    tensors = _match(flat, rewritten.graph)
    average_whole_maps(flat)
    multiply_channelwise(flat)
    add_rectified(flat)
    return Lowered(content, flat, tensors, _owners(flat, rewritten.graph))


def _trace(graph: LayerGraph, held: Mapping[int, tf.Variable]) -> Any:
    """The model as a concrete function that reads its weights from the held variables."""

    def run(*inputs: Any) -> list[Any]:
        read = [(v, held[key].read_value()) for key, v in graph.variables.items()]
        values = {t.name: x for t, x in zip(graph.inputs, inputs, strict=True)}
        with keras.StatelessScope(state_mapping=read):
            for call in graph.calls:
                with tf.name_scope(f"call{call.index}"):
                    outputs = replay(call, values)
                values.update({t.name: y for t, y in zip(call.outputs, outputs, strict=True)})
        return [tf.cast(values[t.name], tf.float32) for t in graph.outputs]

    signature = [tf.TensorSpec(t.shape, tf.float32, name=f"input{index}") for index, t in enumerate(graph.inputs)]
    try:
        return tf.function(run, input_signature=signature, autograph=False).get_concrete_function()
    except Exception as error:  # whatever a layer's own code raises
        raise LoweringError(f"the model cannot be traced by TensorFlow with static shapes: {error}") from error


def _convert(concrete: Any) -> bytes:
    try:
        with silence():
            return bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())
    except Exception as error:  # the converter raises its own type, RuntimeError and ValueError
        raise LoweringError(f"TensorFlow's converter has no TFLite operators for this model: {error}") from error


def _match(flat: FlatModel, graph: LayerGraph) -> dict[int, str]:
    """Which graph tensor each of the file's tensors holds.

    The last tensor of a layer call is the call's output; tensors before it are a kernel's within the call (the
    depthwise half of a SeparableConv2D, a convolution in front of its own sigmoid) or are born in lowering.
    """
    found = {int(i): t.name for i, t in zip(flat.subgraph.inputs, graph.inputs, strict=True)}
    owned: dict[int, list[tuple[int, str]]] = {}
    owners = _owners(flat, graph)
    for operator in flat.operators:
        for index in map(int, operator.outputs):
            if index in owners:
                owned.setdefault(owners[index], []).append((index, flat.kind(operator)))
    for owner, tensors in owned.items():
        found |= _match_call(flat, graph, owner, tensors)
    return {**found, **{index: tensor.name for index, tensor in _leaving(flat, graph).items()}}


def _leaving(flat: FlatModel, graph: LayerGraph) -> dict[int, Tensor]:
    return {int(i): t for i, t in zip(flat.subgraph.outputs, graph.outputs, strict=True)}


def _owners(flat: FlatModel, graph: LayerGraph) -> dict[int, int]:
    """Index of the call that each computed tensor belongs to, where that is known."""
    leaving = _leaving(flat, graph)
    made = [int(i) for operator in flat.operators for i in operator.outputs]
    found = {index: _owner(flat.name(index), leaving.get(index), graph) for index in made}
    return {index: owner for index, owner in found.items() if owner is not None}


def _owner(name: str, leaving: Tensor | None, graph: LayerGraph) -> int | None:
    """Index of the call that a tensor belongs to: the last of those whose operators were fused into one."""
    if leaving is not None:
        producer = graph.producers.get(leaving.name)
        return None if producer is None else producer.call.index
    calls = [int(number) for number in _SCOPE.findall(name)]
    return max(calls) if calls else None


def _match_call(flat: FlatModel, graph: LayerGraph, owner: int, tensors: list[tuple[int, str]]) -> dict[int, str]:
    call = graph.calls[owner]
    last, _ = tensors[-1]
    found = {}
    held_alone = len(call.outputs) == 1 and call.outputs[0].name not in graph.fused
    if held_alone and _holds(flat.shape(last), call.outputs[0].shape):
        found[last] = call.outputs[0].name
    linears = [n.output for n in graph.nodes_of_call[owner] if n.rule.is_linear]
    held = [t for t in linears if t.name not in graph.fused]
    kernels = [index for index, kind in tensors if kind in _KERNEL_OPERATORS and index not in found]
    for index, tensor in zip(kernels, held, strict=False):
        if _holds(flat.shape(index), tensor.shape):
            found[index] = tensor.name
    return found


def _holds(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether a tensor can hold another's values: the converter flattens positions, never channels."""
    return math.prod(shape) == math.prod(expected) and shape[-1:] == expected[-1:]

"""The rescaled model -> a float file, and which of its tensors holds which of the graph's.

Tracing with the rescaled weights in place of the model's own leaves the user's model alone and needs no SavedModel; a
name scope for each layer call survives in the names of the file's tensors.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from spiq_tf.errors import InvalidModelError, LoweringError, short_reason
from spiq_tf.execution.executor import execute, run_layer
from spiq_tf.graph.layer_graph import Call, LayerGraph, Tensor
from spiq_tf.rescaling import RescaledModel
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.lowering.correspondence import SCOPE, scope_of, tensor_provenance
from spiq_tf.tflite.lowering.graph_rewrites import converter_friendly
from spiq_tf.tflite.passes.fold_constants import fold_constants
from spiq_tf.tflite.provenance import TensorProvenance
from spiq_tf.tflite.silence import silence

_UNKNOWN = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")  # as the converter writes it


@dataclass(frozen=True, kw_only=True)
class LoweredModel:
    """A float file as the converter wrote it.

    Attributes:
        content: the file, operators on constants computed.
        provenance: the graph's tensor that each of the file's tensors holds, by index; converter-generated
            intermediates are absent.
    """

    content: bytes
    provenance: Mapping[int, TensorProvenance]


def lower(rescaled: RescaledModel) -> LoweredModel:
    """Traces the model with its rescaled weights, converts it, and finds the graph's tensors in the file.

    Raises:
        InvalidModelError: an output holds integers.
        LoweringError: TensorFlow cannot trace the model, or its converter has no operator for a part of it.
    """
    content = _float_file(rescaled)
    flat = FlatModel(content)
    if fold_constants(flat):
        content = flat.content()
    return LoweredModel(content=content, provenance=tensor_provenance(flat, content, rescaled))


def _float_file(rewritten: RescaledModel) -> bytes:
    # variables, not constants: the converter copies the graph several times before it puts their values in
    weights = {key: tf.Variable(value, trainable=False) for key, value in rewritten.weights.items()}
    return _convert(_trace(rewritten.graph, weights), rewritten.graph)


def _trace(graph: LayerGraph, weights: Mapping[int, tf.Variable]) -> Any:
    """The model as a concrete function that reads its weights from the given variables, by key."""

    integers: list[Tensor] = []

    def run(*inputs: Any) -> list[Any]:
        read = [(v, weights[key].read_value()) for key, v in graph.variables.items()]
        given = {t.name: x for t, x in zip(graph.inputs, inputs, strict=True)}
        values = execute(graph.calls, given, _run_in_scope, read)
        integers[:] = [t for t in graph.outputs if values[t.name].dtype.is_integer]
        return [tf.cast(values[t.name], tf.float32) for t in graph.outputs]

    signature = [tf.TensorSpec(t.shape, tf.float32, name=f"input{index}") for index, t in enumerate(graph.inputs)]
    try:
        traced = tf.function(run, input_signature=signature, autograph=False).get_concrete_function()
    except Exception as error:  # whatever a layer's own code raises
        raise LoweringError(f"the model cannot be traced by TensorFlow with static shapes: {error}") from error
    if integers:
        raise InvalidModelError(
            f"layer {graph.producers[integers[0].name].call.name!r} returns integers: expected floats, since int8 holds"
            " 256 integers and no more; convert the model without it (an argmax, a top_k), and apply it to the int8"
            " values, which are in the same order"
        )
    return converter_friendly(traced, list(weights.values()))


def _run_in_scope(call: Call, values: Mapping[str, Any]) -> dict[str, Any]:
    """One call under a name scope of its own."""
    with tf.name_scope(scope_of(call)):
        return run_layer(call, values)


def _convert(concrete: Any, graph: LayerGraph) -> bytes:
    try:
        with silence():
            return bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())
    except Exception as error:  # the converter raises its own type, RuntimeError and ValueError
        raise LoweringError(_refusal(error, concrete, graph)) from error


def _refusal(error: Exception, concrete: Any, graph: LayerGraph) -> str:
    """What the converter has no operators for, and in which layers, out of pages of its own code."""
    kinds = sorted(set(_UNKNOWN.findall(str(error))))
    if not kinds:
        return f"TensorFlow's converter has no TFLite operators for this model: {short_reason(error)}"
    refused = [o for o in concrete.graph.get_operations() if o.type in kinds]
    listed = ", ".join(f"{kind}{_origin(kind, refused, graph)}" for kind in kinds)
    if any(x.dtype == tf.float64 for operation in refused for x in (*operation.inputs, *operation.outputs)):
        return f"TensorFlow's converter has no TFLite operator for {listed} in float64: write float(np.sqrt(2))"
    return f"TensorFlow's converter has no TFLite operator for {listed}: leave it out of the model"


def _origin(kind: str, operations: Sequence[Any], graph: LayerGraph) -> str:
    """The layers that are traced to an operation; the converter makes some itself."""
    scopes = (SCOPE.match(o.name) for o in operations if o.type == kind)
    names = dict.fromkeys(graph.calls[int(scope[1])].name for scope in scopes if scope is not None)
    return f" (of {', '.join(map(repr, names))})" if names else ""

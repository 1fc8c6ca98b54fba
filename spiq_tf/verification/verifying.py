"""`spiq_tf.verify`: a finished file against the float model that it was made from."""

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spiq_tf.conformance.checking import damaged_file_error, file_content
from spiq_tf.distributions.values import Array
from spiq_tf.errors import InvalidArgumentError
from spiq_tf.frontend.capture import capture
from spiq_tf.frontend.entry import to_float32_functional
from spiq_tf.graph.layer_graph import LayerGraph
from spiq_tf.process_lock import PROCESS_LOCK
from spiq_tf.tensor_info import TensorInfo
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.lowering.correspondence import input_tensor_names, match
from spiq_tf.verification.degenerate_output import degenerate_output, is_constant_by_design
from spiq_tf.verification.finding import LayerFinding, OutputFinding, Verification
from spiq_tf.verification.float_model import run_float
from spiq_tf.verification.inputs import Batch, Inputs, generated_batches, given_batches
from spiq_tf.verification.layers import layer_findings
from spiq_tf.verification.sums import Sums

_SOUND_DB = 25.0  # dB at every output: then only values at which an activation is constant are clipped
_MOST_CLIPPED = 0.1  # share of a tensor's values: tails are far rarer


def verify_file(
    model: Any,
    tflite: bytes | str | os.PathLike[str],
    inputs: Inputs | None = None,
    tensors: Sequence[TensorInfo] | None = None,
) -> Verification:
    """`spiq_tf.verify` of a file's content or path.

    Args:
        model: the Keras model that the file was made from.
        tflite: the file's content or its path.
        inputs: as for `spiq_tf.verify`.
        tensors: what `quantize` reports of the file's tensors, with the absorbed channel scales; None: tensors are
            assigned to layers by name, and scales are fitted.
    """
    content = file_content(tflite)
    with damaged_file_error():
        flat = FlatModel(content)
    batch_size = (flat.shape(int(flat.subgraph.inputs[0])) or (1,))[0]
    with PROCESS_LOCK:
        graph = capture(to_float32_functional(model, batch_size), batch_size)
    if _reorder_to_model(flat, graph):
        content = flat.content()
    _check_shapes(flat, graph)
    batches = list(generated_batches(graph, flat)) if inputs is None else given_batches(graph, inputs)
    float_values, file_values = _outputs(graph, flat, content, batches)
    _check_finite(graph.output_names, float_values)
    scales: dict[str, Array] = {}
    if tensors is None:
        tensor_of = {name: index for index, name in match(flat, graph).items()}
    else:
        tensor_of, scales = _reported(tensors, flat)
    layers = layer_findings(graph, flat, content, tensor_of, scales, batches)
    outputs = tuple(map(_output, graph.output_names, float_values, file_values))
    is_sound = all(output.sqnr_db >= _SOUND_DB for output in outputs)
    return Verification(
        outputs=outputs,
        layers=layers,
        problems=(
            *_degenerate_problems(graph.output_names, float_values, file_values),
            *_clipping_problems(graph, layers, is_sound),
        ),
        examples=len(batches) * batch_size,
        generated=inputs is None,
    )


def _reorder_to_model(flat: FlatModel, graph: LayerGraph) -> bool:
    """Reorders, in place, inputs and outputs to the model's order, if the signature states it: other converters write
    another order. Returns whether that changed anything."""
    if len(flat.model.signatureDefs or ()) != 1:
        return False
    (signature,) = flat.model.signatureDefs
    before = [*flat.subgraph.inputs, *flat.subgraph.outputs]
    flat.subgraph.inputs = _ordered(flat.subgraph.inputs, signature.inputs, graph.input_names)
    flat.subgraph.outputs = _ordered(flat.subgraph.outputs, signature.outputs, graph.output_names)
    return [*flat.subgraph.inputs, *flat.subgraph.outputs] != before


def _ordered(tensors: Sequence[int], entries: Sequence[Any], names: Sequence[str]) -> npt.NDArray[np.int32]:
    """Tensors in the order of their names in the signature: the model's names, or numbered ones ("output_0")."""
    index_of = {entry.name.decode(): int(entry.tensorIndex) for entry in entries}
    numbered = sorted(
        (name for name in index_of if _NUMBERED.fullmatch(name)), key=lambda name: int(name.split("_")[-1])
    )
    for order in (names, numbered):
        if set(order) == set(index_of) and sorted(index_of.values()) == sorted(map(int, tensors)):
            return np.array([index_of[name] for name in order], np.int32)
    return np.array(tensors, np.int32)


_NUMBERED = re.compile(r"(input|output)_\d+")


def _check_shapes(flat: FlatModel, graph: LayerGraph) -> None:
    for side, indices, tensors in (
        ("input", flat.subgraph.inputs, graph.inputs),
        ("output", flat.subgraph.outputs, graph.outputs),
    ):
        shapes, expected = [flat.shape(int(i)) for i in indices], [t.shape for t in tensors]
        if shapes != expected:
            raise InvalidArgumentError(
                f"expected a file with {side}s of the model's shapes {expected}, found {shapes}: it was made from"
                " another model"
            )


def _reported(tensors: Sequence[TensorInfo], flat: FlatModel) -> tuple[dict[str, int], dict[str, Array]]:
    """The index of the file's tensor that holds each of the graph's, and the absorbed channel scales, by the graph's
    name."""
    index_of = {flat.name(index): index for index in flat.activations()}
    materialized = [(t.layer, t) for t in tensors if t.layer is not None and t.name in index_of]
    return (
        {layer: index_of[t.name] for layer, t in materialized},
        {layer: np.array(t.channel_scales) for layer, t in materialized},
    )


def _outputs(
    graph: LayerGraph, flat: FlatModel, content: bytes, batches: Sequence[Batch]
) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]:
    """The float model's and the file's outputs, each of shape (examples, ...)."""
    interpreter, names = Interpreter(content), input_tensor_names(flat, graph)
    float_values, file_values = [], []
    for batch in batches:
        values = run_float(graph, batch)
        float_values.append([values[t.name].numpy() for t in graph.outputs])
        file_values.append(interpreter.run([values[name].numpy() for name in names]))
    float_outputs, file_outputs = (
        [np.concatenate(each) for each in zip(*runs, strict=True)] for runs in (float_values, file_values)
    )
    return float_outputs, file_outputs


def _check_finite(names: Sequence[str], float_values: Sequence[npt.NDArray[np.float32]]) -> None:
    for name, values in zip(names, float_values, strict=True):
        if not np.all(np.isfinite(values)):
            raise InvalidArgumentError(
                f"output {name!r} of the float model is NaN or infinite for some of the inputs: nothing can be compared"
            )


def _output(name: str, float_values: npt.NDArray[np.float32], file_values: npt.NDArray[np.float32]) -> OutputFinding:
    sums = Sums(float_values.shape[-1] if float_values.ndim > 1 else 1)
    sums.add(float_values, file_values - float_values)
    agreement = None
    if float_values.ndim > 1 and float_values.shape[-1] > 1:
        agreement = float(np.mean(float_values.argmax(axis=-1) == file_values.argmax(axis=-1)))
    return OutputFinding(name, sums.noise(), agreement)


def _degenerate_problems(
    names: Sequence[str],
    float_values: Sequence[npt.NDArray[np.float32]],
    file_values: Sequence[npt.NDArray[np.float32]],
) -> list[str]:
    if len(file_values[0]) == 1:
        return []  # a single example has no variation
    problems = [
        f"output {name!r} of the converted file is NaN or infinite for some of the inputs"
        if not np.all(np.isfinite(file_value))
        else degenerate_output(name, float_value, file_value)
        for name, float_value, file_value in zip(names, float_values, file_values, strict=True)
        if not is_constant_by_design(float_value)  # anchors; or the inputs hold no object that the model detects
    ]
    return [problem for problem in problems if problem is not None]


def _clipping_problems(graph: LayerGraph, layers: Sequence[LayerFinding], is_sound: bool) -> list[str]:
    """Inputs outside the file's input range, from which everything else follows; else tensors that are clipped too
    much, unless the outputs are good all the same."""
    model_inputs = {t.name for t in graph.inputs}
    outside = [
        f"input {x.layer!r}: {x.cut:.0%} of the given values lie outside the range for which the file was made: pass"
        " examples in the model's units, or convert with another input_range"
        for x in layers
        if x.layer in model_inputs and x.cut > _MOST_CLIPPED
    ]
    return outside or [
        f"tensor {x.layer!r}: {x.cut:.0%} of its values are clipped, since the range of its scale is too narrow"
        for x in layers
        if x.cut > _MOST_CLIPPED and not is_sound
    ]

"""`spiq_tf.verify`: a finished file against the float model that it was made of."""

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
from spiq_tf.result import QuantizedModel
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.lowering.correspondence import input_tensor_names, match
from spiq_tf.verification.degenerate_output import degenerate_output, is_constant_by_design
from spiq_tf.verification.finding import LayerFinding, OutputFinding, Verification
from spiq_tf.verification.float_model import run_float
from spiq_tf.verification.inputs import Batch, Inputs, generated_batches, given_batches
from spiq_tf.verification.layers import layer_findings
from spiq_tf.verification.sums import Sums

_SOUND = 25.0  # dB at every output: then what is cut is what an activation is flat for
_MOST_CUT = 0.1  # of a tensor's values: tails that are cut are far rarer


def verify(
    model: Any, tflite: bytes | str | os.PathLike[str] | QuantizedModel, inputs: Inputs | None = None
) -> Verification:
    """Compares a file with its float model, at the outputs and layer by layer.

    Layers are compared where the file's tensors can be told by their names, as in every file of spiq_tf. What
    `quantize` returned knows the scales that were absorbed; of a file alone they are fitted, channel by channel, which
    shows a layer's noise a little too small.

    Args:
        model: the Keras model that the file was made of, as `convert` takes it.
        tflite: the file's content, its path, or what `quantize` returned.
        inputs: what to compare on: an array of shape (examples, ...), one for each input in the model's order, or a
            mapping from input names to arrays. None: generated ones, with the spectrum of images, in the range that
            the file states for its inputs. Those show what breaks; how often real classes agree, only real inputs do.

    Returns:
        What was found; `problems` says in words what makes the file useless.

    Raises:
        InvalidArgumentError: the file has other inputs or outputs than the model, or the inputs do not fit.
        ModelFileError: the file is missing or no TFLite file.
        ModelTypeError, InvalidModelError: as for `convert`.
        LoweringError: LiteRT cannot run the file.
    """
    content = tflite.content if isinstance(tflite, QuantizedModel) else file_content(tflite)
    with damaged_file_error():
        flat = FlatModel(content)
    batch_size = (flat.shape(int(flat.subgraph.inputs[0])) or (1,))[0]
    with PROCESS_LOCK:
        graph = capture(to_float32_functional(model, batch_size), batch_size)
    if _bring_in_order(flat, graph):
        content = flat.content()
    _check_ends(flat, graph)
    batches = list(generated_batches(graph, flat)) if inputs is None else given_batches(graph, inputs)
    expected, found = _outputs(graph, flat, content, batches)
    _check_numbers(graph.output_names, expected)
    if isinstance(tflite, QuantizedModel):
        held, scales = _known(tflite, flat)
    else:
        held, scales = {name: index for index, name in match(flat, graph).items()}, {}
    layers = layer_findings(graph, flat, content, held, scales, batches)
    outputs = tuple(map(_output, graph.output_names, expected, found))
    sound = all(output.sqnr_db >= _SOUND for output in outputs)
    return Verification(
        outputs,
        layers,
        (*_useless(graph.output_names, expected, found), *_cut(graph, layers, sound)),
        len(batches) * batch_size,
        inputs is None,
    )


def _bring_in_order(flat: FlatModel, graph: LayerGraph) -> bool:
    """Puts, in place, inputs and outputs into the model's order, where the signature tells it: other converters write
    another one. Returns whether that changed anything."""
    if len(flat.model.signatureDefs or ()) != 1:
        return False
    (signature,) = flat.model.signatureDefs
    before = [*flat.subgraph.inputs, *flat.subgraph.outputs]
    flat.subgraph.inputs = _ordered(flat.subgraph.inputs, signature.inputs, graph.input_names)
    flat.subgraph.outputs = _ordered(flat.subgraph.outputs, signature.outputs, graph.output_names)
    return [*flat.subgraph.inputs, *flat.subgraph.outputs] != before


def _ordered(tensors: Sequence[int], entries: Sequence[Any], names: Sequence[str]) -> npt.NDArray[np.int32]:
    """Tensors in the order of their names in the signature, the model's own or numbered ones ("output_0")."""
    place = {entry.name.decode(): int(entry.tensorIndex) for entry in entries}
    numbered = sorted((name for name in place if _NUMBERED.fullmatch(name)), key=lambda name: int(name.split("_")[-1]))
    for order in (names, numbered):
        if set(order) == set(place) and sorted(place.values()) == sorted(map(int, tensors)):
            return np.array([place[name] for name in order], np.int32)
    return np.array(tensors, np.int32)


_NUMBERED = re.compile(r"(input|output)_\d+")


def _check_ends(flat: FlatModel, graph: LayerGraph) -> None:
    for end, indices, tensors in (
        ("input", flat.subgraph.inputs, graph.inputs),
        ("output", flat.subgraph.outputs, graph.outputs),
    ):
        shapes, expected = [flat.shape(int(i)) for i in indices], [t.shape for t in tensors]
        if shapes != expected:
            raise InvalidArgumentError(
                f"expected a file with {end}s of the model's shapes {expected}, found {shapes}: it was made of another"
                " model"
            )


def _known(result: QuantizedModel, flat: FlatModel) -> tuple[dict[str, int], dict[str, Array]]:
    """The file's tensor that holds each of the graph's, and the scales that were absorbed, by the graph's name."""
    place = {flat.name(index): index for index in flat.activations()}
    tensors = [(t.layer, t) for t in result.tensors if t.layer is not None and t.name in place]
    held = {layer: place[t.name] for layer, t in tensors}
    return held, {layer: np.array(t.channel_scales) for layer, t in tensors}


def _outputs(
    graph: LayerGraph, flat: FlatModel, content: bytes, batches: Sequence[Batch]
) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]:
    """The float model's and the file's outputs, each of shape (examples, ...)."""
    interpreter, names = Interpreter(content), input_tensor_names(flat, graph)
    expected, found = [], []
    for batch in batches:
        values = run_float(graph, batch)
        expected.append([values[t.name].numpy() for t in graph.outputs])
        found.append(interpreter.run([values[name].numpy() for name in names]))
    whole, others = ([np.concatenate(each) for each in zip(*runs, strict=True)] for runs in (expected, found))
    return whole, others


def _check_numbers(names: Sequence[str], expected: Sequence[npt.NDArray[np.float32]]) -> None:
    for name, values in zip(names, expected, strict=True):
        if not np.all(np.isfinite(values)):
            raise InvalidArgumentError(
                f"output {name!r} of the float model is NaN or infinite for some of the inputs: nothing can be compared"
            )


def _output(name: str, expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> OutputFinding:
    sums = Sums(expected.shape[-1] if expected.ndim > 1 else 1)
    sums.add(expected, found - expected)
    agreement = None
    if expected.ndim > 1 and expected.shape[-1] > 1:
        agreement = float(np.mean(expected.argmax(axis=-1) == found.argmax(axis=-1)))
    return OutputFinding(name, sums.noise(), agreement)


def _useless(
    names: Sequence[str], expected: Sequence[npt.NDArray[np.float32]], found: Sequence[npt.NDArray[np.float32]]
) -> list[str]:
    if len(found[0]) == 1:
        return []  # of a single example nothing varies
    problems = [
        f"output {name!r} of the converted file is NaN or infinite for some of the inputs"
        if not np.all(np.isfinite(y))
        else degenerate_output(name, exact, y)
        for name, exact, y in zip(names, expected, found, strict=True)
        if not is_constant_by_design(exact)  # anchors; or nothing that the model looks for is in the inputs
    ]
    return [problem for problem in problems if problem is not None]


def _cut(graph: LayerGraph, layers: Sequence[LayerFinding], sound: bool) -> list[str]:
    """What is cut off; of inputs themselves first: all else follows from it. Of a sound file nothing else counts."""
    entering = {t.name for t in graph.inputs}
    outside = [
        f"input {x.layer!r}: {x.cut:.0%} of the values given lie outside the range for which the file was made: give"
        " examples as the model is fed them, or convert with another input_range"
        for x in layers
        if x.layer in entering and x.cut > _MOST_CUT
    ]
    return outside or [
        f"tensor {x.layer!r}: {x.cut:.0%} of its values lie beyond the range of its scale, which is too narrow"
        for x in layers
        if x.cut > _MOST_CUT and not sound
    ]

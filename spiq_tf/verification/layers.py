"""The noise of each layer, in all and its own, and how much of that at the outputs is its doing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import logging

from spiq_tf.distributions.values import Array
from spiq_tf.execution.executor import call_outputs, execute
from spiq_tf.graph.layer_graph import Call, LayerGraph, Tensor
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.lowering.correspondence import input_tensor_names
from spiq_tf.verification.finding import LayerFinding
from spiq_tf.verification.float_model import run_float
from spiq_tf.verification.inputs import Batch
from spiq_tf.verification.sums import Sums, decibels

_Values = Mapping[str, npt.NDArray[np.float32]]


def layer_findings(
    graph: LayerGraph,
    flat: FlatModel,
    content: bytes,
    held: Mapping[str, int],
    scales: Mapping[str, Array],
    batches: Sequence[Batch],
) -> tuple[LayerFinding, ...]:
    """What is found of every tensor that the file holds.

    Args:
        graph: the float model.
        flat: the file.
        content: the same, packed.
        held: by the name of the graph's tensor, the index of the file's that holds it.
        scales: that were absorbed, the model's value over the file's, of shape (channels,), by the graph's tensor.
            Those that are missing are fitted to the float values: that hides what is wrong with a channel's scale.
        batches: the inputs.
    """
    made = (*graph.inputs, *(t for call in graph.calls for t in call.outputs))
    numbers = {name for name, value in run_float(graph, batches[0]).items() if value.dtype == tf.float32}
    kept = {t: held[t.name] for t in made if t.name in held and t.name in numbers}
    file = _File(flat, Interpreter(content, keep_all=True), input_tensor_names(flat, graph), kept)
    scales = {**_fitted(graph, file, batches, [t for t in file.tensors if t.name not in scales]), **scales}
    found = {tensor.name: _Tensor(Sums(tensor.channels)) for tensor in file.tensors}
    random = np.random.default_rng(1)
    for batch in batches:
        with tf.GradientTape() as tape:
            exact = run_float(graph, batch, tape)
        values = {name: value * scales[name].astype(np.float32) for name, value in file.run(exact).items()}
        own, local = _own_errors(graph, batch, values)
        for name, tensor in found.items():
            x = exact[name].numpy()
            tensor.sums.add(x, values[name] - x)
            tensor.cut += file.count_cut(name, (own[name] / scales[name]).astype(np.float32))
            tensor.values += x.size
            tensor.own += _power(own[name])
            tensor.signal += _power(local[name])
        for name, power in _passed_on(graph, tape, exact, own, random):
            found[name].passed += power
    whole = sum(tensor.passed for tensor in found.values())
    return tuple(
        LayerFinding(
            layer=name,
            tensor=flat.name(held[name]),
            noise=tensor.sums.noise(),
            own_db=float(decibels(tensor.signal, tensor.own)),
            share=tensor.passed / whole if whole > 0 else None,
            cut=tensor.cut / tensor.values,
        )
        for name, tensor in found.items()
    )


def _fitted(graph: LayerGraph, file: "_File", batches: Sequence[Batch], tensors: Sequence[Tensor]) -> dict[str, Array]:
    """The scale for which each channel of the file comes closest to the model's; 1 where nothing is left of it."""
    products, squares = ({t.name: np.zeros(t.channels) for t in tensors} for _ in range(2))
    for batch in batches if tensors else ():
        exact = run_float(graph, batch)
        values = file.run(exact)
        for t in tensors:
            x, y = (v.reshape(-1, t.channels).astype(np.float64) for v in (exact[t.name].numpy(), values[t.name]))
            products[t.name] += np.einsum("ic,ic->c", x, y)
            squares[t.name] += np.einsum("ic,ic->c", x, x)
    alive = {name: (product > 0) & (squares[name] > 0) for name, product in products.items()}
    return {
        name: np.where(alive[name], squares[name], 1.0) / np.where(alive[name], product, 1.0)
        for name, product in products.items()
    }


@dataclass
class _Tensor:
    """What adds up over the batches."""

    sums: Sums
    own: float = 0.0
    signal: float = 0.0
    passed: float = 0.0
    cut: int = 0
    values: int = 0


class _File:
    """The file, run with all its tensors kept."""

    def __init__(
        self, flat: FlatModel, interpreter: Interpreter, fed_with: Sequence[str], held: Mapping[Tensor, int]
    ) -> None:
        self.tensors = tuple(held)
        self._flat, self._interpreter, self._fed = flat, interpreter, fed_with
        self._held = {tensor.name: index for tensor, index in held.items()}

    def run(self, exact: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float32]]:
        """The real values, in the file's units, of the tensors that it holds, fed those of the float model."""
        self._interpreter.run([exact[name].numpy() for name in self._fed])
        return {t.name: self._real(self._held[t.name]).reshape(t.shape) for t in self.tensors}

    def _real(self, index: int) -> npt.NDArray[np.float32]:
        value, found = self._interpreter.value(index), self._flat.quantization(index)
        if found is None:
            return value.astype(np.float32)
        return ((value.astype(np.float32) - found[1]) * found[0]).astype(np.float32)

    def count_cut(self, name: str, errors: npt.NDArray[np.float32]) -> int:
        """How many values of the last run lie at an end of int8 and yet are wrong by more than rounding explains.

        Args:
            name: of the tensor.
            errors: that its layer made, in the file's units.
        """
        found = self._flat.quantization(self._held[name])
        if found is None:
            return 0
        value = self._interpreter.value(self._held[name])
        limits = np.iinfo(value.dtype)
        ends = (value == limits.min) | (value == limits.max)
        return int(np.sum(ends & (np.abs(errors.reshape(value.shape)) > _BEYOND * found[0])))


_BEYOND = 2.0  # steps


def _own_errors(
    graph: LayerGraph, batch: Batch, file: _Values
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, npt.NDArray[np.float32]]]:
    """What each layer adds, the file's values minus those of the float layer on what the file feeds it; and the
    latter."""
    errors, local = {}, {}

    def next_input(tensor: Tensor, value: npt.NDArray[Any]) -> tf.Tensor:
        if tensor.name in file:
            errors[tensor.name], local[tensor.name] = file[tensor.name] - value, value
        return tf.constant(file.get(tensor.name, value))

    def run_on_file_values(call: Call, values: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        made = zip(call.outputs, call_outputs(call, values), strict=True)
        return {tensor.name: next_input(tensor, value.numpy()) for tensor, value in made}

    inputs = {t.name: next_input(t, x) for t, x in zip(graph.inputs, batch, strict=True)}
    execute(graph.calls, inputs, run_on_file_values)
    return errors, local


def _power(values: npt.NDArray[np.float32]) -> float:
    return float(np.sum(values.astype(np.float64) ** 2))


def _passed_on(
    graph: LayerGraph, tape: tf.GradientTape, exact: Mapping[str, Any], errors: _Values, random: np.random.Generator
) -> list[tuple[str, float]]:
    """Power of each error at the outputs, relative to theirs, to first order; nothing where there is no derivative.

    With v a vector of random signs and J the derivative, E[(v J error)^2] = |J error|^2 (Hutchinson, 1990).
    """
    names = [name for name in errors if exact[name].dtype == tf.float32]
    outputs = [exact[t.name] for t in graph.outputs if exact[t.name].dtype == tf.float32]
    try:
        slopes = tape.gradient(outputs, [exact[name] for name in names], [_signs(y, random) for y in outputs])
    except (LookupError, tf.errors.OpError) as error:  # TensorFlow's own, where an operation has no gradient
        logging.warning("no layer's share in the outputs' noise is known, the model has no derivative: %s", error)
        return []
    return [
        (name, float(np.sum(_by_example(tf.convert_to_tensor(slope).numpy() * errors[name]) ** 2)))
        for name, slope in zip(names, slopes, strict=True)
        if slope is not None
    ]


def _signs(output: tf.Tensor, random: np.random.Generator) -> tf.Tensor:
    signs = random.choice(np.array([-1.0, 1.0], np.float32), size=output.shape)
    return tf.constant(signs / np.float32(max(float(tf.norm(output)), _TINY)))


_TINY = 1e-30


def _by_example(values: npt.NDArray[np.float32]) -> Array:
    return values.reshape(len(values), -1).sum(axis=1, dtype=np.float64)

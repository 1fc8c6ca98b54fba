"""The noise at each layer, total and its own, and its share of the noise at the outputs."""

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
    tensor_of: Mapping[str, int],
    scales: Mapping[str, Array],
    batches: Sequence[Batch],
) -> tuple[LayerFinding, ...]:
    """One finding for each materialized tensor.

    Args:
        graph: the float model.
        flat: the file.
        content: the same, packed.
        tensor_of: index of the file's tensor that holds each tensor of the graph, by the latter's name.
        scales: absorbed channel scales, the model's value over the file's, shape (channels,), by the graph's tensor.
            Missing ones are fitted to the float values, which hides an error in a channel's scale.
        batches: the inputs, in model units.
    """
    tensors = (*graph.inputs, *(t for call in graph.calls for t in call.outputs))
    float_tensors = {name for name, value in run_float(graph, batches[0]).items() if value.dtype == tf.float32}
    compared = {t: tensor_of[t.name] for t in tensors if t.name in tensor_of and t.name in float_tensors}
    file = _File(flat, Interpreter(content, keep_all=True), input_tensor_names(flat, graph), compared)
    scales = {**_fitted_scales(graph, file, batches, [t for t in file.tensors if t.name not in scales]), **scales}
    totals = {tensor.name: _LayerTotals(sums=Sums(tensor.channels)) for tensor in file.tensors}
    random = np.random.default_rng(1)
    for batch in batches:
        with tf.GradientTape() as tape:
            float_values = run_float(graph, batch, tape)
        values = {name: value * scales[name].astype(np.float32) for name, value in file.run(float_values).items()}
        own_errors, layer_outputs = _layer_errors(graph, batch, values)
        for name, tensor in totals.items():
            x = float_values[name].numpy()
            tensor.sums.add(x, values[name] - x)
            tensor.clipped += file.count_clipped(name, (own_errors[name] / scales[name]).astype(np.float32))
            tensor.values += x.size
            tensor.own += _power(own_errors[name])
            tensor.signal += _power(layer_outputs[name])
        for name, power in _propagated_power(graph, tape, float_values, own_errors, random):
            totals[name].propagated += power
    total_power = sum(tensor.propagated for tensor in totals.values())
    return tuple(
        LayerFinding(
            layer=name,
            tensor=flat.name(tensor_of[name]),
            noise=tensor.sums.noise(),
            own_db=float(decibels(tensor.signal, tensor.own)),
            share=tensor.propagated / total_power if total_power > 0 else None,
            cut=tensor.clipped / tensor.values,
        )
        for name, tensor in totals.items()
    )


def _fitted_scales(
    graph: LayerGraph, file: "_File", batches: Sequence[Batch], tensors: Sequence[Tensor]
) -> dict[str, Array]:
    """The scale with which each channel of the file is closest to the model's (least squares); 1 where it is all 0."""
    products, squares = ({t.name: np.zeros(t.channels) for t in tensors} for _ in range(2))
    for batch in batches if tensors else ():
        float_values = run_float(graph, batch)
        values = file.run(float_values)
        for t in tensors:
            x, y = (
                v.reshape(-1, t.channels).astype(np.float64) for v in (float_values[t.name].numpy(), values[t.name])
            )
            products[t.name] += np.einsum("ic,ic->c", x, y)
            squares[t.name] += np.einsum("ic,ic->c", x, x)
    alive = {name: (product > 0) & (squares[name] > 0) for name, product in products.items()}
    return {
        name: np.where(alive[name], squares[name], 1.0) / np.where(alive[name], product, 1.0)
        for name, product in products.items()
    }


@dataclass(kw_only=True)
class _LayerTotals:
    """Sums over the batches.

    Attributes:
        sums: of the tensor's values and their errors.
        own: power of the layer's own errors.
        signal: power of its float output on the file's inputs.
        propagated: power of its own errors at the outputs.
        clipped, values: number of clipped values, and of all.
    """

    sums: Sums
    own: float = 0.0
    signal: float = 0.0
    propagated: float = 0.0
    clipped: int = 0
    values: int = 0


class _File:
    """The file, run with all its tensors readable."""

    def __init__(
        self, flat: FlatModel, interpreter: Interpreter, input_names: Sequence[str], tensor_of: Mapping[Tensor, int]
    ) -> None:
        self.tensors = tuple(tensor_of)
        self._flat, self._interpreter, self._input_names = flat, interpreter, input_names
        self._index_of = {tensor.name: index for tensor, index in tensor_of.items()}

    def run(self, float_values: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float32]]:
        """Real values, in file units, of the compared tensors, for inputs of the float model."""
        self._interpreter.run([float_values[name].numpy() for name in self._input_names])
        return {t.name: self._real(self._index_of[t.name]).reshape(t.shape) for t in self.tensors}

    def _real(self, index: int) -> npt.NDArray[np.float32]:
        value, parameters = self._interpreter.value(index), self._flat.quantization(index)
        return value.astype(np.float32) if parameters is None else parameters.dequantize(value)

    def count_clipped(self, name: str, errors: npt.NDArray[np.float32]) -> int:
        """How many values of the last run lie at an end of the integer range with more than a rounding error.

        Args:
            name: of the tensor.
            errors: of the layer itself, in file units.
        """
        parameters = self._flat.quantization(self._index_of[name])
        if parameters is None:
            return 0
        value, limits = self._interpreter.value(self._index_of[name]), parameters.bit_width
        ends = (value == limits.qmin) | (value == limits.qmax)
        return int(np.sum(ends & (np.abs(errors.reshape(value.shape)) > _LARGEST_ROUNDING_ERROR * parameters.scale)))


_LARGEST_ROUNDING_ERROR = 2.0  # in scales: a larger one at the end of the range is clipping


def _layer_errors(
    graph: LayerGraph, batch: Batch, file: _Values
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, npt.NDArray[np.float32]]]:
    """Each layer's own errors, the file's values minus those of the float layer on the file's inputs to it; and the
    latter."""
    errors, references = {}, {}

    def next_input(tensor: Tensor, value: npt.NDArray[Any]) -> tf.Tensor:
        if tensor.name in file:
            errors[tensor.name], references[tensor.name] = file[tensor.name] - value, value
        return tf.constant(file.get(tensor.name, value))

    def run_on_file_values(call: Call, values: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        outputs = zip(call.outputs, call_outputs(call, values), strict=True)
        return {tensor.name: next_input(tensor, value.numpy()) for tensor, value in outputs}

    inputs = {t.name: next_input(t, x) for t, x in zip(graph.inputs, batch, strict=True)}
    execute(graph.calls, inputs, run_on_file_values)
    return errors, references


def _power(values: npt.NDArray[np.float32]) -> float:
    return float(np.sum(values.astype(np.float64) ** 2))


def _propagated_power(
    graph: LayerGraph,
    tape: tf.GradientTape,
    float_values: Mapping[str, Any],
    errors: _Values,
    random: np.random.Generator,
) -> list[tuple[str, float]]:
    """Power of each error at the outputs, relative to theirs, to first order; empty where there is no derivative.

    With v a vector of random signs and J the derivative, E[(v J error)^2] = |J error|^2 (Hutchinson, 1990).
    """
    names = [name for name in errors if float_values[name].dtype == tf.float32]
    outputs = [float_values[t.name] for t in graph.outputs if float_values[t.name].dtype == tf.float32]
    try:
        gradients = tape.gradient(outputs, [float_values[name] for name in names], [_signs(y, random) for y in outputs])
    except (LookupError, tf.errors.OpError) as error:  # TensorFlow raises them where an operation has no gradient
        logging.warning("layers' shares of the output noise are unknown, the model has no derivative: %s", error)
        return []
    return [
        (name, float(np.sum(_by_example(tf.convert_to_tensor(gradient).numpy() * errors[name]) ** 2)))
        for name, gradient in zip(names, gradients, strict=True)
        if gradient is not None
    ]


def _signs(output: tf.Tensor, random: np.random.Generator) -> tf.Tensor:
    signs = random.choice(np.array([-1.0, 1.0], np.float32), size=output.shape)
    return tf.constant(signs / np.float32(max(float(tf.norm(output)), _TINY)))


_TINY = 1e-30


def _by_example(values: npt.NDArray[np.float32]) -> Array:
    return values.reshape(len(values), -1).sum(axis=1, dtype=np.float64)

"""Pairs of linear layers that follow each other, and the ranges of the weights at the channels between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spiq_tf.distributions.values import Array
from spiq_tf.graph.layer_graph import LayerGraph, Node, Tensor
from spiq_tf.primitives.affine import BatchNorm
from spiq_tf.primitives.linear import Linear
from spiq_tf.search.constraints import Labels, ScaleClasses


@dataclass(frozen=True)
class _Layer:
    """A linear primitive, with the BatchNorm behind it folded into its weights.

    Attributes:
        largest: the largest magnitude of the weights over the taps, (groups, inputs a group, outputs a group).
        reads: class of each input, (groups, inputs a group).
        writes: class of each output, (groups, outputs a group).
    """

    largest: Array
    reads: Labels
    writes: Labels

    def written(self, scale: Array) -> Array:
        """The range of the weights that write each class, (classes,); 0 where none do."""
        return _largest_of(self.writes, self._scaled(scale).max(axis=1), len(scale))

    def read(self, scale: Array) -> Array:
        """Likewise of those that read it."""
        return _largest_of(self.reads, self._scaled(scale).max(axis=2), len(scale))

    def _scaled(self, scale: Array) -> Array:
        return self.largest * scale[self.reads][:, :, None] / scale[self.writes][:, None, :]


def _largest_of(labels: Labels, values: Array, count: int) -> Array:
    result = np.zeros(count)
    np.maximum.at(result, labels, values)
    return result


@dataclass(frozen=True)
class Pair:
    """Two layers with nothing but activations, poolings and paddings in between.

    Attributes:
        front, back: the layers.
        free: the classes that are scaled, (classes,).
    """

    front: _Layer
    back: _Layer
    free: npt.NDArray[np.bool_]

    def imbalance(self, scale: Array) -> Array:
        """sqrt(r1 / r2) of each class under the given scales; 1 where one of the two layers has no weights but 0."""
        written, read = self.front.written(scale), self.back.read(scale)
        used = (written > 0) & (read > 0)
        return np.sqrt(np.divide(written, read, out=np.ones_like(scale), where=used))


def consecutive(graph: LayerGraph, classes: ScaleClasses) -> list[Pair]:
    """The pairs in the order of the network.

    Free are the channels that the tensors between the two hold and no other tensor does: what reaches an addition, a
    concatenation or a second layer, or belongs to a layer that is called twice, stays unscaled.
    """
    everywhere = _holders(classes, graph.tensors)
    found = []
    for node in graph.nodes:
        between, back = _path(graph, node.output)
        if isinstance(node.primitive, Linear) and back is not None:
            within = _holders(classes, between)
            free = (within > 0) & (within == everywhere) & ~classes.unscaled
            if np.any(free):
                found.append((node, back, free))
    used = {node.output.name: node for front, back, _ in found for node in (front, back)}
    layers = {name: _layer(graph, classes, node) for name, node in used.items()}
    return [Pair(layers[front.output.name], layers[back.output.name], free) for front, back, free in found]


def _layer(graph: LayerGraph, classes: ScaleClasses, node: Node) -> _Layer:
    primitive, written = node.primitive, node.output
    assert isinstance(primitive, Linear)
    kernel = primitive.canonical(graph.weights)
    _, groups, ins, outs = kernel.shape
    largest = np.abs(kernel).max(axis=0)
    behind = graph.consumers[written.name]
    if written.name in graph.fused and isinstance(norm := behind[0].primitive, BatchNorm):
        largest = largest * np.abs(norm.factor(graph.weights)).reshape(groups, 1, outs)
        written = behind[0].output
    reads, writes = classes.of[node.inputs[0].name], classes.of[written.name]
    return _Layer(largest, reads.reshape(groups, ins), writes.reshape(groups, outs))


def _path(graph: LayerGraph, tensor: Tensor) -> tuple[Sequence[Tensor], Node | None]:
    """The tensors from one on to the only linear primitive that reads them, each read by nothing else."""
    passed = [tensor]
    while len(readers := graph.consumers[passed[-1].name]) == 1 and len(readers[0].inputs) == 1:
        if readers[0].primitive.is_linear:
            return passed, readers[0]
        passed.append(readers[0].output)
    return passed, None


def _holders(classes: ScaleClasses, tensors: Sequence[Tensor]) -> npt.NDArray[np.intp]:
    """How many of the tensors hold each class, (classes,)."""
    count = np.zeros(classes.count, np.intp)
    for tensor in tensors:
        count[np.unique(classes.of[tensor.name])] += 1
    return count

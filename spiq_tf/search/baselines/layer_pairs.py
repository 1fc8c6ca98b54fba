"""Pairs of linear layers that follow each other, and the ranges of the weights at the channels between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spiq_tf.distributions.values import Array
from spiq_tf.graph.layer_graph import LayerGraph, Node, Tensor
from spiq_tf.primitives.linear import Linear
from spiq_tf.search.constraints import Labels, ScaleClasses


@dataclass(frozen=True)
class _Layer:
    """A linear primitive, with the BatchNorm after it folded into its weights.

    Attributes:
        max_weight: the largest magnitude of the weights over the taps, (groups, inputs a group, outputs a group).
        input_classes: class of each input, (groups, inputs a group).
        output_classes: class of each output, (groups, outputs a group).
    """

    max_weight: Array
    input_classes: Labels
    output_classes: Labels

    def output_weight_range(self, scale: Array) -> Array:
        """The largest magnitude of the weights that make each class, (classes,); 0 where none do."""
        return _max_by_class(self.output_classes, self._scaled(scale).max(axis=1), len(scale))

    def input_weight_range(self, scale: Array) -> Array:
        """Likewise of those that read it."""
        return _max_by_class(self.input_classes, self._scaled(scale).max(axis=2), len(scale))

    def _scaled(self, scale: Array) -> Array:
        return self.max_weight * scale[self.input_classes][:, :, None] / scale[self.output_classes][:, None, :]


def _max_by_class(labels: Labels, values: Array, count: int) -> Array:
    result = np.zeros(count)
    np.maximum.at(result, labels, values)
    return result


@dataclass(frozen=True)
class LayerPair:
    """Two layers with nothing but activations, poolings and paddings between them.

    Attributes:
        first, second: the layers, in order of execution.
        free: whether a class is scaled for the pair, (classes,).
    """

    first: _Layer
    second: _Layer
    free: npt.NDArray[np.bool_]

    def imbalance(self, scale: Array) -> Array:
        """sqrt(r1 / r2) of each class (DFQ, eq. 11); 1 where one of the two layers has no weights but 0.

        Args:
            scale: of each class, shape (classes,).

        Returns:
            Of shape (classes,).
        """
        first, second = self.first.output_weight_range(scale), self.second.input_weight_range(scale)
        is_used = (first > 0) & (second > 0)
        return np.sqrt(np.divide(first, second, out=np.ones_like(scale), where=is_used))


def consecutive_layers(graph: LayerGraph, classes: ScaleClasses) -> list[LayerPair]:
    """The pairs, in the order of the network.

    Free are the channels that occur in the tensors between the two and in no other tensor: what reaches an addition, a
    concatenation or a second layer, or belongs to a layer that is called twice, stays unscaled.
    """
    total = _tensors_of_class(classes, graph.tensors)
    pairs = []
    for node in graph.nodes:
        between, second = _path_to_next_linear(graph, node.output)
        if node.primitive.is_linear and second is not None:
            inside = _tensors_of_class(classes, between)
            free = (inside > 0) & (inside == total) & ~classes.pinned
            if np.any(free):
                pairs.append((node, second, free))
    nodes = {node.output.name: node for first, second, _ in pairs for node in (first, second)}
    layers = {
        name: _layer(graph, classes, node, linear)
        for name, node in nodes.items()
        if (linear := node.primitive.as_linear) is not None
    }
    return [LayerPair(layers[first.output.name], layers[second.output.name], free) for first, second, free in pairs]


def _layer(graph: LayerGraph, classes: ScaleClasses, node: Node, linear: Linear) -> _Layer:
    output = node.output
    kernel = linear.canonical(graph.weights)
    _, groups, ins, outs = kernel.shape
    max_weight = np.abs(kernel).max(axis=0)
    consumers = graph.consumers[output.name]
    if output.name in graph.fused and (norm := consumers[0].primitive.as_batch_norm) is not None:
        max_weight = max_weight * np.abs(norm.factor(graph.weights)).reshape(groups, 1, outs)
        output = consumers[0].output
    inputs, outputs = classes.of[node.inputs[0].name], classes.of[output.name]
    return _Layer(max_weight, inputs.reshape(groups, ins), outputs.reshape(groups, outs))


def _path_to_next_linear(graph: LayerGraph, tensor: Tensor) -> tuple[Sequence[Tensor], Node | None]:
    """The tensors from one on to the only linear primitive that reads them, each with a single consumer."""
    path = [tensor]
    while len(consumers := graph.consumers[path[-1].name]) == 1 and len(consumers[0].inputs) == 1:
        if consumers[0].primitive.is_linear:
            return path, consumers[0]
        path.append(consumers[0].output)
    return path, None


def _tensors_of_class(classes: ScaleClasses, tensors: Sequence[Tensor]) -> npt.NDArray[np.intp]:
    """In how many of the tensors each class occurs, (classes,)."""
    count = np.zeros(classes.count, np.intp)
    for tensor in tensors:
        count[np.unique(classes.of[tensor.name])] += 1
    return count

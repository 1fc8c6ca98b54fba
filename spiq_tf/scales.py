"""One scale for each channel of each tensor, under the ties of the graph.

Channels that must share a scale form a class; a class with a channel that cannot be scaled keeps scale 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from spiq_tf.graph import LayerGraph, Node, Tensor
from spiq_tf.primitives.base import OUTPUT, Array, Range

Labels = npt.NDArray[np.intp]

_SMALLEST = 2.0**-10
"""No channel is scaled further: int32 biases and the runtime's multipliers stay far from their limits."""


@dataclass(frozen=True)
class ScaleClasses:
    """Which channels share a scale.

    Attributes:
        of: the class of each channel of each tensor, by tensor name, shape (channels,).
        count: number of classes.
        unscaled: whether a class must keep scale 1, shape (count,).
        saturates: whether a class passes an activation that cuts at a fixed value, shape (count,).
    """

    of: Mapping[str, Labels]
    count: int
    unscaled: npt.NDArray[np.bool_]
    saturates: npt.NDArray[np.bool_]


def scale_classes(graph: LayerGraph) -> ScaleClasses:
    """Joins the channels of all tensors into classes, by the ties that the primitives state."""
    starts = _starts(graph)
    total = sum(t.channels for t in graph.tensors)
    left, right = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)]
    for a, b in (*_node_ties(graph, starts), *_shared_weight_ties(graph, starts)):
        left.append(a)
        right.append(b)
    rows, columns = np.concatenate(left), np.concatenate(right)
    links = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(total, total))
    count, label = connected_components(links, directed=False)
    of = {t.name: label[starts[t.name] : starts[t.name] + t.channels] for t in graph.tensors}
    unscaled, saturates = np.zeros(count, bool), np.zeros(count, bool)
    for tensor in _unscaled_tensors(graph):
        unscaled[of[tensor.name]] = True
    for node in graph.nodes:
        if node.rule.saturation is not None:
            saturates[of[node.output.name]] = True
    return ScaleClasses(of, count, unscaled, saturates)


def _starts(graph: LayerGraph) -> dict[str, int]:
    ends = np.cumsum([0, *(t.channels for t in graph.tensors)])
    return {t.name: int(start) for t, start in zip(graph.tensors, ends[:-1], strict=True)}


def _tensor(node: Node, port: int) -> Tensor:
    return node.output if port == OUTPUT else node.inputs[port]


def _node_ties(graph: LayerGraph, starts: Mapping[str, int]) -> list[tuple[Labels, Labels]]:
    pairs = []
    for node in graph.nodes:
        for tie in node.rule.ties([t.channels for t in node.inputs], node.output.channels):
            a, b = starts[_tensor(node, tie.port).name], starts[_tensor(node, tie.other_port).name]
            pairs.append((a + tie.channels, b + tie.other_channels))
    return pairs


def _readers_of_weights(graph: LayerGraph) -> dict[int, list[Node]]:
    """The primitives that read each variable, by its key."""
    readers: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for key in node.rule.variables():
            readers.setdefault(key, []).append(node)
    return readers


def _alike(nodes: list[Node]) -> bool:
    """Whether primitives use the same weights in the same way, as the calls of a shared layer do."""
    first = nodes[0].rule
    return all(type(n.rule) is type(first) and n.rule.variables() == first.variables() for n in nodes)


def _shared_weight_ties(graph: LayerGraph, starts: Mapping[str, int]) -> list[tuple[Labels, Labels]]:
    """Calls of one shared layer read and write in the same units, since the weights are the same."""
    pairs = []
    for first, *others in filter(_alike, _readers_of_weights(graph).values()):
        for node in others:
            for mine, twin in zip((*node.inputs, node.output), (*first.inputs, first.output), strict=True):
                every = np.arange(mine.channels)
                pairs.append((starts[mine.name] + every, starts[twin.name] + every))
    return pairs


def _unscaled_tensors(graph: LayerGraph) -> list[Tensor]:
    """What enters or leaves the model, and what a primitive cannot take scaled."""
    found = [*graph.inputs, *graph.outputs]
    for node in graph.nodes:
        ports = node.rule.unscaled()
        found += [*node.inputs, node.output] if ports is None else [_tensor(node, port) for port in ports]
    for readers in _readers_of_weights(graph).values():
        if not _alike(readers):  # one variable in several roles can be absorbed into in none of them
            found += [tensor for node in readers for tensor in (*node.inputs, node.output)]
    return found


def choose_scales(
    graph: LayerGraph, classes: ScaleClasses, ranges: Mapping[str, Range], signed: float, rectified: float
) -> dict[str, Array]:
    """The scale of each channel of each tensor, shape (channels,).

    s_c = (range_c / range)^exponent, where range_c is the largest magnitude that any tensor of the class
    reaches and range that of its family: the tensors that are tied to each other. Exponent 1 gives each
    channel all 256 steps (SPIQ); a smaller one spends less of the weights' resolution on it.

    Args:
        graph: the model.
        classes: its scale classes.
        ranges: of every tensor.
        signed, rectified: exponents for classes of tensors that take both signs, and of the others.
    """
    held = [t for t in graph.tensors if t.name not in graph.fused]
    amplitude, negative = np.zeros(classes.count), np.zeros(classes.count, bool)
    for tensor in held:
        own = ranges[tensor.name]
        np.maximum.at(amplitude, classes.of[tensor.name], own.amplitude)
        np.logical_or.at(negative, classes.of[tensor.name], own.low < 0)
    reference = _family_amplitude(held, classes, amplitude)
    used = reference > 0
    ratio = np.divide(amplitude, reference, out=np.ones_like(amplitude), where=used)
    scale = np.clip(ratio, _SMALLEST, 1 / _SMALLEST) ** np.where(negative, signed, rectified)
    scale = np.where(classes.saturates, np.clip(scale, _saturation_floor(graph, classes, ranges), 1.0), scale)
    scale = np.where(classes.unscaled | ~used, 1.0, scale)
    return {name: scale[label] for name, label in classes.of.items()}


def _saturation_floor(graph: LayerGraph, classes: ScaleClasses, ranges: Mapping[str, Range]) -> Array:
    """The smallest scale of each class for which no saturating activation cuts into a channel's range."""
    floor = np.zeros(classes.count)
    for node in graph.nodes:
        if node.rule.saturation is not None:
            reached = ranges[node.output.name].high / node.rule.saturation
            np.maximum.at(floor, classes.of[node.output.name], reached)
    return np.minimum(floor, 1.0)


def _family_amplitude(held: list[Tensor], classes: ScaleClasses, amplitude: Array) -> Array:
    """For each class the amplitude that its family is brought to: that of its unscaled channels, if any."""
    links = [classes.of[t.name] for t in held if t.channels > 0]
    rows = np.concatenate([np.full(len(label), label[0]) for label in links])
    columns = np.concatenate(links)
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(classes.count, classes.count))
    count, family = connected_components(graph, directed=False)
    free, fixed = np.zeros(count), np.zeros(count)
    np.maximum.at(free, family, np.where(classes.unscaled, 0.0, amplitude))
    np.maximum.at(fixed, family, np.where(classes.unscaled, amplitude, 0.0))
    return np.where(fixed > 0, fixed, free)[family]

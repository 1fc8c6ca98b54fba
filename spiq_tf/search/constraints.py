"""Channels that must share a scale form a scale class; a class with a channel that cannot be scaled is pinned."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from spiq_tf.graph.layer_graph import LayerGraph, Node, Tensor
from spiq_tf.primitives.base import OUTPUT

Labels = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class ScaleClasses:
    """Which channels share a scale.

    Attributes:
        of: the class of each channel of each tensor, by tensor name, shape (channels,).
        count: number of classes.
        reason: for each class the index of the reason why its scale is pinned to 1, or -1, shape (count,).
        reasons: in words.
        saturates: whether a class passes an activation that saturates at a fixed value, shape (count,).
    """

    of: Mapping[str, Labels]
    count: int
    reason: Labels
    reasons: tuple[str, ...]
    saturates: npt.NDArray[np.bool_]

    @property
    def pinned(self) -> npt.NDArray[np.bool_]:
        """Whether the scale of a class must be 1, shape (count,)."""
        return self.reason >= 0

    def pinned_reason(self, name: str) -> str | None:
        """Why some channels of a tensor have a pinned scale, or None if none has."""
        index = self.reason[self.of[name]].max(initial=-1)
        return None if index < 0 else self.reasons[index]

    @property
    def scaled(self) -> frozenset[str]:
        """Names of the tensors none of whose channels is pinned."""
        return frozenset(name for name in self.of if self.pinned_reason(name) is None)

    def without_scales(self) -> "ScaleClasses":
        """The same with every class pinned."""
        return replace(self, reason=np.zeros_like(self.reason), reasons=("scales are switched off",))


def scale_classes(graph: LayerGraph, given: Iterable[str] = ()) -> ScaleClasses:
    """Joins the channels of all tensors into classes: connected components of the primitives' scale constraints.

    Args:
        graph: the model.
        given: names of the tensors whose ranges the user gives, which scales must not move.
    """
    starts = _first_indices(graph)
    total = sum(t.channels for t in graph.tensors)
    left, right = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)]
    for a, b in (*_node_constraints(graph, starts), *_shared_weight_constraints(graph, starts)):
        left.append(a)
        right.append(b)
    rows, columns = np.concatenate(left), np.concatenate(right)
    edges = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(total, total))
    count, label = connected_components(edges, directed=False)
    of = {t.name: label[starts[t.name] : starts[t.name] + t.channels] for t in graph.tensors}
    reason, saturates = np.full(count, -1), np.zeros(count, bool)
    pinned = {**dict.fromkeys(given, "its range is given"), **_pinned_tensors(graph)}
    for index, name in enumerate(pinned):
        reason[of[name]] = index
    for node in graph.nodes:
        if node.primitive.saturation is not None:
            saturates[of[node.output.name]] = True
    reasons = tuple(f"{name}: {why}" for name, why in pinned.items())
    return ScaleClasses(of=of, count=count, reason=reason, reasons=reasons, saturates=saturates)


def _first_indices(graph: LayerGraph) -> dict[str, int]:
    """Where each tensor's channels begin among those of all tensors side by side, by tensor name."""
    ends = np.cumsum([0, *(t.channels for t in graph.tensors)])
    return {t.name: int(start) for t, start in zip(graph.tensors, ends[:-1], strict=True)}


def _tensor(node: Node, port: int) -> Tensor:
    return node.output if port == OUTPUT else node.inputs[port]


def _node_constraints(graph: LayerGraph, starts: Mapping[str, int]) -> list[tuple[Labels, Labels]]:
    """Pairs of channel indices that share a scale, as the primitives say."""
    pairs = []
    for node in graph.nodes:
        for constraint in node.primitive.scale_constraints([t.channels for t in node.inputs], node.output.channels):
            a, b = (starts[_tensor(node, port).name] for port in (constraint.port, constraint.other_port))
            pairs.append((a + constraint.channels, b + constraint.other_channels))
    return pairs


def consumers_of_weights(graph: LayerGraph) -> dict[int, list[Node]]:
    """The nodes that read each variable, by its key."""
    consumers: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for key in node.primitive.variables():
            consumers.setdefault(key, []).append(node)
    return consumers


def _is_one_layer(nodes: list[Node]) -> bool:
    """Whether nodes use the same weights in the same way, as the calls of a shared layer do."""
    return all(node.primitive.uses_weights_as(nodes[0].primitive) for node in nodes)


def _shared_weight_constraints(graph: LayerGraph, starts: Mapping[str, int]) -> list[tuple[Labels, Labels]]:
    """Calls of one shared layer have inputs and outputs of the same scales, since their weights are the same."""
    pairs = []
    for first, *others in filter(_is_one_layer, consumers_of_weights(graph).values()):
        for node in others:
            for tensor, twin in zip((*node.inputs, node.output), (*first.inputs, first.output), strict=True):
                channels = np.arange(tensor.channels)
                pairs.append((starts[tensor.name] + channels, starts[twin.name] + channels))
    return pairs


def _pinned_tensors(graph: LayerGraph) -> dict[str, str]:
    """Inputs and outputs of the model, and what a primitive cannot take scaled, each with the reason."""
    reasons: dict[str, str] = {}
    for consumers in consumers_of_weights(graph).values():
        if not _is_one_layer(consumers):  # one variable in several roles can be absorbed into in none of them
            layers = " and ".join(dict.fromkeys(node.call.name for node in consumers))
            tensors = [tensor for node in consumers for tensor in (*node.inputs, node.output)]
            reasons |= dict.fromkeys((t.name for t in tensors), f"a weight has several roles in {layers}")
    for node in graph.nodes:
        ports = node.primitive.pinned_ports()
        tensors = [*node.inputs, node.output] if ports is None else [_tensor(node, port) for port in ports]
        why = f"layer {node.call.name} does not commute with a channel scale"
        reasons |= dict.fromkeys((t.name for t in tensors), why)
    reasons |= {tensor.name: "is a model output" for tensor in graph.outputs}
    return reasons | {tensor.name: "is a model input" for tensor in graph.inputs}

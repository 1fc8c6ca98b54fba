"""Which channels must share a scale: they form a class. A class with a channel that cannot be scaled keeps scale 1."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from spiq_tf.graph.layer_graph import LayerGraph, Node, Tensor
from spiq_tf.primitives.base import OUTPUT

Labels = npt.NDArray[np.intp]


@dataclass(frozen=True)
class ScaleClasses:
    """Which channels share a scale.

    Attributes:
        of: the class of each channel of each tensor, by tensor name, shape (channels,).
        count: number of classes.
        reason: for each class the index of the reason why it must keep scale 1, or -1, shape (count,).
        reasons: in words.
        saturates: whether a class passes an activation that cuts at a fixed value, shape (count,).
    """

    of: Mapping[str, Labels]
    count: int
    reason: Labels
    reasons: tuple[str, ...]
    saturates: npt.NDArray[np.bool_]

    @property
    def unscaled(self) -> npt.NDArray[np.bool_]:
        """Whether a class must keep scale 1, shape (count,)."""
        return self.reason >= 0

    def why_unscaled(self, name: str) -> str | None:
        """Why some channels of a tensor keep scale 1, or None if none has to."""
        found = self.reason[self.of[name]].max(initial=-1)
        return None if found < 0 else self.reasons[found]

    @property
    def scaled(self) -> frozenset[str]:
        """Names of the tensors all of whose channels can be scaled."""
        return frozenset(name for name in self.of if self.why_unscaled(name) is None)

    def without_scales(self) -> "ScaleClasses":
        """The same where every class must keep scale 1."""
        return replace(self, reason=np.zeros_like(self.reason), reasons=("scales are switched off",))


def scale_classes(graph: LayerGraph, given: Iterable[str] = ()) -> ScaleClasses:
    """Joins the channels of all tensors into classes, by the ties that the primitives state.

    Args:
        graph: the model.
        given: names of the tensors whose ranges the user gives, which scales must not move.
    """
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
    reason, saturates = np.full(count, -1), np.zeros(count, bool)
    unscaled = {**dict.fromkeys(given, "its range is given"), **_unscaled_tensors(graph)}
    for index, name in enumerate(unscaled):
        reason[of[name]] = index
    for node in graph.nodes:
        if node.primitive.saturation is not None:
            saturates[of[node.output.name]] = True
    reasons = tuple(f"{name}: {why}" for name, why in unscaled.items())
    return ScaleClasses(of, count, reason, reasons, saturates)


def _starts(graph: LayerGraph) -> dict[str, int]:
    ends = np.cumsum([0, *(t.channels for t in graph.tensors)])
    return {t.name: int(start) for t, start in zip(graph.tensors, ends[:-1], strict=True)}


def _tensor(node: Node, port: int) -> Tensor:
    return node.output if port == OUTPUT else node.inputs[port]


def _node_ties(graph: LayerGraph, starts: Mapping[str, int]) -> list[tuple[Labels, Labels]]:
    pairs = []
    for node in graph.nodes:
        for tie in node.primitive.scale_constraints([t.channels for t in node.inputs], node.output.channels):
            a, b = starts[_tensor(node, tie.port).name], starts[_tensor(node, tie.other_port).name]
            pairs.append((a + tie.channels, b + tie.other_channels))
    return pairs


def readers_of_weights(graph: LayerGraph) -> dict[int, list[Node]]:
    """The primitives that read each variable, by its key."""
    readers: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for key in node.primitive.variables():
            readers.setdefault(key, []).append(node)
    return readers


def _alike(nodes: list[Node]) -> bool:
    """Whether primitives use the same weights in the same way, as the calls of a shared layer do."""
    first = nodes[0].primitive
    return all(type(n.primitive) is type(first) and n.primitive.variables() == first.variables() for n in nodes)


def _shared_weight_ties(graph: LayerGraph, starts: Mapping[str, int]) -> list[tuple[Labels, Labels]]:
    """Calls of one shared layer read and write in the same units, since the weights are the same."""
    pairs = []
    for first, *others in filter(_alike, readers_of_weights(graph).values()):
        for node in others:
            for mine, twin in zip((*node.inputs, node.output), (*first.inputs, first.output), strict=True):
                every = np.arange(mine.channels)
                pairs.append((starts[mine.name] + every, starts[twin.name] + every))
    return pairs


def _unscaled_tensors(graph: LayerGraph) -> dict[str, str]:
    """What enters or leaves the model, and what a primitive cannot take scaled, each with the reason."""
    found: dict[str, str] = {}
    for readers in readers_of_weights(graph).values():
        if not _alike(readers):  # one variable in several roles can be absorbed into in none of them
            layers = " and ".join(dict.fromkeys(node.call.name for node in readers))
            touched = [tensor for node in readers for tensor in (*node.inputs, node.output)]
            found |= dict.fromkeys((t.name for t in touched), f"a weight has several roles in {layers}")
    for node in graph.nodes:
        ports = node.primitive.pinned_ports()
        kept = [*node.inputs, node.output] if ports is None else [_tensor(node, port) for port in ports]
        found |= dict.fromkeys((t.name for t in kept), f"layer {node.call.name} lets no scale pass")
    found |= {tensor.name: "leaves the model" for tensor in graph.outputs}
    return found | {tensor.name: "enters the model" for tensor in graph.inputs}

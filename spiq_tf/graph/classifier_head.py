"""The classifier head of a network: layers that read features of whole examples, and make no feature map again."""

from collections.abc import Mapping, Sequence

from spiq_tf.graph.layer_graph import LayerGraph, Node, Tensor
from spiq_tf.primitives.role import NO_ROLE, ClassifierHead, Role


def network_roles(graph: LayerGraph) -> Mapping[str, Role]:
    """The role of every node, by the name of its output: classifier head, dense output, logits by averaging.

    A layer belongs to the classifier head if it is linear, reads features (not pixels), makes no feature map nor
    anything that becomes one again, reaches an output, and has no BatchNorm after it that states its moments.
    """
    depths, normalized = _hidden_depths(graph.nodes), _tensors_with_stated_moments(graph.nodes)
    downstream = _Downstream(graph.outputs)
    roles = {}
    for node in reversed(graph.nodes):
        name = node.output.name
        depth = depths.get(node.inputs[0].name, _NO_FEATURES)
        in_head = depth > _NO_FEATURES and name not in normalized
        roles[name] = _role(node, downstream, depth if in_head else None)
        downstream.add(node)
    return roles


class _Downstream:
    """What follows each tensor, collected from the outputs back, by tensor name."""

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self._logits = {t.name: {t} for t in outputs}  # or other outputs, which are computed from the tensor
        self._spatial = {t.name for t in outputs if t.is_feature_map}  # that are feature maps again downstream
        self._linear: set[str] = set()  # that a linear primitive reads, directly or further downstream

    def logits_of(self, node: Node) -> set[Tensor]:
        """The logits that a node's output becomes: itself, if it is the last linear one, whatever follows it."""
        logits = self._logits.get(node.output.name, set())
        return {node.output} if node.primitive.is_linear and self.is_last(node) and logits else logits

    def is_last(self, node: Node) -> bool:
        """Whether no linear primitive follows."""
        return node.output.name not in self._linear

    def becomes_feature_map(self, node: Node) -> bool:
        """Whether the output is a feature map, or becomes one."""
        return node.output.is_feature_map or node.output.name in self._spatial

    def add(self, node: Node) -> None:
        """Passes on to a node's inputs what follows it."""
        logits = self.logits_of(node)
        for tensor in node.inputs:
            self._logits.setdefault(tensor.name, set()).update(logits)
            if self.becomes_feature_map(node):
                self._spatial.add(tensor.name)
            if node.primitive.is_linear or node.output.name in self._linear:
                self._linear.add(tensor.name)


def _role(node: Node, downstream: _Downstream, hidden_depth: int | None) -> Role:
    """The role of one node; hidden_depth is None where it cannot belong to the head."""
    primitive, logits, is_last = node.primitive, downstream.logits_of(node), downstream.is_last(node)
    if not logits:
        return NO_ROLE
    is_flat = not downstream.becomes_feature_map(node)
    if primitive.is_linear and is_flat and hidden_depth is not None:
        num_logits = sum(t.channels for t in logits)
        return Role(head=ClassifierHead(num_logits=num_logits, is_logits=is_last, hidden_depth=hidden_depth))
    if primitive.is_linear and is_last and node.output.is_feature_map:
        return Role(is_dense_output=True)
    if primitive.is_global_average and is_last and is_flat:
        return Role(averages_are_logits=True)
    return NO_ROLE


def _tensors_with_stated_moments(nodes: Sequence[Node]) -> set[str]:
    """Tensors whose moments a BatchNorm states: what it reads, and what a concatenation before it joins."""
    names: set[str] = set()
    for node in reversed(nodes):
        primitive = node.primitive
        if primitive.states_input_moments or (node.output.name in names and primitive.has_inverse_moments):
            names |= {t.name for t in node.inputs}
    return names


def image_derived_tensors(nodes: Sequence[Node], inputs: Sequence[Tensor]) -> set[str]:
    """Tensors in which the pixels of an input feature map are only moved, or changed one by one.

    Args:
        nodes: of the graph, in order of execution.
        inputs: of the model.
    """
    names = {t.name for t in inputs if t.is_feature_map}
    for node in nodes:
        if not node.primitive.extracts_features and any(t.name in names for t in node.inputs):
            names.add(node.output.name)
    return names


_NO_FEATURES = -1


def _hidden_depths(nodes: Sequence[Node]) -> dict[str, int]:
    """For each tensor the number of layers without spatial locations that follow each other up to it.

    Counted since the last feature map, or since the first layer that extracts features, which are not counted
    themselves; _NO_FEATURES for what is derived from pixels alone.
    """
    depths: dict[str, int] = {}
    for node in nodes:
        depth = max((depths.get(t.name, _NO_FEATURES) for t in node.inputs), default=_NO_FEATURES)
        if node.primitive.extracts_features:
            depth += 1
        depths[node.output.name] = min(depth, 0) if node.output.is_feature_map else depth
    return depths

"""LayerGraph: the model as primitive nodes and named tensors. Immutable; what later stages learn stands in
mappings keyed by tensor name (roles, moments, distributions, ranges, scales), never in attributes added here."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from spiq_tf.distributions.values import Array, Weights
from spiq_tf.primitives.base import Primitive


@dataclass(frozen=True)
class Tensor:
    """One activation tensor.

    Attributes:
        name: unique in the graph, derived from the layer call whose output it is ("block_1/relu").
        shape: static shape with the batch axis; the last axis holds the channels.
    """

    name: str
    shape: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Length of the last axis; 1 for a tensor with a batch axis alone."""
        return self.shape[-1] if len(self.shape) > 1 else 1

    @property
    def is_feature_map(self) -> bool:
        """Whether it has several spatial locations."""
        return math.prod(self.shape[1:-1]) > 1


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of one Keras layer: what is replayed when the model is traced with new weights.

    Attributes:
        index: in the order of execution.
        layer: the user's own layer (or keras.ops operation); called, never changed.
        name: path of the layer through nested models, with a counter when it is called again.
        args: positional arguments, with Tensor objects in place of tensors.
        kwargs: keyword arguments, likewise.
        outputs: the tensors it returns, flattened.
    """

    index: int
    layer: Any
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Node:
    """One primitive operation on tensors, with the layer call that it comes from."""

    primitive: Primitive
    inputs: tuple[Tensor, ...]
    output: Tensor
    call: Call


class _ChangedWeights(Mapping[int, Array]):
    """Weights, some of them with other values; the rest is still read when asked for."""

    def __init__(self, original: Weights, changed: Weights) -> None:
        self._original, self._changed = original, changed

    def __getitem__(self, key: int) -> Array:
        return self._changed[key] if key in self._changed else self._original[key]

    def __iter__(self) -> Iterator[int]:
        return iter(self._original)

    def __len__(self) -> int:
        return len(self._original)


@dataclass(frozen=True, kw_only=True)
class LayerGraph:
    """A model as primitives.

    Attributes:
        inputs: the model's inputs, in its order.
        outputs: the model's outputs, flattened, in its order; a tensor may stand here twice.
        input_names, output_names: the names of both in the serving signature.
        calls: layer calls in order of execution.
        nodes: primitives in order of execution; each tensor but the inputs is the output of exactly one.
        weights: values of the model's variables by key, in float64: what all stages compute with.
        variables: the Keras variables themselves, by the same keys.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    calls: tuple[Call, ...]
    nodes: tuple[Node, ...]
    weights: Weights
    variables: Mapping[int, Any]

    def with_weights(self, changed: Weights) -> "LayerGraph":
        """The same structure, some of its weights with other values; the Keras variables are not changed."""
        return replace(self, weights=_ChangedWeights(self.weights, changed))

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """The node whose output each tensor is, by tensor name; the model's inputs are absent."""
        return {node.output.name: node for node in self.nodes}

    @cached_property
    def consumers(self) -> Mapping[str, Sequence[Node]]:
        """The nodes that read each tensor, by tensor name; a node that reads it twice stands there twice."""
        consumers: dict[str, list[Node]] = {tensor.name: [] for tensor in self.tensors}
        for node in self.nodes:
            for tensor in node.inputs:
                consumers[tensor.name].append(node)
        return consumers

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors: the inputs, then the output of each node, in order."""
        return (*self.inputs, *(node.output for node in self.nodes))

    @cached_property
    def materialized(self) -> tuple[Tensor, ...]:
        """The materialized tensors, which the file holds: all but those that are fused away."""
        return tuple(tensor for tensor in self.tensors if tensor.name not in self.fused)

    @cached_property
    def nodes_of_call(self) -> Mapping[int, Sequence[Node]]:
        """The nodes of each layer call, in order, by the call's index."""
        nodes: dict[int, list[Node]] = {call.index: [] for call in self.calls}
        for node in self.nodes:
            nodes[node.call.index].append(node)
        return nodes

    def materialized_for(self, tensor: Tensor) -> Tensor:
        """The materialized tensor in place of one that is fused away, or the same one."""
        while tensor.name in self.fused:
            tensor = self.consumers[tensor.name][0].output
        return tensor

    @cached_property
    def fused(self) -> frozenset[str]:
        """Names of tensors that are not materialized: a convolution's before its BatchNorm, a sum's before its ReLU.

        TFLite's converter folds a BatchNorm into the convolution before it, and a ReLU or ReLU6 into the operator
        before it, where nothing else reads the tensor between them. (This predicts it; `tflite.lowering` checks by
        value.)
        """
        outputs = {tensor.name for tensor in self.outputs}
        names: set[str] = set()
        for node in self.nodes:
            name, consumers = node.output.name, self.consumers[node.output.name]
            if name in outputs or len(consumers) != 1:
                continue
            consumer = consumers[0].primitive
            is_folded = consumer.folds_into_linear and node.primitive.is_linear
            if is_folded or (consumer.fuses_into_producer and node.primitive.takes_fused_activation):
                names.add(name)
        return frozenset(names)

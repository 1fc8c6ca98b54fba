"""Products of a value and a function of it: activations that are written by hand, x * sigmoid(x)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from spiq_tf.distributions.values import Array
from spiq_tf.graph.layer_graph import Node, Tensor
from spiq_tf.primitives.activation import Elementwise, Rectifier
from spiq_tf.primitives.affine import FixedAffine
from spiq_tf.primitives.merge import Add, Extremum, Multiply, SelfGated

_BY_VALUE = (Add, Elementwise, Extremum, FixedAffine, Multiply, Rectifier)
_Function = Callable[[Array], Any]


def with_self_gated_products(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes, in order of execution, with products that know of what single tensor they are a function."""
    makers = {node.output.name: node for node in nodes}
    return tuple(_self_gated(node, makers) if type(node.primitive) is Multiply else node for node in nodes)


def _self_gated(node: Node, makers: Mapping[str, Node]) -> Node:
    for port, tensor in enumerate(node.inputs):
        for root, back in _roots(tensor, makers):
            product = _made_of(root, node, makers, _FARTHEST)
            if product is not None:
                whole = Elementwise(_behind(back, product))
                if set(node.inputs) == {root}:
                    return replace(node, primitive=whole, inputs=(root,))  # a square: noise meets itself
                return replace(node, primitive=SelfGated(port, len(node.inputs), whole))
    return node


def _behind(first: _Function, second: _Function) -> _Function:
    return lambda x: second(first(x))


def _roots(tensor: Tensor, makers: Mapping[str, Node]) -> Iterator[tuple[Tensor, _Function]]:
    """Of what a tensor may be said to be a function, and the way back: itself, and x where it is a multiple of x."""
    yield tensor, lambda x: x
    node = makers.get(tensor.name)
    if node is not None and isinstance(primitive := node.primitive, FixedAffine) and np.all(primitive.factor):
        yield node.inputs[0], lambda y: (y - primitive.offset) / primitive.factor


def _function_of(root: Tensor, tensor: Tensor, makers: Mapping[str, Node], farthest: int) -> _Function | None:
    """What makes a tensor of another, value by value, in so many operations; None where it takes more than that."""
    if tensor == root:
        return lambda x: x
    node = makers.get(tensor.name)
    if node is None or farthest == 0 or not isinstance(node.primitive, _BY_VALUE) or tensor.shape != root.shape:
        return None
    return _made_of(root, node, makers, farthest - 1)


def _made_of(root: Tensor, node: Node, makers: Mapping[str, Node], farthest: int) -> _Function | None:
    """What a node makes of a tensor, where all that it reads is a function of that."""
    parts = []
    for x in node.inputs:
        part = _function_of(root, x, makers, farthest)
        if part is None:
            return None
        parts.append(part)
    return lambda x: node.primitive.forward([part(x) for part in parts])


_FARTHEST = 8
"""Operations in a row that are looked through: a GELU by hand has seven. A residual trunk has no end, and two ways past
every block."""

"""Products of a value and a function of it: activations that are written by hand, x * sigmoid(x)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from spiq_tf.distributions.values import Array
from spiq_tf.graph.layer_graph import Node, Tensor
from spiq_tf.primitives.activation import Elementwise
from spiq_tf.primitives.merge import SelfGated

_Function = Callable[[Array], Any]

_MAX_DEPTH = 8
"""Operations in a row that are looked through: a GELU written by hand has seven. A residual trunk has no end, and two
ways past every block."""


def with_self_gated_products(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes, with self-gated products as primitives of their own: functions of the single tensor that they gate.

    Args:
        nodes: in order of execution.
    """
    producers = {node.output.name: node for node in nodes}
    return tuple(_self_gated(node, producers) if node.primitive.is_product else node for node in nodes)


def _self_gated(product: Node, producers: Mapping[str, Node]) -> Node:
    """The product as a function of one of its factors (or of what that is a multiple of), if it is one."""
    for port, factor in enumerate(product.inputs):
        for root, root_of_factor in _roots(factor, producers):
            product_of_root = _output_function(root, product, producers, _MAX_DEPTH)
            if product_of_root is None:
                continue
            function = Elementwise(_composed(root_of_factor, product_of_root))
            if set(product.inputs) == {root}:  # a square: noise meets itself
                return replace(product, primitive=function, inputs=(root,))
            return replace(product, primitive=SelfGated(port, len(product.inputs), function))
    return product


def _composed(first: _Function, second: _Function) -> _Function:
    return lambda x: second(first(x))


def _roots(tensor: Tensor, producers: Mapping[str, Node]) -> Iterator[tuple[Tensor, _Function]]:
    """Tensors of which a tensor may be taken for a function, each with the inverse of that function.

    The tensor itself, and x where it is factor x + offset.
    """
    yield tensor, lambda x: x
    node = producers.get(tensor.name)
    if node is not None and (inverse := node.primitive.inverse) is not None:
        yield node.inputs[0], inverse


def _function_of(root: Tensor, tensor: Tensor, producers: Mapping[str, Node], depth: int) -> _Function | None:
    """The pointwise function that makes a tensor of the root, in at most `depth` operations; otherwise None."""
    if tensor == root:
        return lambda x: x
    node = producers.get(tensor.name)
    if node is None or depth == 0 or not node.primitive.is_pointwise or tensor.shape != root.shape:
        return None
    return _output_function(root, node, producers, depth - 1)


def _output_function(root: Tensor, node: Node, producers: Mapping[str, Node], depth: int) -> _Function | None:
    """A node's output as a function of the root, if all its inputs are functions of it; otherwise None."""
    operands = []
    for tensor in node.inputs:
        operand = _function_of(root, tensor, producers, depth)
        if operand is None:
            return None
        operands.append(operand)
    return lambda x: node.primitive.forward([operand(x) for operand in operands])

"""High-bias absorption of Data-Free Quantization (Nagel et al., ICCV 2019, section 4.1.3).

A channel whose mean lies far above 0 wastes the steps below its values. With c = max(0, beta - 3 gamma) behind a
BatchNorm, ReLU(x - c) = ReLU(x) - c wherever x >= c, which is all but 0.13 % of a Gaussian's values: so c is taken off
the beta in front, and W c, which the layer behind then lacks, is added to its bias (eq. 15 and 16).
"""

from dataclasses import dataclass

import numpy as np

from spiq_tf.distributions.values import Array, Weights
from spiq_tf.graph.layer_graph import LayerGraph, Node, Tensor
from spiq_tf.primitives import kernels
from spiq_tf.primitives.activation import Rectifier
from spiq_tf.primitives.affine import BatchNorm
from spiq_tf.primitives.linear import Linear
from spiq_tf.search.constraints import readers_of_weights

_DEVIATIONS = 3.0


def absorb_high_biases(graph: LayerGraph) -> LayerGraph:
    """The graph with weights for which what the ReLUs let pass lies lower by c, and all behind computes the same.

    Only where that is exact for every value above c. The ReLU has no maximum, which would cut elsewhere. All that
    reads it is linear, with windows that never leave the map: the zeros of a padding would have to become -c. And no
    other layer reads the weights that change.

    Scales divide c like everything else, so it makes no difference that equalisation comes later, not before as in the
    paper.
    """
    shared = {key for key, nodes in readers_of_weights(graph).items() if len(nodes) > 1}
    changed: dict[int, Array] = {}
    for node in graph.nodes:
        primitive, readers = node.primitive, _readers(graph, node.output)
        if not isinstance(primitive, BatchNorm) or primitive.beta is None or not readers:
            continue
        if shared.isdisjoint({primitive.beta, *(reader.key for reader in readers)}):
            lowered = _excess(primitive, graph.weights)
            changed[primitive.beta] = graph.weights[primitive.beta] - lowered
            changed |= {reader.key: reader.compensated(graph.weights, lowered) for reader in readers}
    return graph.with_weights(changed)


def _excess(norm: BatchNorm, weights: Weights) -> Array:
    """c = max(0, beta - 3 gamma), shape (channels,)."""
    moments = norm.moments((), weights)
    return np.maximum(moments.mean - _DEVIATIONS * moments.deviation, 0.0)


@dataclass(frozen=True)
class _Reader:
    """A linear primitive that can make up for a constant that its input lacks.

    Attributes:
        rule: the primitive.
        key: of its bias, or of the running mean of the BatchNorm behind it.
        sign: with which that enters the output; a running mean is taken off.
    """

    primitive: Linear
    key: int
    sign: int

    def compensated(self, weights: Weights, lacking: Array) -> Array:
        """b + W c, or moving_mean - W c; lacking is c, shape (inputs,)."""
        kernel = self.primitive.canonical(weights)
        return weights[self.key] + self.sign * kernels.mean_response(kernel, self.primitive.tap_validity, lacking)


def _readers(graph: LayerGraph, tensor: Tensor) -> list[_Reader]:
    """All that reads a tensor behind its ReLU, or nothing if one of them cannot make up for a constant."""
    relu = _only_reader(graph, tensor)
    if relu is None or not _is_unbounded_relu(relu) or relu.output in graph.outputs:
        return []
    found = [_reader(graph, node) for node in graph.consumers[relu.output.name]]
    able = [reader for reader in found if reader is not None]
    return able if len(able) == len(found) else []


def _reader(graph: LayerGraph, node: Node) -> _Reader | None:
    primitive = node.primitive
    if not isinstance(primitive, Linear) or np.any(primitive.tap_validity < 1.0):
        return None
    if primitive.bias is not None:
        return _Reader(primitive, primitive.bias, 1)
    behind = _only_reader(graph, node.output)
    if behind is not None and isinstance(behind.primitive, BatchNorm):
        return _Reader(primitive, behind.primitive.mean, -1)
    return None


def _only_reader(graph: LayerGraph, tensor: Tensor) -> Node | None:
    readers = graph.consumers[tensor.name]
    return readers[0] if len(readers) == 1 and tensor not in graph.outputs else None


def _is_unbounded_relu(node: Node) -> bool:
    primitive = node.primitive
    return isinstance(primitive, Rectifier) and (primitive.negative_slope, primitive.threshold, primitive.maximum) == (
        0.0,
        0.0,
        None,
    )

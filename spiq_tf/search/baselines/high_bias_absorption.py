"""High-bias absorption of Data-Free Quantization (Nagel et al., ICCV 2019, section 4.1.3).

A channel whose mean lies far above 0 wastes the levels below its values. With c = max(0, beta - 3 gamma) after a
BatchNorm, ReLU(x - c) = ReLU(x) - c wherever x >= c, which is all but 0.13 % of a Gaussian's values: so c is subtracted
from beta, and W c, which the layer after the ReLU then lacks, is added to its bias (eq. 15 and 16).
"""

from dataclasses import dataclass

import numpy as np

from spiq_tf.distributions.values import Array, Weights
from spiq_tf.graph.layer_graph import LayerGraph, Node, Tensor
from spiq_tf.primitives import kernels
from spiq_tf.primitives.affine import BatchNorm
from spiq_tf.primitives.linear import Linear
from spiq_tf.search.constraints import consumers_of_weights

_DEVIATIONS = 3.0


def absorb_high_biases(graph: LayerGraph) -> LayerGraph:
    """The graph with weights for which the ReLUs' outputs are lower by c, and all that follows computes the same.

    Only where that is exact for every value above c. The ReLU has no maximum, which would saturate elsewhere. All its
    consumers are linear, with windows that never leave the feature map: the zeros of a padding would have to become -c.
    And no other layer reads the weights that change.

    Scales divide c like everything else, so it makes no difference that equalization comes later, not before as in the
    paper.
    """
    shared = {key for key, nodes in consumers_of_weights(graph).items() if len(nodes) > 1}
    changed: dict[int, Array] = {}
    for node in graph.nodes:
        norm, consumers = node.primitive.as_batch_norm, _compensating_consumers(graph, node.output)
        if norm is None or norm.beta is None or not consumers:
            continue
        if shared.isdisjoint({norm.beta, *(consumer.key for consumer in consumers)}):
            shift = _absorbed_bias(norm, graph.weights)
            changed[norm.beta] = graph.weights[norm.beta] - shift
            changed |= {consumer.key: consumer.compensated(graph.weights, shift) for consumer in consumers}
    return graph.with_weights(changed)


def _absorbed_bias(norm: BatchNorm, weights: Weights) -> Array:
    """c = max(0, beta - 3 gamma), in the model's units, shape (channels,)."""
    moments = norm.moments((), weights)
    return np.maximum(moments.mean - _DEVIATIONS * moments.deviation, 0.0)


@dataclass(frozen=True, kw_only=True)
class _CompensatingConsumer:
    """A linear primitive that can compensate for a constant that its input lacks.

    Attributes:
        linear: the primitive.
        key: of its bias, or of the running mean of the BatchNorm after it.
        sign: with which that enters the output; a running mean is subtracted.
    """

    linear: Linear
    key: int
    sign: int

    def compensated(self, weights: Weights, shift: Array) -> Array:
        """b + W c, or moving_mean - W c, shape (outputs,); shift is c, shape (inputs,)."""
        kernel = self.linear.canonical(weights)
        return weights[self.key] + self.sign * kernels.mean_response(kernel, self.linear.tap_validity, shift)


def _compensating_consumers(graph: LayerGraph, tensor: Tensor) -> list[_CompensatingConsumer]:
    """All consumers of the ReLU after a tensor, or none if one of them cannot compensate for a constant."""
    relu = _only_consumer(graph, tensor)
    if relu is None or not relu.primitive.rectifies or relu.primitive.saturation is not None:
        return []
    if relu.output in graph.outputs:
        return []
    consumers = [_compensating_consumer(graph, node) for node in graph.consumers[relu.output.name]]
    able = [consumer for consumer in consumers if consumer is not None]
    return able if len(able) == len(consumers) else []


def _compensating_consumer(graph: LayerGraph, node: Node) -> _CompensatingConsumer | None:
    linear = node.primitive.as_linear
    if linear is None or np.any(linear.tap_validity < 1.0):
        return None
    if linear.bias is not None:
        return _CompensatingConsumer(linear=linear, key=linear.bias, sign=1)
    after = _only_consumer(graph, node.output)
    norm = None if after is None else after.primitive.as_batch_norm
    return None if norm is None else _CompensatingConsumer(linear=linear, key=norm.mean, sign=-1)


def _only_consumer(graph: LayerGraph, tensor: Tensor) -> Node | None:
    consumers = graph.consumers[tensor.name]
    return consumers[0] if len(consumers) == 1 and tensor not in graph.outputs else None

"""Moments from the running statistics of BatchNorms: of the tensors that they read, and of the model's inputs."""

from collections.abc import Mapping

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.values import Array, Moments
from spiq_tf.graph.layer_graph import LayerGraph
from spiq_tf.primitives.linear import Layout, Linear

_TINY = 1e-12


def batch_norm_moments(graph: LayerGraph, name: str) -> Moments | None:
    """Moments of a tensor, in model units, that a BatchNorm which reads it states; None if none reads it."""
    stated = (node.primitive.input_moments(graph.weights) for node in graph.consumers[name])
    return next((m for m in stated if m is not None), None)


def all_batch_norm_moments(graph: LayerGraph) -> Mapping[str, Moments]:
    """The same of all tensors that a BatchNorm reads, and of those that a concatenation before it joins, by name."""
    stated: dict[str, Moments] = {}
    for node in reversed(graph.nodes):
        name = node.output.name
        moments = batch_norm_moments(graph, name) or stated.get(name)
        if moments is None:
            continue
        stated[name] = moments
        of_inputs = node.primitive.inverse_moments(moments, [t.channels for t in node.inputs])
        for tensor, of_input in zip(node.inputs, of_inputs or (), strict=False):
            stated.setdefault(tensor.name, of_input)
    return stated


def refined_by_batch_norms(graph: LayerGraph, name: str, assumed: Moments) -> Moments:
    """The moments of an input, its mean refined by the BatchNorms after the first convolutions.

    The running mean of output o is sum over c of A_oc E[x_c] + b_o, A the kernel summed over its taps: a few
    unknowns and many equations. Solved by least squares, each equation weighted with FIRST_NORM_TRUST of the output's
    deviation, and what was assumed with its own deviation.

    Args:
        graph: the model.
        name: of the input, or of what a fixed preprocessing layer makes of it.
        assumed: its moments, in model units.
    """
    deviation = np.maximum(assumed.deviation, _TINY)
    rows, values = [np.zeros((0, len(deviation)))], [np.zeros(0)]
    for linear, stated in _normalized_consumers(graph, name):
        response, offset = linear.mean_map(graph.weights)
        weight = 1 / (priors.FIRST_NORM_TRUST.value * np.maximum(stated.deviation, _TINY))
        rows.append(response * deviation * weight[:, None])
        values.append((stated.mean - offset - response @ assumed.mean) * weight)
    # with steps d of one deviation: the least of |d|^2 + |rows d - values|^2
    outputs, strength, channels = np.linalg.svd(np.concatenate(rows), full_matrices=False)
    steps = (outputs.T @ np.concatenate(values)) * strength / (strength**2 + 1) @ channels
    return Moments(assumed.mean + steps * deviation, assumed.variance)


def first_convolutions(graph: LayerGraph, name: str) -> list[tuple[Array, Array, Moments]]:
    """The 2D convolutions that read a tensor and have a BatchNorm after them.

    Returns:
        Of each the kernel (height, width, channels, outputs), the bias (outputs,), and the running statistics.
    """
    result = []
    for linear, stated in _normalized_consumers(graph, name):
        kernel = graph.weights[linear.kernel]
        if kernel.ndim == 4 and linear.layout == Layout():
            bias = np.zeros(kernel.shape[-1]) if linear.bias is None else graph.weights[linear.bias]
            result.append((kernel, bias, stated))
    return result


def _normalized_consumers(graph: LayerGraph, name: str) -> list[tuple[Linear, Moments]]:
    """The linear primitives that read a tensor, directly or padded, with what a BatchNorm states of their outputs."""
    consumers = graph.consumers[name]
    while len(consumers) == 1 and consumers[0].primitive.is_padding:
        consumers = graph.consumers[consumers[0].output.name]
    result = []
    for node in consumers:
        stated, linear = batch_norm_moments(graph, node.output.name), node.primitive.as_linear
        if stated is not None and linear is not None:
            result.append((linear, stated))
    return result

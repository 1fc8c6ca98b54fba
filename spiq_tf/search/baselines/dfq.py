"""Data-Free Quantization as it was published (Nagel et al., ICCV 2019): cross-layer equalization and its ranges.

What the default method is measured against, together with `high_bias_absorption` and the bias correction that both
have. Two things differ from the paper. Convolutions have a weight scale for each output, as TFLite's specification asks
for, where the paper has one for each layer. And a ReLU6 is never replaced by a ReLU, see `_limits`: MobileNetV2 is
equalized less.
"""

from collections.abc import Mapping

import numpy as np

from spiq_tf.distributions.tails import ChannelDistribution
from spiq_tf.distributions.values import Array
from spiq_tf.graph.layer_graph import LayerGraph
from spiq_tf.search.baselines.layer_pairs import consecutive_layers
from spiq_tf.search.constraints import ScaleClasses
from spiq_tf.search.minimum_noise import ScaleSolution

_DEVIATIONS = 6.0
_LARGEST = 2.0**10
_SWEEPS = 1000
_TOLERANCE = 1e-5  # of the scales


def equalize(
    graph: LayerGraph, classes: ScaleClasses, distributions: Mapping[str, ChannelDistribution]
) -> ScaleSolution:
    """Scales that give a channel's weights one range in the layer before and in the layer after it.

    s_c = sqrt(r1_c / r2_c) (eq. 11), where r1_c is the largest magnitude of the weights that make channel c and r2_c
    of those that read it. One pair of layers after the other, until nothing changes: a layer of two pairs, such as the
    depthwise one of an inverted bottleneck, ends with the geometric mean of all three. Ranges are mean - 6 deviations
    to mean + 6 deviations of every channel, a tensor's the widest of them.

    Args:
        graph: the model.
        classes: which channels share a scale, and which scales are pinned.
        distributions: of every tensor, by name, in the model's units.
    """
    ranges = {name: distribution.range(_DEVIATIONS) for name, distribution in distributions.items()}
    pairs, (smallest, largest) = consecutive_layers(graph, classes), _limits(graph, classes, distributions)
    scale = np.ones(classes.count)
    for _ in range(_SWEEPS):
        before = scale
        for pair in pairs:
            scale = np.where(pair.free, np.clip(scale * pair.imbalance(scale), smallest, largest), scale)
        if np.all(np.abs(scale / before - 1) < _TOLERANCE):
            break
    return ScaleSolution({name: scale[label] for name, label in classes.of.items()}, ranges, {})


def _limits(
    graph: LayerGraph, classes: ScaleClasses, distributions: Mapping[str, ChannelDistribution]
) -> tuple[Array, Array]:
    """The least and the largest scale of each class, both of shape (classes,).

    The paper replaces ReLU6 by ReLU, which commutes with every scale. Here the function stays as it is, which a
    replacement can change a lot (docs/accuracy.md). A ReLU with a maximum m saturates a scaled channel at s m. So s is
    at most 1, and at least what keeps s m above the channel's mean + 6 deviations: beyond these the published ranges
    may clip it anyway.
    """
    largest = np.where(classes.saturates, 1.0, _LARGEST)
    smallest = np.full(classes.count, 1 / _LARGEST)
    for node in graph.nodes:
        if node.primitive.saturation is not None:
            high = distributions[node.output.name].above.end(_DEVIATIONS)
            np.maximum.at(smallest, classes.of[node.output.name], high / node.primitive.saturation)
    return smallest, largest

"""What the opaque layers of a model read on samples, for running them alone."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spiq_tf import priors
from spiq_tf.distributions.values import Array, Moments
from spiq_tf.graph.layer_graph import LayerGraph, Tensor
from spiq_tf.statistics.samples import SampleGap, SampleRun


@dataclass(frozen=True)
class OpaqueInputs:
    """Inputs of the opaque layers.

    Attributes:
        examples: for each example the values by tensor name, in model units, with a batch of 1.
        gap: how much farther real inputs reach.
    """

    examples: Sequence[Mapping[str, Array]]
    gap: SampleGap


def opaque_layer_inputs(
    graph: LayerGraph, runs: Sequence[SampleRun], moments: Mapping[str, Moments], gap: SampleGap
) -> OpaqueInputs:
    """The inputs of all opaque layers, for each run that holds the feature maps.

    Without spatial locations they are Gaussians of the tensor's moments (fixed seed), since samples differ too little
    there. Every second one has LOW_CONTRAST of the deviation. What is positive in all runs stays so.

    Args:
        graph: the model.
        runs: of the model on the samples.
        moments: of every tensor.
        gap: how much farther real inputs reach than the samples.
    """
    tensors = {t.name: t for node in graph.nodes if node.primitive.is_opaque for t in node.inputs}
    random = np.random.default_rng(0)

    def value(tensor: Tensor, run: SampleRun, contrast: float) -> Array:
        sampled = np.asarray(run.values[tensor.name], np.float64)
        if tensor.is_feature_map or tensor in graph.inputs:
            return sampled
        stated = moments[tensor.name]
        drawn = stated.mean + contrast * stated.deviation * random.standard_normal(sampled.shape)
        least = min(float(np.min(each.values[tensor.name])) for each in runs)
        return np.maximum(drawn, priors.MIN_POSITIVE_SAMPLE.value * least) if least > 0 else drawn

    contrasts = itertools.cycle((1.0, priors.LOW_CONTRAST.value))
    examples = [
        {name: value(t, run, contrast) for name, t in tensors.items() if name in run.values}
        for run, contrast in zip(runs, contrasts, strict=False)
        if run.tape is not None  # otherwise it does not hold the feature maps
    ]
    return OpaqueInputs(examples, gap)

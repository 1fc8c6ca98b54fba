"""Layers that split a tensor and multiply one part by a function of the other."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from spiq_tf.frontend.expansion.activation import elementwise
from spiq_tf.frontend.expansion.call_site import CallSite, LayerInput, Step, StepOutput
from spiq_tf.primitives.merge import Multiply
from spiq_tf.primitives.shape import rearrange_of_indices


def gated_linear_unit(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """keras.ops.glu: the first half of an axis times the sigmoid of the second (Dauphin et al., 2017)."""
    (shape,) = site.inputs
    axis = layer.axis % len(shape)
    if axis == 0:
        return None  # examples gate each other
    channels = np.broadcast_to(np.arange(float(shape[-1])), shape)
    value, gate = (
        Step(rearrange_of_indices(half, shape[-1]), site.output, (LayerInput(0),))
        for half in np.split(channels, 2, axis)
    )
    sigmoid = Step(elementwise(keras.ops.sigmoid, "sigmoid"), site.output)
    return value, gate, sigmoid, Step(Multiply(0, 2), site.output, (StepOutput(0), StepOutput(2)))

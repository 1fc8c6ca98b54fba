"""Samples: example inputs that the model is run on, to see what no weight states.

Synthetic inputs (`synthetic.py`) are one source of them. Whoever uses samples takes from them what depends on the
source: how much farther real inputs reach, and whether BatchNorms have to be given the moments that they state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

SampleInput = Mapping[str, npt.NDArray[np.float32]]
"""One example: the model's inputs by tensor name, in model units, each with a batch of 1."""


@dataclass(frozen=True, kw_only=True)
class SampleGap:
    """How much farther real inputs reach than the sample, as factors; all are 1 of a sample of real inputs.

    Attributes:
        features: of the deviation of averages and logits over examples, and of the range of feature maps.
        decoder: of the range of a decoder's feature maps.
        intermediates: of the range of intermediates of opaque layers.
        few_values: of the range of those intermediates that have few values an example.
    """

    features: float = 1.0
    decoder: float = 1.0
    intermediates: float = 1.0
    few_values: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Example inputs from one source.

    Attributes:
        inputs: the examples.
        num_differentiated: for how many of them, the first ones, all feature maps are held and a derivative can be
            taken.
        gap: how much farther real inputs reach.
        restores_batch_norms: whether the output of each BatchNorm is given the moments that it states, since the
            examples do not have the statistics of the images that the model was trained on.
    """

    inputs: Sequence[SampleInput]
    num_differentiated: int
    gap: SampleGap
    restores_batch_norms: bool


NO_EXAMPLES = Samples(inputs=(), num_differentiated=0, gap=SampleGap(), restores_batch_norms=False)
"""Nothing to run the model on: all statistics are in closed form."""


@dataclass(frozen=True)
class SampleRun:
    """One run of the model, on one example.

    Attributes:
        values: of the tensors, by name, in model units; the batch is 1. Without a tape, only of those that have no
            spatial locations.
        tape: what recorded the run, for one derivative; None of a run that was not recorded.
    """

    values: Mapping[str, Any]
    tape: tf.GradientTape | None

"""Additions that make no error of their own.

An int8 addition rounds its sum to the grid of its output. Where both addends and the sum have one scale, the sum of two
integers is an integer already, and every runtime's kernel gives just that. The rounding of the sum is saved; in return
the finer ones of the three get the scale of all. On a residual trunk that often pays, block after block.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.cluster.hierarchy import DisjointSet
from scipy.optimize import minimize_scalar

from spiq_tf import priors
from spiq_tf.distributions.values import Array
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.search.noise_terms import PredictedNoise
from spiq_tf.tflite.flatbuffer import FlatModel

_MAX_CLIPPING_EXPONENT = 100.0
"""Of the scale, with which clipping noise falls: a tensor of which less is clipped, such as one that fills its range,
is not narrowed."""


def equalize_add_scales(
    flat: FlatModel, tensor_ranges: Mapping[int, TensorRange], groups: DisjointSet, noise: Mapping[int, PredictedNoise]
) -> dict[int, TensorRange]:
    """The tensor ranges, those around an addition brought to one scale where that lowers the predicted noise.

    Additions are gone through in the file's order; what was joined by one is joined as a whole by the next.

    Args:
        flat: the float file.
        tensor_ranges: of the activations, by tensor index, in file units. They are stretched about 0, so that zero
            points stay.
        groups: tensors that share a scale in any case.
        noise: predicted for tensors with these ranges, by index. Those that are absent are not moved.
    """
    shared: dict[int, _SharedScale] = {}
    for group in groups.subsets():
        if group <= noise.keys():
            shared |= dict.fromkeys(group, _with_noise({i: tensor_ranges[i] for i in group}, noise))
    for operator in flat.operators:
        tensors = [int(operator.outputs[0]), *flat.activation_inputs(operator)]
        movable = len(set(tensors)) == 3 and all(i in shared for i in tensors)
        if flat.kind(operator) not in ("ADD", "SUB") or not movable:
            continue
        apart = list({id(shared[i]): shared[i] for i in tensors}.values())
        together = _joined(apart, tensors[0])
        if together.noise < priors.EQUAL_SCALE_NOISE.value * sum(part.noise for part in apart):
            shared |= dict.fromkeys(together.tensors, together)
    return {
        index: tensor_range.stretched(shared[index].scale / tensor_range.scale) if index in shared else tensor_range
        for index, tensor_range in tensor_ranges.items()
    }


@dataclass(frozen=True, kw_only=True)
class _SharedScale:
    """Tensors that share a scale, and their noise as a function of it.

    Attributes:
        tensors: their indices.
        scales: that each would have alone, in file units, shape (tensors,) as all that follow.
        rounding: noise of each from rounding, at the scale that it would have alone; 0 for sums that need none.
        clipping: noise of each from clipping, at that scale.
        exponents: of the scale, with which the clipping noise falls; infinite where the scale is not made finer at all.
    """

    tensors: tuple[int, ...]
    scales: Array
    rounding: Array
    clipping: Array
    exponents: Array

    @cached_property
    def scale(self) -> float:
        """The one of the least noise."""
        stiff = np.isinf(self.exponents)
        ends = float(self.scales[stiff].max(initial=self.scales.min())), float(self.scales.max())
        if ends[0] == ends[1]:
            return ends[0]
        optimum = minimize_scalar(lambda log: self._noise(np.exp(log)), bounds=np.log(ends), method="bounded")
        # the search does not quite reach the ends
        return min(*ends, float(np.exp(optimum.x)), key=self._noise)

    @cached_property
    def noise(self) -> float:
        """Of all tensors, at that scale."""
        return self._noise(self.scale)

    def _noise(self, scale: float) -> float:
        ratio = scale / self.scales
        falling = np.where(np.isinf(self.exponents), 0.0, -self.exponents)
        return float(np.sum(self.rounding * ratio**2 + self.clipping * ratio**falling))


def _with_noise(tensor_ranges: Mapping[int, TensorRange], noise: Mapping[int, PredictedNoise]) -> _SharedScale:
    """Tensors with their predicted noise.

    Clipping noise is modelled as a power of the range's width, whose exponent makes the given width the one of the
    least noise: there, what a wider range gains by clipping less is what it loses by rounding to a coarser grid.
    """
    tensors = tuple(tensor_ranges)
    rounding, clipping = np.array([noise[i].rounding for i in tensors]), np.array([noise[i].clipping for i in tensors])
    exponents = np.full(len(tensors), np.inf)
    finite = 2 * rounding < _MAX_CLIPPING_EXPONENT * clipping
    np.divide(2 * rounding, clipping, out=exponents, where=finite)
    scales = np.array([tensor_ranges[i].scale for i in tensors])
    return _SharedScale(tensors=tensors, scales=scales, rounding=rounding, clipping=clipping, exponents=exponents)


def _joined(parts: Sequence[_SharedScale], total: int) -> _SharedScale:
    """One shared scale for several, with which the sum of that index needs no rounding any more."""
    tensors = tuple(index for part in parts for index in part.tensors)
    rounding = np.concatenate([part.rounding for part in parts])
    return _SharedScale(
        tensors=tensors,
        scales=np.concatenate([part.scales for part in parts]),
        rounding=np.where(np.array(tensors) == total, 0.0, rounding),
        clipping=np.concatenate([part.clipping for part in parts]),
        exponents=np.concatenate([part.exponents for part in parts]),
    )

"""Additions that make no error of their own.

An int8 addition rounds its sum to the grid of its output. Where both addends and the sum have one step, the sum of two
integers is an integer already, and every runtime's kernel gives just that. The rounding of the sum is saved; in return
the finer ones of the three get the step of all. On a residual trunk that often pays, block after block.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.cluster.hierarchy import DisjointSet
from scipy.optimize import minimize_scalar

from spiq_tf import priors
from spiq_tf.distributions.values import Array
from spiq_tf.search.noise_terms import PredictedNoise
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.parameters.tensor_range import TensorRange

_MAX_CLIPPING_EXPONENT = 100.0
"""Of the scale, with which clipping noise falls: a tensor of which less is clipped, such as one that fills its range,
is not narrowed."""


def equalize_add_scales(
    flat: FlatModel, intervals: Mapping[int, TensorRange], groups: DisjointSet, noise: Mapping[int, PredictedNoise]
) -> dict[int, TensorRange]:
    """The intervals, those around an addition brought to one step where that lowers the predicted noise.

    Additions are gone through in the file's order; what was joined by one is joined as a whole by the next.

    Args:
        flat: the float file.
        intervals: of the activations, by tensor index. They are stretched about 0, so that zero points stay.
        groups: tensors that have one interval in any case.
        noise: of tensors that keep to their intervals, by index. Those left out are not moved.
    """
    grids: dict[int, _Grid] = {}
    for group in groups.subsets():
        if group <= noise.keys():
            grids |= dict.fromkeys(group, _grid({i: intervals[i] for i in group}, noise))
    for operator in flat.operators:
        tensors = [int(operator.outputs[0]), *flat.activation_inputs(operator)]
        movable = len(set(tensors)) == 3 and all(i in grids for i in tensors)
        if flat.kind(operator) not in ("ADD", "SUB") or not movable:
            continue
        apart = list({id(grids[i]): grids[i] for i in tensors}.values())
        together = _joined(apart, tensors[0])
        if together.noise < priors.EQUAL_SCALE_NOISE.value * sum(grid.noise for grid in apart):
            grids |= dict.fromkeys(together.tensors, together)
    return {
        index: own.stretched(grids[index].step / own.scale) if index in grids else own
        for index, own in intervals.items()
    }


@dataclass(frozen=True)
class _Grid:
    """Tensors that share a step, and their noise as a function of it.

    Attributes:
        tensors: their indices.
        steps: that each would have alone, shape (tensors,).
        rounding: noise of each from rounding, at the step that it would have alone; 0 for sums that need none.
        cutting: noise of each from what is cut, at that step.
        exponents: of the step, with which that falls; infinite where the step is not made finer at all.
    """

    tensors: tuple[int, ...]
    steps: Array
    rounding: Array
    cutting: Array
    exponents: Array

    @cached_property
    def step(self) -> float:
        """The one of the least noise."""
        stiff = np.isinf(self.exponents)
        ends = float(self.steps[stiff].max(initial=self.steps.min())), float(self.steps.max())
        if ends[0] == ends[1]:
            return ends[0]
        found = minimize_scalar(lambda log: self._noise(np.exp(log)), bounds=np.log(ends), method="bounded")
        return min(*ends, float(np.exp(found.x)), key=self._noise)  # the search comes but near the ends

    @cached_property
    def noise(self) -> float:
        """Of all tensors, at that step."""
        return self._noise(self.step)

    def _noise(self, step: float) -> float:
        ratio = step / self.steps
        falling = np.where(np.isinf(self.exponents), 0.0, -self.exponents)
        return float(np.sum(self.rounding * ratio**2 + self.cutting * ratio**falling))


def _grid(intervals: Mapping[int, TensorRange], noise: Mapping[int, PredictedNoise]) -> _Grid:
    """Tensors with their predicted noise.

    What is cut is modelled as a power of the interval's width, whose exponent makes the given width the one of the
    least noise: there, what a wider interval gains by cutting less is what it loses by rounding in wider steps.
    """
    tensors = tuple(intervals)
    rounding, cutting = (np.array([getattr(noise[i], part) for i in tensors]) for part in ("rounding", "clipping"))
    exponents = np.full(len(tensors), np.inf)
    finite = 2 * rounding < _MAX_CLIPPING_EXPONENT * cutting
    np.divide(2 * rounding, cutting, out=exponents, where=finite)
    return _Grid(tensors, np.array([intervals[i].scale for i in tensors]), rounding, cutting, exponents)


def _joined(grids: Sequence[_Grid], total: int) -> _Grid:
    """Grids made one, with which the sum of that index needs no rounding any more."""
    tensors = tuple(index for grid in grids for index in grid.tensors)
    steps, rounding, cutting, exponents = (
        np.concatenate([getattr(grid, part) for grid in grids])
        for part in ("steps", "rounding", "cutting", "exponents")
    )
    return _Grid(tensors, steps, np.where(np.array(tensors) == total, 0.0, rounding), cutting, exponents)

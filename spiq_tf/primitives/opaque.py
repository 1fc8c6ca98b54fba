"""A layer that nobody wrote a rule for: it stays unscaled, and its moments are sampled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from spiq_tf.primitives.base import (
    Array,
    Channels,
    Moments,
    Primitive,
    Range,
    Source,
    Weights,
    gaussian_range,
)


@dataclass(frozen=True, eq=False)
class Opaque(Primitive):
    """Anything else.

    Attributes:
        evaluate: the layer itself as a function of arrays, one for each input, with a batch axis; returns the
            output that this primitive stands for.
        shapes: of the inputs, with the batch axis.
    """

    evaluate: Callable[[Sequence[Array]], Array]
    shapes: tuple[tuple[int, ...], ...]
    keys: tuple[int, ...] = ()
    """Of the layer's variables."""

    def variables(self) -> tuple[int, ...]:
        return self.keys

    VALUES = 200_000
    """About how many values are drawn for the largest input: seconds stay bounded, a mean is good to 1 %."""

    def moments(self, inputs: Sequence[Moments], weights: Weights) -> Moments:
        """The stated fallback: the layer is run on independent Gaussians of its inputs' moments (fixed seed)."""
        largest = max(int(np.prod(shape[1:])) for shape in self.shapes)
        count = int(np.clip(self.VALUES // largest, 4, 64))
        random = np.random.default_rng(0)
        drawn = [
            x.mean + x.deviation * random.standard_normal((count, *shape[1:]))
            for x, shape in zip(inputs, self.shapes, strict=True)
        ]
        values = np.asarray(self.evaluate(drawn), np.float64)
        flat = values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)
        return Moments(flat.mean(axis=0), flat.var(axis=0))

    def range(self, inputs: Sequence[Channels], moments: Moments, weights: Weights, deviations: float) -> Range:
        return gaussian_range(moments, deviations, Source.FALLBACK)

    def unscaled(self) -> None:
        return None

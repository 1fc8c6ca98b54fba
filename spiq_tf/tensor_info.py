"""One activation tensor of a file, as users see it."""

from dataclasses import dataclass

REPORTED_SIGMAS = 4.0
"""Standard deviations from its center at which a channel's reported range ends: 1 in 16 000 values of a Gaussian lies
beyond."""


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One activation tensor of the file.

    Attributes:
        name: of the tensor in the file.
        layer: the layer call whose output it is ("encoder/conv1"), or None for a tensor inside a layer.
        low, high: its tensor range, which contains 0, in file units: model units divided by `channel_scales`.
        scale, zero_point: real = scale * (integer - zero_point); None where the tensor stays float.
        source: where the range comes from: batch_norm, propagated, fixed, given, told or fallback.
        channel_scales: for each channel the scale that was absorbed into the weights around it, or None: value in model
            units over value in file units.
        channel_ranges: for each channel its expected smallest and largest value, 4 standard deviations from its center
            and within its bounds, in model units, or None. The tensor range may clip it, or exceed it.
        noise: predicted power at the outputs, relative to theirs, of rounding and clipping this tensor and rounding the
            weights that compute it. None where the method predicts none.
        unscaled: why some of its channels had to keep channel scale 1 ("probs: is a model output"), or None.
    """

    name: str
    layer: str | None
    low: float
    high: float
    scale: float | None
    zero_point: int | None
    source: str
    channel_scales: tuple[float, ...] | None
    channel_ranges: tuple[tuple[float, float], ...] | None
    noise: float | None
    unscaled: str | None

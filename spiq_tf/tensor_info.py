"""What is told of one tensor of a file."""

from dataclasses import dataclass

REPORTED_SIGMAS = 4.0
"""From its centre, where a channel is said to end: of a Gaussian's values 1 in 16 000 lies beyond."""


@dataclass(frozen=True)
class TensorInfo:
    """One activation tensor of the file.

    Attributes:
        name: of the tensor in the file.
        layer: the layer call whose output it is ("encoder/conv1"), or None for a tensor inside a layer.
        low, high: its range, which holds 0.
        scale, zero_point: real = scale * (integer - zero_point); None where the tensor stays float.
        source: where the range comes from: batch_norm, propagated, fixed, given, told or fallback.
        channel_scales: for each channel the scale that was absorbed into the weights around it, or None: the model's
            value over the file's.
        channel_ranges: for each channel the smallest and largest value that it is expected to reach, 4 deviations from
            its centre and within its bounds, in the model's units, or None. The file may cut it, or hold more.
        noise: predicted, what rounding this tensor, cutting its tails and rounding the weights that make it add
            to the outputs: its power relative to theirs. None where the method predicts none.
        unscaled: why some of its channels had to keep scale 1 ("probs: is a model output"), or None.
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

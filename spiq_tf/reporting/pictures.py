"""The pictures of the page, as SVG that stretches to its box."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spiq_tf.quantization.bit_width import INT8
from spiq_tf.reporting.facts import LayerFacts
from spiq_tf.reporting.markup import Markup, tag
from spiq_tf.reporting.words import percent
from spiq_tf.tensor_info import TensorInfo

Bounds = npt.NDArray[np.float64]
"""Of shape (channels, 2): the smallest and largest value of each channel."""

HEIGHT = 1000
"""Units of a picture of channels: bounds are drawn to within half of one."""
_NARROWEST = 12  # columns of a picture: of few channels each would be a slab
_APART = 64  # columns between which gaps are seen
_HEATS = 5


@dataclass(frozen=True)
class Picture:
    """The channels of a tensor within the interval that its integers share.

    Attributes:
        bounds: of the channels, in the order in which they are drawn.
        low, high: the interval, which holds 0.
    """

    bounds: Bounds
    low: float
    high: float

    @property
    def bottom(self) -> float:
        """The lowest value that is drawn."""
        return min(self.low, float(self.bounds.min()))

    @property
    def top(self) -> float:
        """The highest value that is drawn."""
        return max(self.high, float(self.bounds.max()))

    @property
    def median_of_widest(self) -> float:
        """How wide the median channel is, relative to the widest; 1 where all are empty."""
        widths = self.bounds[:, 1] - self.bounds[:, 0]
        return float(np.median(widths) / widths.max()) if widths.max() > 0 else 1.0

    @property
    def steps(self) -> float:
        """Of the interval's 255, how many the median channel spans."""
        widths = np.minimum(self.bounds[:, 1], self.high) - np.maximum(self.bounds[:, 0], self.low)
        return INT8.levels * float(np.median(np.maximum(widths, 0.0))) / ((self.high - self.low) or 1.0)


def before_and_after(tensor: TensorInfo) -> tuple[Picture, Picture] | None:
    """The channels before scales are absorbed, in the model's units and in the interval that they would need without,
    and after, in the file's; the widest before absorption first. None where nothing is known of them."""
    if not tensor.channel_ranges or not tensor.channel_scales:
        return None
    before = np.array(tensor.channel_ranges, np.float64)
    after = np.sort(before / np.array(tensor.channel_scales, np.float64)[:, None], axis=1)  # a scale may be negative
    order = np.argsort(before[:, 0] - before[:, 1], kind="stable")
    low, high = min(0.0, float(before.min())), max(0.0, float(before.max()))
    return Picture(before[order], low, high), Picture(after[order], tensor.low, tensor.high)


def binned(bounds: Bounds, most: int) -> Bounds:
    """Neighbors drawn as one, from the smallest to the largest value, so that at most so many are left."""
    groups = np.array_split(bounds, min(most, len(bounds)))
    return np.array([(group[:, 0].min(), group[:, 1].max()) for group in groups])


def channels(picture: Picture, most: int, label: str) -> Markup:
    """One upright line for each channel, over the shaded interval of the tensor and its zero."""
    drawn = binned(picture.bounds, most)
    unit = HEIGHT / ((picture.top - picture.bottom) or 1.0)

    def y(value: float) -> int:
        return round((picture.top - value) * unit)

    width = max(len(drawn), _NARROWEST)
    lines = "".join(f"M{i}.5 {y(upper)}V{y(lower)}" for i, (lower, upper) in enumerate(drawn.tolist()))
    return tag(
        "svg",
        tag("rect", class_="interval", y=y(picture.high), width=width, height=y(picture.low) - y(picture.high)),
        tag("path", class_="channels dense" if len(drawn) > _APART else "channels", d=lines),
        tag("path", class_="zero", d=f"M0 {y(0.0)}H{width}"),
        viewBox=f"0 0 {width} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


@dataclass(frozen=True)
class Largest:
    """The largest shares of the noise, which full bars stand for; 0 where there are none."""

    measured: float
    predicted: float


def largest_shares(layers: Sequence[LayerFacts]) -> Largest:
    """Of all layers."""
    return Largest(
        max((x.measured_share or 0.0 for x in layers), default=0.0),
        max((x.predicted_share or 0.0 for x in layers), default=0.0),
    )


def bar(share: float | None, largest: float) -> Markup:
    """A share of the noise as a bar as long as it is of the largest."""
    part = (share or 0.0) / (largest or 1.0)
    filled = tag("span", class_=f"heat{_heat(part)}", style=f"width:{100 * part:.1f}%")
    return tag("span", filled, class_="bar", aria_hidden="true")


def profile(layers: Sequence[LayerFacts], largest: Largest) -> Markup:
    """The noise of all layers in their order: measured shares upwards over predicted ones downwards, or these alone
    upwards."""
    below = 100 if largest.measured else 0
    columns = (
        tag(
            "a",
            tag("title", f"{x.name}: measured {percent(x.measured_share)}, predicted {percent(x.predicted_share)}"),
            tag("rect", class_="hit", x=i, y=-100, width=1, height=100 + below),
            _column(i, x.measured_share, largest.measured, upwards=True) if below else None,
            _column(i, x.predicted_share, largest.predicted, upwards=not below),
            href=f"#layer-{i}",
        )
        for i, x in enumerate(layers)
    )
    return tag(
        "svg",
        *columns,
        tag("path", class_="zero", d=f"M0 0H{len(layers)}"),
        class_="profile" if below else "profile half",
        viewBox=f"0 -100 {len(layers)} {100 + below}",
        preserveAspectRatio="none",
        role="img",
        aria_label="Share of the noise of each layer, in order of execution",
    )


def _column(place: int, share: float | None, largest: float, upwards: bool) -> Markup | None:
    if share is None:
        return None
    part = share / (largest or 1.0)
    height = max(round(97 * part), 1)
    y = -height if upwards else 0
    return tag("rect", class_=f"heat{_heat(part)}", x=f"{place}.1", y=y, width="0.8", height=height)


def _heat(part: float) -> int:
    """0 for the coolest to 5 for the hottest; the root tells small shares apart."""
    return round(_HEATS * min(max(part, 0.0), 1.0) ** 0.5)

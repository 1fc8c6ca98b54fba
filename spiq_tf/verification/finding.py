"""What `spiq_tf.verify` returns."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

_NUM_LISTED = 5


@dataclass(frozen=True, kw_only=True)
class MeasuredNoise:
    """The difference between the file's values of a tensor and the float model's, in the model's units.

    Attributes:
        sqnr_db: power of the float values over that of the differences, in dB; infinite where there are none.
        bias: root mean square of the channels' mean difference, over that of their standard deviations; None where the
            values do not vary.
        worst_channel: the channel with the lowest signal-to-noise ratio among those that vary.
        worst_channel_db: that ratio.
    """

    sqnr_db: float
    bias: float | None
    worst_channel: int
    worst_channel_db: float


@dataclass(frozen=True)
class OutputFinding:
    """One output of the model.

    Attributes:
        name: in the serving signature.
        noise: at that output.
        agreement: how often the largest of its channels is the float model's; None where there are not at least two.
    """

    name: str
    noise: MeasuredNoise
    agreement: float | None

    @property
    def sqnr_db(self) -> float:
        """Signal-to-noise ratio in dB."""
        return self.noise.sqnr_db


@dataclass(frozen=True, kw_only=True)
class LayerFinding:
    """One layer call whose output is materialized in the file.

    Attributes:
        layer: name of the call ("block_1/conv"), or of one of its outputs.
        tensor: name of the file's tensor.
        noise: of all that comes before, and of the layer itself.
        own_db: signal-to-noise ratio of the layer alone: its float computation on the file's inputs to it, against the
            file's output.
        share: the layer's own part of the noise at the outputs, to first order; None where the model has no derivative.
        cut: share of its values that are clipped: outside the range of its scale by more than a rounding error.
    """

    layer: str
    tensor: str
    noise: MeasuredNoise
    own_db: float
    share: float | None
    cut: float


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How a file compares with the model that it was made from. `print` shows it.

    Attributes:
        outputs: in the model's order.
        layers: in order of execution; none where the file's names say nothing of the model's layers.
        problems: in words, what makes the file useless: an output that is constant or always names one class, a tensor
            that is clipped too much. Empty where there are none.
        examples: how many inputs were compared.
        generated: whether they were generated: noise with the statistics of images, not the user's inputs.
    """

    outputs: tuple[OutputFinding, ...]
    layers: tuple[LayerFinding, ...]
    problems: tuple[str, ...]
    examples: int
    generated: bool

    @property
    def sqnr_db(self) -> float:
        """Signal-to-noise ratio of the worst output, in dB."""
        return min(output.sqnr_db for output in self.outputs)

    def costliest(self, count: int = _NUM_LISTED) -> tuple[LayerFinding, ...]:
        """The layers with the largest shares of the noise at the outputs; where those are unknown, the noisiest."""

        def cost(finding: LayerFinding) -> float:
            return -finding.own_db if finding.share is None else finding.share

        return tuple(sorted(self.layers, key=cost, reverse=True)[:count])

    def as_dict(self) -> dict[str, Any]:
        """All of it as numbers, strings, lists and dicts, for JSON; None for infinity and NaN."""
        return finite(asdict(self))

    def __str__(self) -> str:
        return self.shown()

    def shown(self, layers: int = _NUM_LISTED) -> str:
        """As text, with the given number of costliest layers."""
        origin = "generated inputs" if self.generated else "given inputs"
        lines = [f"{self.examples} {origin}"]
        for output in self.outputs:
            agreement = "" if output.agreement is None else f", agreement {output.agreement:.4f}"
            bias = "" if output.noise.bias is None else f", bias {output.noise.bias:.3f}"
            lines.append(f"output {output.name}: {output.sqnr_db:.1f} dB{agreement}{bias}")
        lines += [f"problem: {problem}" for problem in self.problems]
        return "\n".join([*lines, *_table(self.costliest(layers))])


def finite(value: Any) -> Any:
    """A value, or all in it, with None for infinity and NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shortened(name: str) -> str:
    """A layer's name; a long one is cut to its end, in which the layers of nested models differ."""
    return name if len(name) <= 40 else f"...{name[-37:]}"


def _table(layers: Iterable[LayerFinding]) -> list[str]:
    rows = [
        f"  {_shortened(x.layer):40} {'?' if x.share is None else format(x.share, '6.1%'):>6} {x.own_db:8.1f}"
        f" {x.noise.sqnr_db:8.1f} {x.noise.worst_channel_db:8.1f}"
        for x in layers
    ]
    head = f"  {'layers that cost most':40} {'share':>6} {'own dB':>8} {'dB':>8} {'worst':>8}"
    return [head, *rows] if rows else []

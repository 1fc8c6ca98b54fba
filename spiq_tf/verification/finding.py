"""What `spiq_tf.verify` returns."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

_SHOWN = 5


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
    """One layer call of which the file holds the output.

    Attributes:
        layer: name of the call ("block_1/conv"), or of one of its outputs.
        tensor: name of the file's tensor.
        noise: of all that comes before, and of the layer itself.
        own_db: signal-to-noise ratio of what the layer itself adds: its float form, fed what the file feeds it, against
            what the file makes of that.
        share: how much of the noise at the outputs is the layer's own, as far as small noise adds up; None where the
            model has no derivative.
        cut: share of its values that lie beyond the range of its scale, by more than rounding explains.
    """

    layer: str
    tensor: str
    noise: MeasuredNoise
    own_db: float
    share: float | None
    cut: float


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How a file compares with the model that it was made of. `print` shows it.

    Attributes:
        outputs: in the model's order.
        layers: in order of execution; none where the file's names say nothing of the model's layers.
        problems: in words, what makes the file useless: an output that is constant or always names one class, a tensor
            of which much is cut off. Empty where there are none.
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

    def costliest(self, count: int = _SHOWN) -> tuple[LayerFinding, ...]:
        """The layers whose own noise makes most of that at the outputs; where that is unknown, the noisiest."""

        def cost(finding: LayerFinding) -> float:
            return -finding.own_db if finding.share is None else finding.share

        return tuple(sorted(self.layers, key=cost, reverse=True)[:count])

    def as_dict(self) -> dict[str, Any]:
        """All of it as numbers, strings, lists and dicts, for JSON; None for what is infinite or no number."""
        return finite(asdict(self))

    def __str__(self) -> str:
        return self.shown()

    def shown(self, layers: int = _SHOWN) -> str:
        """As text, with so many of the costliest layers."""
        origin = "generated inputs" if self.generated else "given inputs"
        lines = [f"{self.examples} {origin}"]
        for output in self.outputs:
            agreement = "" if output.agreement is None else f", agreement {output.agreement:.4f}"
            bias = "" if output.noise.bias is None else f", bias {output.noise.bias:.3f}"
            lines.append(f"output {output.name}: {output.sqnr_db:.1f} dB{agreement}{bias}")
        lines += [f"problem: {problem}" for problem in self.problems]
        return "\n".join([*lines, *_table(self.costliest(layers))])


def finite(value: Any) -> Any:
    """A value, or all in it, with None for what is infinite or no number: JSON has neither."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shortened(name: str) -> str:
    """A layer's name; of a long one the end, in which the layers of nested models differ."""
    return name if len(name) <= 40 else f"...{name[-37:]}"


def _table(layers: Iterable[LayerFinding]) -> list[str]:
    rows = [
        f"  {_shortened(x.layer):40} {'?' if x.share is None else format(x.share, '6.1%'):>6} {x.own_db:8.1f}"
        f" {x.noise.sqnr_db:8.1f} {x.noise.worst_channel_db:8.1f}"
        for x in layers
    ]
    head = f"  {'layers that cost most':40} {'share':>6} {'own dB':>8} {'dB':>8} {'worst':>8}"
    return [head, *rows] if rows else []

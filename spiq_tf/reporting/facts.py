"""The content of a report, as data."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from spiq_tf.conformance.checking import violations_of
from spiq_tf.conformance.violation import Violation
from spiq_tf.errors import InvalidArgumentError
from spiq_tf.targets import TARGETS
from spiq_tf.tensor_info import TensorInfo
from spiq_tf.tflite.delegation import Delegation
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.verification.finding import LayerFinding, Verification

ESTIMATES = ("fallback", "told", "given", "propagated")
"""Sources of ranges other than a BatchNorm and the operator itself, the least certain first."""


@dataclass(frozen=True, kw_only=True)
class LayerFacts:
    """One tensor of the file that is a layer's output, or the model's input.

    Attributes:
        tensor: what was decided about it.
        shape: in the file; None where the tensor is no longer in the file.
        operator: kind of the operator that makes it, "CONV_2D"; None of an input.
        predicted_share: of the noise predicted at the outputs, what this tensor adds; None where none is predicted.
        finding: what was measured; None where nothing was.
        float_operators: kinds of the layer's operators that stay float.
    """

    tensor: TensorInfo
    shape: tuple[int, ...] | None
    operator: str | None
    predicted_share: float | None
    finding: LayerFinding | None
    float_operators: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the layer call."""
        return self.tensor.layer or self.tensor.name

    @property
    def measured_share(self) -> float | None:
        """Of the noise measured at the outputs, what this layer adds; None where that is not known."""
        return None if self.finding is None else self.finding.share

    @property
    def notes(self) -> tuple[str, ...]:
        """What did not go the best way here, in words."""
        stays = [f"stays float: {kind}" for kind in self.float_operators]
        return (*stays, *(f"one scale for all channels: {why}" for why in [why_unscaled(self.tensor)] if why))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A conversion, and what was measured of its file.

    Attributes:
        name: of the model.
        target: the runtime or accelerator that the file was made for.
        size: of the file, in bytes.
        graph: name of the file's graph.
        expected_db: predicted signal-to-noise ratio at the outputs, in dB; None where the method predicts none.
        operators: how many the file has, by kind, the most frequent first.
        violations: rules that the file breaks, and what slows it, by the name of the target.
        verification: what was measured; None where nothing was.
        tensors: the file's activations, in the order in which they are computed.
        layers: those that are a layer's output or the model's input.
        float_operators: operators that stay float, each with the layer that it belongs to.
        fallback_layers: opaque layers, which no primitive describes: not scaled, their ranges sampled.
        uncorrected: operators without bias correction, since the mean of their input is unknown.
        delegation: which operators XNNPACK leaves, and in how many pieces it runs the others; None where the target is
            no runtime with XNNPACK.
    """

    name: str
    target: str
    size: int
    graph: str
    expected_db: float | None
    operators: Mapping[str, int]
    violations: Mapping[str, tuple[Violation, ...]]
    verification: Verification | None
    tensors: tuple[TensorInfo, ...]
    layers: tuple[LayerFacts, ...]
    float_operators: tuple[str, ...]
    fallback_layers: tuple[str, ...]
    uncorrected: tuple[str, ...]
    delegation: Delegation | None

    @property
    def outside_delegate(self) -> tuple[str, ...]:
        """Operators that XNNPACK leaves, each with its layer, why, and how many values it computes."""
        layers = {tensor.name: tensor.layer for tensor in self.tensors}
        outside = () if self.delegation is None else self.delegation.outside
        return tuple(f"{x.kind} ({layers.get(x.tensor) or x.tensor}): {x.reason}; {x.values:,} values" for x in outside)

    @property
    def estimated(self) -> tuple[TensorInfo, ...]:
        """Tensors whose range comes neither from a BatchNorm nor from the operator itself."""
        return tuple(t for t in self.tensors if t.source in ESTIMATES)

    @property
    def unscaled(self) -> tuple[TensorInfo, ...]:
        """Tensors with channels whose channel scale is 1; each says why."""
        return tuple(t for t in self.tensors if t.unscaled)

    @property
    def has_measured_shares(self) -> bool:
        """Whether it was measured what layers add to the noise at the outputs."""
        return any(layer.measured_share is not None for layer in self.layers)

    @property
    def problems(self) -> tuple[str, ...]:
        """What was measured to make the file useless, in words."""
        return () if self.verification is None else self.verification.problems


def why_unscaled(tensor: TensorInfo) -> str | None:
    """Why some channels have channel scale 1, without the tensor's own name."""
    return None if tensor.unscaled is None else tensor.unscaled.removeprefix(f"{tensor.layer}: ")


def violations_by_target(content: bytes) -> dict[str, tuple[Violation, ...]]:
    """Rules that a file breaks, and what slows it, by the name of the target."""
    return {name: violations_of(content, target) for name, target in TARGETS.items()}


def operators_by_kind(flat: FlatModel) -> dict[str, int]:
    """How many operators a file has of each kind, the most frequent first."""
    return dict(Counter(flat.kind(operator) for operator in flat.operators).most_common())


def layers_of(
    flat: FlatModel, tensors: Iterable[TensorInfo], float_operators: Iterable[str], verification: Verification | None
) -> tuple[LayerFacts, ...]:
    """Facts of each tensor that is a layer's output or the model's input.

    Args:
        flat: the file.
        tensors: what `quantize` reports of its activations.
        float_operators: operators that stay float, "KIND (layer)".
        verification: what was measured, or None.

    Raises:
        InvalidArgumentError: the verification is of another type, or of another file.
    """
    tensors = tuple(tensors)
    findings = _findings(tensors, verification)
    index_of = {flat.name(index): index for index in flat.activations()}
    producers = {index: flat.kind(operator) for index, operator in flat.producers().items()}
    total = sum(t.noise or 0.0 for t in tensors)
    float_kinds = [operator.removesuffix(")").split(" (", 1) for operator in float_operators]
    return tuple(
        LayerFacts(
            tensor=t,
            shape=flat.shape(index_of[t.name]) if t.name in index_of else None,
            operator=producers.get(index_of.get(t.name, -1)),
            predicted_share=t.noise / total if t.noise is not None and total > 0 else None,
            finding=findings.get(t.layer),
            float_operators=tuple(kind for kind, owner in float_kinds if owner == t.layer),
        )
        for t in tensors
        if t.layer is not None
    )


def _findings(tensors: tuple[TensorInfo, ...], verification: Any) -> dict[str | None, LayerFinding]:
    if verification is None:
        return {}
    if not isinstance(verification, Verification):
        raise InvalidArgumentError(
            f"verification: expected what spiq_tf.verify(model, result) returns, found {type(verification).__name__}"
        )
    reported = {(t.layer, t.name) for t in tensors}
    unknown = [x.layer for x in verification.layers if (x.layer, x.tensor) not in reported]
    if unknown:
        raise InvalidArgumentError(
            f"verification: expected one of this file, found layer {unknown[0]!r}, which is not in the file: pass"
            " what spiq_tf.verify(model, result) returns for this result"
        )
    return {x.layer: x for x in verification.layers}

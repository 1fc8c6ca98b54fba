"""The report as JSON; docs/report.md says what each field means."""

from dataclasses import asdict
from typing import Any

from spiq_tf.reporting.facts import Facts, LayerFacts
from spiq_tf.tensor_info import TensorInfo
from spiq_tf.tflite.delegation import Delegation
from spiq_tf.verification.finding import LayerFinding, MeasuredNoise, Verification, finite
from spiq_tf.version import VERSION

SCHEMA = "spiq_tf/report/1"


def record(facts: Facts) -> dict[str, Any]:
    """All of the report as numbers, strings, lists and dicts."""
    layers = {layer.tensor.name: layer for layer in facts.layers}
    return {
        "schema": SCHEMA,
        "spiq_tf": VERSION,
        "model": facts.name,
        "target": facts.target,
        "bytes": facts.size,
        "predicted_db": facts.expected_db,
        "operators": dict(facts.operators),
        "violations": {name: [asdict(v) for v in violations] for name, violations in facts.violations.items()},
        "verification": None if facts.verification is None else _verification(facts.verification),
        "tensors": [_tensor(t, layers.get(t.name)) for t in facts.tensors],
        "float_operators": list(facts.float_operators),
        "fallback_layers": list(facts.fallback_layers),
        "uncorrected": list(facts.uncorrected),
        "delegation": None if facts.delegation is None else _delegation(facts.delegation),
    }


def _delegation(delegation: Delegation) -> dict[str, Any]:
    return {**asdict(delegation), "share_outside": delegation.share_outside}


def _verification(verification: Verification) -> dict[str, Any]:
    return {
        "examples": verification.examples,
        "generated": verification.generated,
        "problems": list(verification.problems),
        "outputs": [{"name": o.name, "agreement": o.agreement, **_noise(o.noise)} for o in verification.outputs],
    }


def _tensor(tensor: TensorInfo, layer: LayerFacts | None) -> dict[str, Any]:
    return {
        **asdict(tensor),
        "shape": None if layer is None or layer.shape is None else list(layer.shape),
        "operator": None if layer is None else layer.operator,
        "float_operators": [] if layer is None else list(layer.float_operators),
        "predicted_share": None if layer is None else layer.predicted_share,
        "measured": None if layer is None or layer.finding is None else _finding(layer.finding),
    }


def _finding(finding: LayerFinding) -> dict[str, Any]:
    return {"share": finding.share, "own_db": finite(finding.own_db), "cut": finding.cut, **_noise(finding.noise)}


def _noise(noise: MeasuredNoise) -> dict[str, Any]:
    return {
        "sqnr_db": finite(noise.sqnr_db),
        "bias": noise.bias,
        "worst_channel": noise.worst_channel,
        "worst_channel_db": finite(noise.worst_channel_db),
    }

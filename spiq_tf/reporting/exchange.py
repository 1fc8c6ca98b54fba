"""The report in the formats of other tools."""

from typing import Any

from spiq_tf.reporting.facts import Facts
from spiq_tf.version import VERSION

_GRADIENT = ((0.0, "#f4f1ea"), (0.25, "#f6d58a"), (0.5, "#ef9b4a"), (1.0, "#b3261e"))


def model_explorer(facts: Facts) -> dict[str, Any]:
    """Node data for Google's Model Explorer: each operator's share of the noise at the outputs, in percent.

    Keys are the graph's name and the names of the tensors that operators make, as in `model_explorer.node_data_builder`
    (ModelNodeData, GraphNodeData; ai-edge-model-explorer 0.1). Operators without a known share have no entry.
    """
    measured = facts.has_measured_shares
    materialized = [layer for layer in facts.layers if layer.shape is not None]
    shares = {x.tensor.name: x.measured_share if measured else x.predicted_share for x in materialized}
    return {
        facts.graph: {
            "name": f"{'Measured' if measured else 'Predicted'} share of the noise at the outputs, in %",
            "results": {name: {"value": round(100 * s, 4)} for name, s in shares.items() if s is not None},
            "gradient": [{"stop": stop, "bgColor": color} for stop, color in _GRADIENT],
        }
    }


def calibration(facts: Facts) -> dict[str, Any]:
    """What litert-quantizer 0.11's `Calibrator.save_calibration_result` writes: for each tensor its "min" and "max", of
    shape (1, 1), in the file's units."""
    return {
        "model_qsvs": {t.name: {"min": [[t.low]], "max": [[t.high]]} for t in facts.tensors},
        "metadata": {"num_samples_calibrated": 0, "origin": f"spiq_tf {VERSION}: computed from the weights"},
    }

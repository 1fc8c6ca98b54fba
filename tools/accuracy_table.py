"""The accuracy of the golden networks' files beside the table that is checked in, tests/golden/accuracy.json.

python tools/accuracy_table.py [--renew]

Prints the differences from the table; --renew rewrites the table. For each network, target and method: dB of
the outputs against the float model, agreement of arg-max, accuracy, size and operators, over the test examples.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import decibels
import numpy as np
import numpy.typing as npt
from absl import app, flags
from file_difference import difference, operator_kinds

from spiq_tf.commands.command import Command

CHECKOUT = Path(__file__).resolve().parents[1]
GOLDEN = CHECKOUT / "tests" / "golden"
TABLE = GOLDEN / "accuracy.json"

NETWORKS = ("residual", "separable", "unet")
WAYS = (
    ("portable", "noise"),
    ("xnnpack", "noise"),
    ("edgetpu", "noise"),
    ("ethos-u", "noise"),
    ("tflite-micro", "noise"),
    ("portable", "spiq"),
    ("portable", "dfq"),
)
"""Targets with methods; the published methods are compared for accuracy, whatever the target."""

MEAN_LOSS = 0.3
"""dB that a target and method may lose in the mean of the networks."""
LOSS = 1.0
"""dB that one file may lose, or gain before the table is out of date."""
AGREEMENT_LOSS = 0.01
GROWTH = 0.02
"""Part by which a file may grow."""

Entry = dict[str, Any]
Table = Mapping[str, Mapping[str, Entry]]
"""Of each network, by "target, method"."""
Array = npt.NDArray[Any]


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the tool."""
    flags.DEFINE_boolean("renew", False, "Rewrite the table.", flag_values=values)


def run(arguments: Sequence[str], options: flags.FlagValues) -> int:
    """Prints what changed; returns 1 if the table does not hold."""
    if arguments:
        raise app.UsageError(f"expected flags only, found {arguments[0]!r}")
    found, table = measure(), read()
    for line in changes(table, found):
        print(line)
    failed = failures(table, found)
    print("\n".join(failed) if failed else "the table holds")
    if options.renew:
        TABLE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        print(f"{TABLE} is renewed")
    return 1 if failed and not options.renew else 0


def read() -> Table:
    """The table that is checked in; empty where there is none."""
    return json.loads(TABLE.read_text()) if TABLE.is_file() else {}


def measure() -> Table:
    """The table of conversions with this checkout. Files that compute the same are run once."""
    return {name: _measure_network(name) for name in NETWORKS}


def failures(table: Table, found: Table) -> list[str]:
    """What breaks the bounds, one line each."""
    result = []
    losses = defaultdict(list)
    for name, way, before, after in _pairs(table, found):
        if before is None or after is None:
            result.append(f"{name}, {way}: not in {'the table' if before is None else 'what was measured'}")
            continue
        losses[way].append(before["dB"] - after["dB"])
        result += [f"{name}, {way}: {what}" for what in _entry_failures(before, after)]
    for way, values in losses.items():
        if np.mean(values) > MEAN_LOSS:
            result.append(f"{way}: {np.mean(values):.2f} dB lost in the mean of {len(values)} networks")
    return result


def changes(table: Table, found: Table) -> list[str]:
    """All that differs, one line each: for whoever renews the table."""
    result = []
    for name, way, before, after in _pairs(table, found):
        for key in sorted({*(before or {}), *(after or {})}):
            values = [None if entry is None else entry.get(key) for entry in (before, after)]
            if values[0] != values[1]:
                result.append(f"{name}, {way}: {key} {values[0]} -> {values[1]}")
    return result


def _pairs(table: Table, found: Table) -> list[tuple[str, str, Entry | None, Entry | None]]:
    keys = sorted({(name, way) for each in (table, found) for name, entries in each.items() for way in entries})
    return [(name, way, table.get(name, {}).get(way), found.get(name, {}).get(way)) for name, way in keys]


def _entry_failures(before: Entry, after: Entry) -> list[str]:
    result = []
    gain = after["dB"] - before["dB"]
    if gain < -LOSS:
        result.append(f"{-gain:.2f} dB lost: {before['dB']:.2f}, now {after['dB']:.2f}")
    if gain > LOSS:
        result.append(f"{gain:.2f} dB gained: {before['dB']:.2f}, now {after['dB']:.2f}")
    if after["agreement"] < before["agreement"] - AGREEMENT_LOSS:
        result.append(f"agreement {before['agreement']:.4f}, now {after['agreement']:.4f}")
    if after["bytes"] > (1 + GROWTH) * before["bytes"]:
        result.append(f"{before['bytes']} bytes, now {after['bytes']}")
    if after["operators"] != before["operators"]:
        result.append(f"operators {before['operators']}, now {after['operators']}")
    return result


def _measure_network(name: str) -> dict[str, Entry]:
    import keras

    from tests import golden_data

    keras.backend.clear_session()
    model = keras.models.load_model(GOLDEN / f"{name}.keras")
    images, labels = golden_data.strokes() if name == "unet" else golden_data.digits()
    images, labels = images[golden_data.TRAINING :], labels[golden_data.TRAINING :]
    expected = model.predict(images, verbose=0)
    measured: list[tuple[bytes, Array]] = []
    result = {}
    for target, method in WAYS:
        content = _converted(model, golden_data.RANGE, target, method)
        outputs = next((y for other, y in measured if difference(other, content) is None), None)
        if outputs is None:
            (outputs,) = decibels.run(content, [images])
        measured.append((content, outputs))
        result[f"{target}, {method}"] = _entry(content, outputs, expected, labels)
    return result


def _converted(model: Any, input_range: tuple[float, float], target: str, method: str) -> bytes:
    import spiq_tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spiq_tf.SpiqWarning)  # of operators that a target does not map
        return spiq_tf.convert(model, input_range=input_range, target=target, method=method)


def _entry(content: bytes, outputs: Array, expected: Array, labels: Array) -> Entry:
    classes = outputs.argmax(axis=-1)
    return {
        "dB": round(decibels.sqnr(expected, outputs), 2),
        "agreement": round(float(np.mean(classes == expected.argmax(axis=-1))), 4),
        "accuracy": round(float(np.mean(classes == labels)), 4),
        "bytes": len(content),
        "operators": dict(sorted(Counter(operator_kinds(content)).items())),
    }


if __name__ == "__main__":
    sys.path.insert(1, str(CHECKOUT))  # for the tests' data
    command = Command(name="accuracy_table.py", description=__doc__, define_flags=define_flags, run=run)
    sys.exit(command.main(sys.argv[1:]))

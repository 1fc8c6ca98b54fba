"""What each fitted number is worth: every prior is moved by a fifth down and up, one at a time.

python tools/prior_sensitivity.py RESULTS.jsonl [--shared=FOLDER] [--networks=residual,unet] [--examples=100] [--by=0.2]

Networks: those of tests/golden, with images held out from their training; with --shared also the trained models of a
folder that holds NAME.keras, NAME.json and examples. A row for each prior and network is added to RESULTS as it comes,
so that a run that was stopped goes on where it was. At the end the table: change of the files' dB against the float
model, largest first. A prior that a conversion does not read, or that leaves the file as it is, has no effect on it.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import commands
import examples
import keras
import numpy as np
import numpy.typing as npt
from absl import app, flags, logging

import spiq_tf
from spiq_tf import priors
from spiq_tf.tflite.interpreter import Interpreter

CHECKOUT = Path(__file__).resolve().parents[1]
GOLDEN = CHECKOUT / "tests" / "golden"

FLAGS = flags.FLAGS

flags.DEFINE_integer("examples", 100, "Examples of each network.", lower_bound=1)
flags.DEFINE_string("shared", None, "A folder of trained models with examples, measured too.")
flags.DEFINE_list("networks", None, "Names of the networks to measure; all by default.")
flags.DEFINE_list("priors", None, "Names of the priors to move; all by default.")
flags.DEFINE_float("by", 0.2, "Part by which each is moved; 0.001 shows what is chance.", lower_bound=0, upper_bound=1)

DENSE = ("unet", "espnet_camvid")
"""Networks whose examples are few, since each has thousands of outputs."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Measured:
    """A float model and what its files are measured on.

    Attributes:
        model: the float model.
        inputs: examples, (examples, ...), in the model's units.
        reference: the float model's outputs for them.
        input_range: of the conversion.
    """

    model: Any
    inputs: Array
    reference: Array
    input_range: tuple[float, float]

    def convert(self) -> bytes:
        """The file, with the priors that are in force."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return spiq_tf.convert(self.model, input_range=self.input_range)

    def decibels(self, content: bytes) -> float:
        """Signal of the float outputs over the file's noise, in dB."""
        interpreter = Interpreter(content)
        outputs = np.concatenate([interpreter.run([x[None]])[0] for x in self.inputs])
        noise = float(np.sum((outputs - self.reference) ** 2, dtype=np.float64))
        return float(10 * np.log10(np.sum(self.reference**2, dtype=np.float64) / max(noise, 1e-30)))


class _Read(dict[priors.Prior, float]):
    """Factors of none of the priors; remembers which were read."""

    def __init__(self) -> None:
        super().__init__()
        self.priors: set[priors.Prior] = set()

    def get(self, prior: priors.Prior, default: Any = None) -> Any:
        self.priors.add(prior)
        return default


def main(argv: Sequence[str]) -> None:
    """Measures what RESULTS does not hold yet, and prints the table."""
    if len(argv) != 2:
        raise app.UsageError("expected one file for the results")
    logging.set_verbosity(logging.ERROR)
    results, chosen = Path(argv[1]), FLAGS.priors or list(priors.PRIORS)
    unknown = [name for name in chosen if name not in priors.PRIORS]
    if unknown:
        raise app.UsageError(f"unknown prior {unknown[0]!r}")
    loaders = _networks()
    for network in FLAGS.networks or loaders:
        if network not in loaders:
            raise app.UsageError(f"unknown network {network!r}: expected one of {', '.join(loaders)}")
        known = {row["prior"] for row in _rows(results) if row["network"] == network}
        missing = [name for name in chosen if name not in known]
        if missing:
            for row in _effects(network, loaders[network](), missing):
                with results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{network:24}{row['prior']:34}{row['down']:+8.3f}{row['up']:+8.3f}", flush=True)
    print("\n".join(table(_rows(results))))


def _rows(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []


def _networks() -> Mapping[str, Callable[[], Measured]]:
    """What makes each network ready, by name."""
    loaders = {path.stem: partial(_golden, path) for path in sorted(GOLDEN.glob("*.keras"))}
    shared = sorted(Path(FLAGS.shared).glob("*.keras")) if FLAGS.shared else []
    return loaders | {path.stem: partial(_shared, path) for path in shared}


def _count(name: str) -> int:
    return max(FLAGS.examples // 5, 1) if name in DENSE else FLAGS.examples


def _golden(path: Path) -> Measured:
    sys.path.insert(0, str(CHECKOUT))
    from tests import golden_data

    images, _ = golden_data.strokes() if path.stem in DENSE else golden_data.digits()
    inputs = images[golden_data.TRAINING :][: _count(path.stem)]
    model = keras.models.load_model(path, compile=False)
    return Measured(model, inputs, model.predict(inputs, verbose=0), golden_data.RANGE)


def _shared(path: Path) -> Measured:
    stated = json.loads(path.with_suffix(".json").read_text())
    evaluation = path.parent / stated.get("examples", f"{path.stem}.eval.npz")
    given = examples.load(str(path), _count(path.stem), str(evaluation))
    reference = given.model.predict(given.inputs, verbose=0, batch_size=8)
    return Measured(given.model, given.inputs, reference, given.input_range)


def _effects(network: str, measured: Measured, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """For each prior the change of dB when it is moved down and up."""
    read = _Read()
    with priors.factors(read):
        base = measured.convert()
    start = measured.decibels(base)
    for name in names:
        change = {"down": 0.0, "up": 0.0}
        factors = {"down": 1 - FLAGS.by, "up": 1 + FLAGS.by} if priors.PRIORS[name] in read.priors else {}
        for direction, factor in factors.items():
            with priors.scaled(name, factor):
                content = measured.convert()
            if content != base:
                change[direction] = measured.decibels(content) - start
        yield {"network": network, "prior": name, "decibels": start, **change}


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of a Markdown table, the priors of the largest effect first.

    Args:
        rows: one for each prior and network: "network", "prior", "down" and "up" in dB.
    """
    networks = list(dict.fromkeys(row["network"] for row in rows))
    effects = {(row["prior"], row["network"]): (row["down"], row["up"]) for row in rows}
    largest = {name: max(abs(x) for (p, _), pair in effects.items() if p == name for x in pair) for name, _ in effects}
    lines = [f"| prior | value | {' | '.join(networks)} |", "|---" * (2 + len(networks)) + "|"]
    for name in sorted(largest, key=lambda n: -largest[n]):
        cells = [_cell(effects.get((name, network))) for network in networks]
        lines.append(f"| {name} | {priors.PRIORS[name].default:.4g} | {' | '.join(cells)} |")
    return lines


def _cell(effect: tuple[float, float] | None) -> str:
    if effect is None:
        return "?"
    return "" if effect == (0.0, 0.0) else f"{effect[0]:+.2f} {effect[1]:+.2f}"


if __name__ == "__main__":
    commands.run(main)

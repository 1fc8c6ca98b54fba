"""What each fitted number is worth: every prior is varied by a fifth down and up, one at a time.

python tools/prior_sensitivity.py RESULTS.jsonl [--shared=FOLDER] [--networks=residual,unet] [--examples=100] [--by=0.2]

Networks: those of tests/golden, with images that they were not trained on; with --shared also the trained models of a
folder that holds NAME.keras, NAME.json and examples. A row for each prior and network is added to RESULTS as it comes,
so that a run that was stopped continues from there. At the end the table: change of the files' dB against the float
model, largest first. A prior that a conversion does not read, or that leaves the file as it is, has no effect on it.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import examples
import keras
import numpy as np
import numpy.typing as npt
from absl import app, flags, logging

import spiq_tf
from spiq_tf import priors
from spiq_tf.commands.command import Command
from spiq_tf.tflite.interpreter import Interpreter

CHECKOUT = Path(__file__).resolve().parents[1]
GOLDEN = CHECKOUT / "tests" / "golden"

DENSE = ("unet", "espnet_camvid")
"""Networks whose examples are few, since each has thousands of outputs."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A float model and what its files are measured on.

    Attributes:
        model: the float model.
        inputs: examples, (examples, ...), in model units.
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


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the tool."""
    flags.DEFINE_integer("examples", 100, "Examples of each network.", flag_values=values, lower_bound=1)
    flags.DEFINE_string("shared", None, "A folder of trained models with examples, measured too.", flag_values=values)
    flags.DEFINE_list("networks", None, "Names of the networks to measure; all by default.", flag_values=values)
    flags.DEFINE_list("priors", None, "Names of the priors to vary; all by default.", flag_values=values)
    flags.DEFINE_float("by", 0.2, "Part by which each is moved; 0.001 shows what is chance.", 0, 1, flag_values=values)


def run(arguments: Sequence[str], options: flags.FlagValues) -> int:
    """Measures what RESULTS does not hold yet, and prints the table."""
    if len(arguments) != 1:
        raise app.UsageError("expected one file for the results")
    logging.set_verbosity(logging.ERROR)
    results, loaders = Path(arguments[0]), _loaders(options.shared, options.examples)
    names = _chosen("prior", options.priors, priors.PRIORS)
    for network in _chosen("network", options.networks, loaders):
        measured_before = {row["prior"] for row in _rows(results) if row["network"] == network}
        missing = [name for name in names if name not in measured_before]
        if missing:
            _append_effects(results, network, loaders[network](), missing, options.by)
    print("\n".join(table(_rows(results))))
    return 0


def _chosen(kind: str, names: Sequence[str] | None, existing: Iterable[str]) -> list[str]:
    """The names of a flag, or all that exist where it is left out."""
    every = list(existing)
    for name in names or ():
        if name not in every:
            raise app.UsageError(f"unknown {kind} {name!r}: expected one of {', '.join(every)}")
    return list(names or every)


def _append_effects(results: Path, network: str, measured: Measured, names: Sequence[str], by: float) -> None:
    """Adds a row for each prior to the file, as it comes, and prints it."""
    for row in _effects(network, measured, names, by):
        with results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{network:24}{row['prior']:34}{row['down']:+8.3f}{row['up']:+8.3f}", flush=True)


def _rows(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []


def _loaders(shared: str | None, limit: int) -> Mapping[str, Callable[[], Measured]]:
    """What loads each network, by name.

    Args:
        shared: folder of trained models, or None.
        limit: how many examples of each to take.
    """
    golden = {path.stem: partial(_golden, path, _count(path.stem, limit)) for path in sorted(GOLDEN.glob("*.keras"))}
    others = sorted(Path(shared).glob("*.keras")) if shared else []
    return golden | {path.stem: partial(_shared, path, _count(path.stem, limit)) for path in others}


def _count(name: str, limit: int) -> int:
    return max(limit // 5, 1) if name in DENSE else limit


def _golden(path: Path, limit: int) -> Measured:
    sys.path.insert(0, str(CHECKOUT))
    from tests import golden_data

    images, _ = golden_data.strokes() if path.stem in DENSE else golden_data.digits()
    inputs = images[golden_data.TRAINING :][:limit]
    model = keras.models.load_model(path, compile=False)
    reference = model.predict(inputs, verbose=0)
    return Measured(model=model, inputs=inputs, reference=reference, input_range=golden_data.RANGE)


def _shared(path: Path, limit: int) -> Measured:
    settings = json.loads(path.with_suffix(".json").read_text())
    evaluation = path.parent / settings.get("examples", f"{path.stem}.eval.npz")
    labelled = examples.read_examples(str(path), str(evaluation), limit)
    reference = labelled.model.predict(labelled.inputs, verbose=0, batch_size=8)
    return Measured(model=labelled.model, inputs=labelled.inputs, reference=reference, input_range=labelled.input_range)


def _effects(network: str, measured: Measured, names: Sequence[str], by: float) -> Iterator[dict[str, Any]]:
    """For each prior the change of dB when it is moved down and up by that part of its value."""
    read = _Read()
    with priors.factors(read):
        base = measured.convert()
    start = measured.decibels(base)
    for name in names:
        change = {"down": 0.0, "up": 0.0}
        factors = {"down": 1 - by, "up": 1 + by} if priors.PRIORS[name] in read.priors else {}
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
    command = Command(name="prior_sensitivity.py", description=__doc__, define_flags=define_flags, run=run)
    sys.exit(command.main(sys.argv[1:]))

"""Converts Keras model files and SavedModel folders to int8 TFLite files without data.

python tools/convert.py --output_dir OUT [--input_range -1,1] MODEL.keras 'MODELS/*.h5' ...

The exit code is 0 only if every file was converted.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import glob
import json
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from tqdm import tqdm

import spiq_tf

FLAGS = flags.FLAGS

flags.DEFINE_string("output_dir", None, "Folder for the .tflite files; made if it is not there.", required=True)
flags.DEFINE_list(
    "input_range",
    None,
    "Smallest and largest value that the models are fed, LOW,HIGH; left out, it is told from the model.",
)
flags.DEFINE_enum("inference_input_type", "int8", ["int8", "uint8", "float32"], "Data type of the files' inputs.")
flags.DEFINE_enum("inference_output_type", "int8", ["int8", "uint8", "float32"], "Data type of the files' outputs.")
flags.DEFINE_integer("batch_size", 1, "Static batch of the files.", lower_bound=1)
flags.DEFINE_bool("per_channel_dense", False, "Gives Dense weights a scale for each output; for runtimes since 2024.")
flags.DEFINE_multi_string("ranges", [], "LAYER=LOW,HIGH: range of a layer's output, in place of what statistics say.")
flags.DEFINE_list("float_layers", [], "Names or patterns of layers that stay float.")
flags.DEFINE_bool("overwrite", False, "Replaces outputs that exist; without it they are an error for their model.")
flags.DEFINE_bool("keep_going", False, "Goes on with the other models after one has failed.")
flags.DEFINE_string("report_json", None, "Writes what became of each model to this file.")
flags.DEFINE_bool("trust_code_in_files", False, "Loads files that carry code (Lambda layers): they can do anything.")


@dataclass(frozen=True)
class Outcome:
    """What became of one model file."""

    model: str
    output: str | None = None
    error: str | None = None
    seconds: float = 0.0
    bytes: int = 0
    float_operators: tuple[str, ...] = ()
    fallback_layers: tuple[str, ...] = ()
    unscaled: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def main(argv: Sequence[str]) -> int:
    """Converts every file that the arguments name; returns the exit code."""
    try:
        options = quantize_options()
        jobs = named_jobs(argv[1:], Path(FLAGS.output_dir))
        Path(FLAGS.output_dir).mkdir(parents=True, exist_ok=True)
        if FLAGS.report_json:  # found out now, not after the work
            spiq_tf.write_atomically(FLAGS.report_json, b"[]")
    except (OSError, spiq_tf.SpiqError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    outcomes = list(outcomes_of(jobs, options))
    if FLAGS.report_json:
        spiq_tf.write_atomically(FLAGS.report_json, json.dumps([asdict(o) for o in outcomes], indent=1).encode())
    failed = [o for o in outcomes if o.error is not None]
    print(f"{len(outcomes) - len(failed)} of {len(jobs)} converted")
    for outcome in failed:
        print(f"failed: {outcome.model}: {outcome.error}", file=sys.stderr)
    return 0 if len(outcomes) == len(jobs) and not failed else 1


def quantize_options() -> dict[str, Any]:
    """The flags that are arguments of `spiq_tf.quantize`."""
    return {
        "input_range": input_range(FLAGS.input_range),
        "inference_input_type": FLAGS.inference_input_type,
        "inference_output_type": FLAGS.inference_output_type,
        "batch_size": FLAGS.batch_size,
        "per_channel_dense": FLAGS.per_channel_dense,
        "ranges": layer_ranges(FLAGS.ranges),
        "float_layers": FLAGS.float_layers,
    }


def input_range(values: list[str] | None) -> tuple[float, float] | None:
    """The flag as a pair of numbers."""
    return None if values is None else _pair("--input_range", ",".join(values))


def layer_ranges(values: list[str]) -> dict[str, tuple[float, float]]:
    """The flags LAYER=LOW,HIGH as a mapping."""
    return {layer: _pair(f"--ranges {layer}", pair) for layer, _, pair in (v.rpartition("=") for v in values)}


def _pair(flag: str, text: str) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in text.split(","))
    except ValueError:
        raise spiq_tf.InputRangeError(f"{flag}: expected LOW,HIGH, found {text}") from None
    return low, high


def named_jobs(arguments: Sequence[str], folder: Path) -> list[tuple[str, Path]]:
    """Model files and folders with the output of each: names and globs expanded, in order, each once."""
    if not arguments:
        raise spiq_tf.InvalidArgumentError("expected model files, SavedModel folders or globs as arguments, found none")
    files: dict[str, None] = {}
    for argument in arguments:
        matches = [argument] if os.path.exists(argument) else sorted(glob.glob(argument, recursive=True))
        files.update(dict.fromkeys(matches or [argument]))  # a name that matches nothing fails as a file
    return [(file, folder / f"{_model_name(Path(file))}.tflite") for file in files]


def _model_name(path: Path) -> str:
    """A folder's whole name, dots included; a file's without its suffix."""
    return path.resolve().name if path.is_dir() else path.stem


def outcomes_of(jobs: Sequence[tuple[str, Path]], options: Mapping[str, Any]) -> Iterator[Outcome]:
    """Converts one file after the other, showing progress; ends early at a failure without --keep_going."""
    taken: dict[Path, str] = {}
    with tqdm(jobs, unit="model", disable=not sys.stderr.isatty()) as bar:
        for file, output in bar:
            if output in taken:
                outcome = Outcome(file, error=f"{output} is already the output of {taken[output]}: rename one of them")
            else:
                outcome = converted(file, output, options)
            taken.setdefault(output, file)
            with bar.external_write_mode():
                print(summary(outcome), flush=True)
            yield outcome
            if outcome.error is not None and not FLAGS.keep_going:
                return


def converted(file: str, output: Path, options: Mapping[str, Any]) -> Outcome:
    """Converts one file; a failure becomes part of the outcome."""
    start = time.perf_counter()
    try:
        if output.exists() and not FLAGS.overwrite:
            raise spiq_tf.InvalidArgumentError(f"{output} exists; pass --overwrite to replace it")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", spiq_tf.SpiqWarning)
            model = spiq_tf.load_model(file, safe_mode=not FLAGS.trust_code_in_files)
            result = spiq_tf.quantize(model, **options)
        result.save(output)
    except spiq_tf.SpiqError as error:
        return Outcome(file, error=str(error), seconds=time.perf_counter() - start)
    except Exception as error:  # one model among many: a defect of ours must not stop the others
        logging.exception("unexpected error in %s", file)
        return Outcome(file, error=f"unexpected {type(error).__name__}: {error}", seconds=time.perf_counter() - start)
    return Outcome(
        file,
        output=str(output),
        seconds=time.perf_counter() - start,
        bytes=len(result.content),
        float_operators=result.float_operators,
        fallback_layers=result.fallback_layers,
        unscaled=tuple(t.unscaled for t in result.tensors if t.unscaled),
        warnings=tuple(str(w.message) for w in caught if issubclass(w.category, spiq_tf.SpiqWarning)),
    )


def summary(outcome: Outcome) -> str:
    """One line on one model."""
    if outcome.error is not None:
        return f"{outcome.model}: FAILED"
    notes = [f"{len(outcome.float_operators)} operators float"] if outcome.float_operators else []
    notes += [f"{len(outcome.fallback_layers)} layers by fallback"] if outcome.fallback_layers else []
    notes += list(outcome.warnings)
    tail = f" ({'; '.join(notes)})" if notes else ""
    return f"{outcome.model} -> {outcome.output}: {outcome.bytes / 1024:.0f} KiB, {outcome.seconds:.1f} s{tail}"


if __name__ == "__main__":
    app.run(main)

"""Converts Keras model files and SavedModel folders to int8 TFLite files without data.

python tools/convert.py --output_dir OUT [--input_range -1,1] MODEL.keras 'MODELS/*.h5' ...
python tools/convert.py --output_dir OUT --resume --report_json OUT.json --flagfile OPTIONS.txt 'MODELS/*.keras'

Whenever it is interrupted, kill -9 included, no file is half there, and --resume goes on where it was. The exit code is
0 only if every file was converted or up to date, 1 if one failed, 2 if the arguments are wrong or what is asked for
cannot be written, 130 or 143 after SIGINT or SIGTERM.
"""

import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while TensorFlow is imported: an end without a traceback

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import commands
import workers
from absl import flags
from batch import Job, Outcome, converted, fingerprint, named_models
from machine import GIB, cores, memory_bytes, one_thread_each
from records import carried, known_before, read_record, write_record
from summaries import line, print_summary
from tqdm import tqdm

import spiq_tf
from spiq_tf.files import remove_leftovers
from spiq_tf.options import checked_options
from spiq_tf.targets import TARGETS

FLAGS = flags.FLAGS

MEMORY_OF_A_WORKER = 2 * GIB  # TensorFlow alone takes a third of it

flags.DEFINE_string("output_dir", None, "The folder for the .tflite files; made if it is not there.")
flags.DEFINE_list(
    "input_range",
    None,
    "Smallest and largest value that the models are fed, LOW,HIGH; left out, it is told from the model.",
)
flags.DEFINE_enum("inference_input_type", "int8", ["int8", "uint8", "float32"], "Data type of the files' inputs.")
flags.DEFINE_enum("inference_output_type", "int8", ["int8", "uint8", "float32"], "Data type of the files' outputs.")
flags.DEFINE_integer("batch_size", 1, "Static batch of the files.", lower_bound=1)
flags.DEFINE_bool(
    "per_channel_dense",
    None,
    "Gives Dense weights a scale for each output, for runtimes since 2024; left out, the target decides.",
)
flags.DEFINE_multi_string("ranges", [], "LAYER=LOW,HIGH: range of a layer's output, in place of what statistics say.")
flags.DEFINE_list("float_layers", [], "Names or patterns of layers that stay float.")
flags.DEFINE_enum("target", "portable", list(TARGETS), "What the files are to run on.")
flags.DEFINE_string("labels_file", None, "Names of the classes, one a line, that go into the files.")
flags.DEFINE_bool(
    "verify",
    False,
    "Compares each file with its model on generated inputs; fails one that is useless where its model is not.",
)
flags.DEFINE_string("report_dir", None, "Folder for a report on each model, as .json and .html; made if not there.")
flags.DEFINE_string(
    "report_json",
    None,
    "Writes what became of each model to this file, anew after each. Rows of an earlier run whose models this one has"
    " not come to, or does not name, stay behind its own, with of_earlier_run.",
)
flags.DEFINE_bool("overwrite", False, "Replaces outputs that exist; without it they are an error for their model.")
flags.DEFINE_bool(
    "resume",
    False,
    "Keeps outputs that are up to date and makes the others anew. Up to date is what is newer than its model, and its"
    " reports too, if the --report_json of an earlier run says that it was made from this model with these options."
    " Where there is no record of it, the times alone decide, whatever options it was made with.",
)
flags.DEFINE_bool(
    "keep_going", False, "Goes on with the other models after one has failed; without it that ends the run at once."
)
flags.DEFINE_integer(
    "workers",
    None,
    "Processes that convert side by side, one thread each: the files are the same for any number. By default as many as"
    " there are models, cores, or 2 GiB of memory, whichever is least.",
    lower_bound=1,
)
flags.DEFINE_float(
    "worker_memory_gib",
    None,
    "A worker that holds more than this after a model is replaced by a fresh one; by default memory / workers. A single"
    " model may still need more, and fails alone if the system then ends its worker.",
    lower_bound=0.0,
)
flags.DEFINE_bool("trust_code_in_files", False, "Loads files that carry code (Lambda layers): they can do anything.")


def main(argv: Sequence[str]) -> int:
    """Converts every file that the arguments name; returns the exit code."""
    try:
        workers.raise_when_interrupted()
        return run(named_jobs(argv[1:]))
    except workers.Interrupted as interrupted:
        again = "the same command goes on from here"
        advice = again if FLAGS.resume else f"with --resume {again}"
        print(f"interrupted by {interrupted}; {advice}", file=sys.stderr)
        return interrupted.exit_code
    except (OSError, spiq_tf.SpiqError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(jobs: Sequence[Job]) -> int:
    """Converts what is not up to date, and says what became of all; returns the exit code."""
    earlier = read_record(FLAGS.report_json) if FLAGS.report_json else []
    outcomes = prepared(jobs, earlier)
    try:
        for outcome in outcomes_of(jobs, outcomes):
            outcomes[outcome.model] = outcome
            record(jobs, outcomes, earlier)
    finally:
        clean()  # after workers that died
        print_summary(len(jobs), in_order(jobs, outcomes), FLAGS.keep_going)
    return 0 if len(outcomes) == len(jobs) and all(o.error is None for o in outcomes.values()) else 1


def named_jobs(arguments: Sequence[str]) -> list[Job]:
    """What the arguments and flags ask for."""
    options, output, reports = quantize_options(), Path(FLAGS.output_dir), FLAGS.report_dir
    return [
        Job(
            model=model,
            output=output / f"{name}.tflite",
            reports=(Path(reports, f"{name}.json"), Path(reports, f"{name}.html")) if reports else None,
            options=options,
            verify=FLAGS.verify,
            trusted=FLAGS.trust_code_in_files,
        )
        for model, name in named_models(arguments).items()
    ]


def quantize_options() -> dict[str, Any]:
    """The flags that are arguments of `spiq_tf.quantize`."""
    options = {
        "input_range": input_range(FLAGS.input_range),
        "inference_input_type": FLAGS.inference_input_type,
        "inference_output_type": FLAGS.inference_output_type,
        "batch_size": FLAGS.batch_size,
        "per_channel_dense": FLAGS.per_channel_dense,
        "ranges": layer_ranges(FLAGS.ranges),
        "float_layers": FLAGS.float_layers,
        "target": FLAGS.target,
    }
    return options | ({"labels": labels(FLAGS.labels_file)} if FLAGS.labels_file else {})


def input_range(values: list[str] | None) -> tuple[float, float] | None:
    """The flag as a pair of numbers."""
    return None if values is None else _pair("--input_range", ",".join(values))


def layer_ranges(values: list[str]) -> dict[str, tuple[float, float]]:
    """The flags LAYER=LOW,HIGH as a mapping."""
    parts = [value.rpartition("=") for value in values]
    for value, (layer, _, _) in zip(values, parts, strict=True):
        if not layer:
            raise spiq_tf.InputRangeError(f"--ranges: expected LAYER=LOW,HIGH, found {value}")
    return {layer: _pair(f"--ranges {layer}", pair) for layer, _, pair in parts}


def _pair(flag: str, text: str) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in text.split(","))
    except ValueError:
        raise spiq_tf.InputRangeError(f"{flag}: expected LOW,HIGH, found {text}") from None
    return low, high


def labels(path: str) -> list[str]:
    """The lines of a file but for empty ones at its end; seen to be labels, whatever the models are."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
        checked_options(labels=lines)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise spiq_tf.InvalidArgumentError(f"--labels_file: {path}: {reason}") from error
    except UnicodeDecodeError as error:
        raise spiq_tf.InvalidArgumentError(f"--labels_file: {path} is no text in UTF-8: {error}") from error
    except spiq_tf.InvalidArgumentError as error:
        raise spiq_tf.InvalidArgumentError(f"--labels_file: {path}: {error}") from error
    return lines


def prepared(jobs: Sequence[Job], earlier: Sequence[Outcome]) -> dict[str, Outcome]:
    """Makes the folders, sees that the record can be written, and returns the outcomes that are known already."""
    if FLAGS.resume and FLAGS.overwrite:
        raise spiq_tf.InvalidArgumentError("pass --resume or --overwrite, not both: one keeps what the other replaces")
    outcomes = known_before(jobs, FLAGS.resume, FLAGS.overwrite, earlier)
    for folder in filter(None, (FLAGS.output_dir, FLAGS.report_dir)):
        Path(folder).mkdir(parents=True, exist_ok=True)
    record(jobs, outcomes, earlier)
    clean()  # after earlier runs that were killed
    return outcomes


def clean() -> None:
    """Removes what processes that died have left where this run writes."""
    record_folder = Path(FLAGS.report_json).parent if FLAGS.report_json else None
    for folder in filter(None, {FLAGS.output_dir, FLAGS.report_dir, record_folder}):
        remove_leftovers(folder)


def outcomes_of(jobs: Sequence[Job], known: Mapping[str, Outcome]) -> Iterator[Outcome]:
    """Converts what is not known, showing progress; a failure without --keep_going ends it, and what is at work."""
    failed = [outcome for outcome in known.values() if outcome.error is not None]
    for outcome in failed:
        print(line(outcome))
    waiting = [job for job in jobs if job.model not in known]
    if not waiting or (failed and not FLAGS.keep_going):
        return
    count = FLAGS.workers or max(1, min(len(waiting), cores(), memory_bytes() // MEMORY_OF_A_WORKER))
    running = workers.run(
        converted,
        waiting,
        workers=count,
        memory=memory_bytes() / count if FLAGS.worker_memory_gib is None else FLAGS.worker_memory_gib * GIB,
        environment=one_thread_each(),
    )
    progress = tqdm(total=len(jobs), initial=len(known), unit="model", disable=not sys.stderr.isatty())
    with contextlib.closing(running), progress as bar:
        for job, result in running:
            if isinstance(result, workers.Lost):
                error = f"the worker that converted it {result.reason}"
                outcome = Outcome(job.model, error=error, made_with=fingerprint(job), destination=str(job.output))
            else:
                outcome = result
            with bar.external_write_mode():
                print(line(outcome), flush=True)
            bar.update()
            yield outcome
            if outcome.error is not None and not FLAGS.keep_going:
                return


def record(jobs: Sequence[Job], outcomes: Mapping[str, Outcome], earlier: Sequence[Outcome]) -> None:
    """Writes --report_json, if it is asked for: the rows of this run, then what still holds of earlier ones."""
    if FLAGS.report_json:
        rows = in_order(jobs, outcomes)
        write_record(FLAGS.report_json, [*rows, *carried(earlier, jobs, rows)])


def in_order(jobs: Sequence[Job], outcomes: Mapping[str, Outcome]) -> list[Outcome]:
    """The outcomes that there are, in the order of the arguments."""
    return [outcomes[job.model] for job in jobs if job.model in outcomes]


if __name__ == "__main__":
    commands.run(main, required=["output_dir"])

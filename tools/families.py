"""Converts one network of each family that Keras users bring, and writes a table of the results.

python tools/families.py --output=docs/families.md
python tools/families.py --only=MobileNetV2

Each network is converted in a process of its own, so that a failure affects that network alone.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import keras
import numpy as np
from absl import app, flags, logging
from family_networks import FAMILIES, Array, Family, network, smooth_images
from rounded_model import rounded_outputs

import spiq_tf
from spiq_tf.benchmarking.executed_parts import executed_parts
from spiq_tf.benchmarking.files import float_file
from spiq_tf.benchmarking.runnable import runnable
from spiq_tf.benchmarking.table import listed
from spiq_tf.benchmarking.timing import RUNS_IN_A_TURN, best_in_turns, clock_for
from spiq_tf.commands.command import Command
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.silence import silence

_ROUNDS = 12
"""In which an int8 file and its float file are timed in turns."""


@dataclass(frozen=True)
class Row:
    """The result of one family.

    Attributes:
        size: of the input, without the batch.
        error: why it was not converted, or None.
        float_operators: kinds with their counts, of the operators that stay float.
        pieces: parts of the file that XNNPACK runs.
        not_delegated: kinds with their counts, of the operators outside these.
        time_ratio: int8 over float, of an inference on one thread.
        warnings: kinds of the warnings with their counts.
        sqnr: for each part of the output, in dB over the whole signal and over its deviation from the mean image.
        simulated: the same for the Keras model rounded layer by layer, with ranges taken from these images.
        seconds: of the conversion.
        share: size of the file relative to 4 bytes per parameter.
    """

    size: str = ""
    error: str | None = None
    float_operators: str = ""
    pieces: int = 0
    not_delegated: str = ""
    time_ratio: float = 0.0
    warnings: str = ""
    sqnr: str = ""
    simulated: str = ""
    seconds: float = 0.0
    share: float = 0.0


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the tool."""
    flags.DEFINE_list("only", None, "Families to convert; all by default.", flag_values=values)
    flags.DEFINE_string("output", None, "A Markdown file for the table; by default it is printed.", flag_values=values)
    flags.DEFINE_integer("images", 8, "Random images to compare on.", flag_values=values, lower_bound=2)
    flags.DEFINE_integer("timeout", 1200, "Seconds that one family may take.", flag_values=values, lower_bound=1)
    flags.DEFINE_enum(
        "measure",
        None,
        list(FAMILIES),
        "Converts one family in this process and prints its row as JSON.",
        flag_values=values,
    )


def run(arguments: Sequence[str], options: flags.FlagValues) -> int:
    """Converts the families one after the other, or, with --measure, one in this process."""
    if arguments:
        raise app.UsageError(f"expected flags only, found {arguments[0]!r}")
    if options.measure:
        print(json.dumps(asdict(measure(FAMILIES[options.measure], options.images))))
        return 0
    names = options.only or list(FAMILIES)
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        raise app.UsageError(f"--only: expected some of {', '.join(FAMILIES)}, found {unknown[0]!r}")
    rows = {}
    for number, name in enumerate(names, 1):
        print(f"{number} of {len(names)}: {name}", end="", file=sys.stderr, flush=True)
        rows[name] = measure_in_process(name, options.images, options.timeout)
        print(f": {rows[name].error or rows[name].sqnr}", file=sys.stderr, flush=True)
    text = document(rows, options.images)
    if options.output:
        spiq_tf.write_atomically(options.output, text.encode())
    else:
        print(text, end="")
    return 0


def measure_in_process(name: str, images: int, timeout: int) -> Row:
    """One family in a fresh process; a crash becomes the row's error."""
    command = [sys.executable, __file__, f"--measure={name}", f"--images={images}"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired:
        return Row(error=f"no result after {timeout} s")
    if process.returncode != 0:
        last = [line for line in process.stderr.splitlines() if line.strip()][-1:]
        return Row(error=f"exit code {process.returncode}: {''.join(last)}")
    return Row(**json.loads(process.stdout.splitlines()[-1]))


def measure(family: Family, image_count: int) -> Row:
    """Builds and converts a family's network, and compares the file with the float model."""
    logging.set_verbosity(logging.ERROR)
    model = network(family)
    size = " x ".join(map(str, model.inputs[0].shape[1:]))
    start = time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", spiq_tf.SpiqWarning)
            result = spiq_tf.quantize(model, input_range=family.input_range)
    except spiq_tf.SpiqError as error:
        return Row(size=size, error=f"{type(error).__name__}: {error}")
    seconds = time.perf_counter() - start
    images = smooth_images(model, image_count, family.input_range, seed=3)
    interpreter = Interpreter(result.content)
    outputs = np.concatenate([interpreter.run([x[None]])[0] for x in images])
    expected = np.asarray(model.predict(images, verbose=0))
    (rounded,) = rounded_outputs(model, [images], family.input_range)
    parts = executed_parts(result.content)
    return Row(
        size=size,
        float_operators=counted(Counter(name.split()[0] for name in result.float_operators)),
        pieces=parts.pieces,
        not_delegated=counted(parts.outside),
        time_ratio=time_ratio(result.content, model, family.input_range),
        warnings=counted(Counter(w.category.__name__ for w in caught if issubclass(w.category, spiq_tf.SpiqWarning))),
        sqnr=ratios(expected, outputs, family.parts),
        simulated=ratios(expected, rounded, family.parts),
        seconds=seconds,
        share=len(result.content) / (4 * model.count_params()),
    )


def ratios(expected: Array, outputs: Array, parts: Mapping[str, slice]) -> str:
    """Decibels for each part of the output: over the whole signal, and over its deviation from the mean image."""
    texts = []
    for name, part in parts.items():
        reference = expected[..., part].astype(np.float64)
        noise = np.sum((reference - outputs[..., part]) ** 2)
        powers = np.sum(reference**2), np.sum((reference - reference.mean(axis=0)) ** 2)
        total, deviation = (10 * np.log10(power / noise) for power in powers)
        texts.append(f"{name} {total:.1f} ({deviation:.1f})".strip())
    return ", ".join(texts)


def time_ratio(content: bytes, model: keras.Model, input_range: tuple[float, float]) -> float:
    """The time of an inference of an int8 file over that of TFLiteConverter's float file, on one thread, in turns."""
    with silence():
        contents = content, float_file(model)
    functions = [runnable(each, input_range, threads=1) for each in contents]
    int8, floating = best_in_turns(functions, _ROUNDS, clock_for(threads=1))
    return int8 / floating


def counted(counts: Mapping[str, int]) -> str:
    """Each kind with its count, after the count of all: "3: RELU 2, TILE"."""
    return f"{sum(counts.values())}: {listed(dict(sorted(counts.items())))}" if counts else "none"


_HEAD = """# Families of networks

Written by `python tools/families.py --output=docs/families.md` with TensorFlow {tensorflow}, Keras {keras}.
One row: `python tools/families.py --only=MobileNetV2`.

Weights are random, since none are downloaded: kernels from the family's own initializers, random gammas, betas and
biases, running statistics of a pass over smooth random images. The table shows what is converted, how, and whether the
file computes what the model does; it does not show accuracy on a task: see [accuracy.md](accuracy.md).

- *float*: operators that stay float; *pieces*: parts of the file that XNNPACK runs, one being the best; *not
  delegated*: operators outside them, which run in slower kernels, QUANTIZE and DEQUANTIZE at float operators among
  them; *warnings*: kinds of the warnings of the conversion.
- *int8 / float*: the time of an inference over that of TFLiteConverter's float file, on one thread, each the best of
  {rounds} rounds in which the two take turns, {runs} inferences each. At these small sizes: `spiq-tf benchmark --all`
  measures the networks at their own.
- *dB*: signal-to-noise ratio against the float model at the output before the softmax, over {images} images; in
  brackets with the mean over the images subtracted from the signal: in random networks it is a large part.
- *rounded*: the same for the Keras model with every kernel and layer output rounded to 8 bits, with ranges taken from
  these images: what int8 can be expected to reach in a network as sensitive as random ones of this depth are.
- *seconds*: of `spiq_tf.quantize` in a fresh process, on two cores that other processes use too, so that only rows can
  be compared; *size*: of the file relative to 4 bytes per parameter.

"""
_COLUMNS = (
    *("family", "input", "float", "pieces", "not delegated", "int8 / float", "warnings", "dB", "rounded"),
    *("seconds", "size"),
)


def document(rows: Mapping[str, Row], images: int) -> str:
    """The Markdown text: what was measured, and the table."""
    versions = {"tensorflow": _version("tensorflow"), "keras": keras.__version__}
    lines = [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    for name, row in rows.items():
        lines.append(f"| {' | '.join([name, row.size, *_cells(row)])} |")
    head = _HEAD.format(images=images, rounds=_ROUNDS, runs=RUNS_IN_A_TURN, **versions)
    return head + "\n".join(lines) + "\n"


def _cells(row: Row) -> list[str]:
    """Of all columns but the first two."""
    if row.error is not None:
        return [f"not converted: {row.error.replace('|', '/')}", *[""] * (len(_COLUMNS) - 3)]
    ratio, seconds, share = f"{row.time_ratio:.2f}", f"{row.seconds:.1f}", f"{row.share:.2f}"
    pieces = str(row.pieces), row.not_delegated
    return [row.float_operators, *pieces, ratio, row.warnings, row.sqnr, row.simulated, seconds, share]


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


COMMAND = Command(name="families.py", description=__doc__, define_flags=define_flags, run=run)

if __name__ == "__main__":
    sys.exit(COMMAND.main(sys.argv[1:]))

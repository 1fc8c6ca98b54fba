"""A table of what each part of the method is worth on a model.

python tools/ablation.py MODEL.keras --eval EXAMPLES.npz [--preprocess "x/127.5-1"] [--input_range=-1,1]

EXAMPLES.npz holds x and y. The preprocessing, a numpy formula of x, and the input range may stand in MODEL.json
beside the model instead.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import dataclasses
import sys
import time
from collections.abc import Sequence

import examples
import numpy as np
from absl import app, flags, logging
from examples import Array, Examples, Score, score

from spiq_tf import pipeline
from spiq_tf.commands.command import Command
from spiq_tf.options import METHODS, Options, checked_options
from spiq_tf.tflite.interpreter import Interpreter

_WHOLE = METHODS["noise"]
ROWS = {
    "all parts": _WHOLE,
    "no scales absorbed": dataclasses.replace(_WHOLE, scales="none"),
    "SPIQ's scales and ranges": dataclasses.replace(_WHOLE, scales="spiq", samples=False),
    "closed forms, no synthetic inputs": dataclasses.replace(_WHOLE, samples=False),
    "no equal-scale additions": dataclasses.replace(_WHOLE, equal_scale_adds=False),
    "no bias correction": dataclasses.replace(_WHOLE, bias_correction=False),
    "no sum-preserving rounding": dataclasses.replace(_WHOLE, sum_preserving_rounding=False),
    "neither of the last two": dataclasses.replace(_WHOLE, bias_correction=False, sum_preserving_rounding=False),
    "SPIQ as published": METHODS["spiq"],
    "DFQ as published": METHODS["dfq"],
}


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the tool."""
    examples.define_flags(values)
    flags.DEFINE_integer("limit", 400, "Examples to score.", flag_values=values, lower_bound=1)


def run(arguments: Sequence[str], options: flags.FlagValues) -> int:
    """Prints the table."""
    if len(arguments) != 1:
        raise app.UsageError("expected one model")
    logging.set_verbosity(logging.WARNING)
    (file,) = arguments
    labelled = examples.load(file, options)
    reference = labelled.model.predict(labelled.inputs, verbose=0, batch_size=32)
    print(f"| {os.path.basename(file)}, {len(labelled.labels)} examples | metric | agreement | dB | seconds |")
    print("|---|---|---|---|---|")
    print(f"| float | {np.mean(reference.argmax(axis=-1) == labelled.labels):.4f} | 1.0000 | | |")
    for name, variant in variants().items():
        result, seconds = converted_score(labelled, variant, reference)
        cells = f"{result.metric:.4f} | {result.agreement:.4f} | {result.sqnr:.2f} | {seconds:.1f}"
        print(f"| {name} | {cells} |", flush=True)
    return 0


def variants() -> dict[str, Options]:
    """The options of each row, by its name."""
    options = checked_options()
    rows = {name: dataclasses.replace(options, parts=parts) for name, parts in ROWS.items()}
    return rows | {"per_channel_dense": checked_options(per_channel_dense=True)}


def converted_score(labelled: Examples, options: Options, reference: Array) -> tuple[Score, float]:
    """The score of the file that the options give, and the seconds of the conversion."""
    start = time.perf_counter()
    plan = pipeline.plan(labelled.model, labelled.input_range, options)
    content = pipeline.convert_plan(plan).content
    seconds = time.perf_counter() - start
    interpreter = Interpreter(content)
    outputs = np.concatenate([interpreter.run([x[None]])[0] for x in labelled.inputs])
    return score(outputs, reference, labelled.labels), seconds


if __name__ == "__main__":
    command = Command(name="ablation.py", description=__doc__, define_flags=define_flags, run=run, required=("eval",))
    sys.exit(command.main(sys.argv[1:]))

"""What each part of the method is worth on a model, as a table.

python tools/ablation.py MODEL.keras --eval EXAMPLES.npz [--preprocess "x/127.5-1"] [--input_range=-1,1]

EXAMPLES.npz holds x and y. The preprocessing, a numpy formula of x, and the input range may stand in MODEL.json
beside the model instead.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import dataclasses
import time
from collections.abc import Sequence

import commands
import examples
import numpy as np
from absl import app, flags, logging
from examples import Array, Examples, Score, score

from spiq_tf import pipeline
from spiq_tf.options import METHODS, Options, checked_options
from spiq_tf.tflite.interpreter import Interpreter

FLAGS = flags.FLAGS

flags.adopt_module_key_flags(examples)

flags.DEFINE_integer("limit", 400, "Examples to score.", lower_bound=1)

_WHOLE = METHODS["noise"]
ROWS = {
    "all parts": _WHOLE,
    "no scales absorbed": dataclasses.replace(_WHOLE, scales="none"),
    "SPIQ's scales and ranges": dataclasses.replace(_WHOLE, scales="spiq", samples=False),
    "closed forms, no synthetic inputs": dataclasses.replace(_WHOLE, samples=False),
    "no steps shared": dataclasses.replace(_WHOLE, equal_scale_adds=False),
    "no bias correction": dataclasses.replace(_WHOLE, bias_correction=False),
    "no kernel sums kept": dataclasses.replace(_WHOLE, sum_preserving_rounding=False),
    "neither of the two": dataclasses.replace(_WHOLE, bias_correction=False, sum_preserving_rounding=False),
    "SPIQ as published": METHODS["spiq"],
    "DFQ as published": METHODS["dfq"],
}


def main(argv: Sequence[str]) -> None:
    """Prints the table."""
    if len(argv) != 2:
        raise app.UsageError("expected one model")
    logging.set_verbosity(logging.WARNING)
    given = examples.load(argv[1], FLAGS.limit)
    reference = given.model.predict(given.inputs, verbose=0, batch_size=32)
    options = checked_options()
    print(f"| {os.path.basename(argv[1])}, {len(given.labels)} examples | metric | agreement | dB | seconds |")
    print("|---|---|---|---|---|")
    print(f"| float | {np.mean(reference.argmax(axis=-1) == given.labels):.4f} | 1.0000 | | |")
    ways = {name: dataclasses.replace(options, parts=parts) for name, parts in ROWS.items()}
    ways["per_channel_dense"] = checked_options(per_channel_dense=True)
    for name, way in ways.items():
        found, seconds = converted(given, way, reference)
        line = f"{found.metric:.4f} | {found.agreement:.4f} | {found.sqnr:.2f} | {seconds:.1f}"
        print(f"| {name} | {line} |", flush=True)


def converted(given: Examples, options: Options, reference: Array) -> tuple[Score, float]:
    """The score of one way of converting, and its seconds."""
    start = time.perf_counter()
    plan = pipeline.plan(given.model, given.input_range, options)
    content = pipeline.convert_plan(plan).content
    seconds = time.perf_counter() - start
    interpreter = Interpreter(content)
    outputs = np.concatenate([interpreter.run([x[None]])[0] for x in given.inputs])
    return score(outputs, reference, given.labels), seconds


if __name__ == "__main__":
    commands.run(main, required=["eval"])

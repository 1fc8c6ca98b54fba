"""Compares TFLite files with the Keras models that they were made of, at the outputs and layer by layer.

python tools/verify.py MODEL.keras MODEL.tflite
python tools/verify.py --inputs=images.npy --lowest_db=20 MODEL.keras MODEL.tflite

At each output: the signal-to-noise ratio, how often the largest channel is the float model's (agreement), and the mean
error of the channels relative to their deviations (bias). Of the layers that cost most:

share    of the noise at the outputs, the layer's own
own dB   signal over the noise that the layer itself adds
dB       signal over all noise so far
worst    the same, at the layer's worst channel

"scores/0" is the value in front of the activation of layer "scores".

The exit code is 0 where the file holds up, 1 where it is useless or below --lowest_db, 2 where nothing can be compared
or the arguments are wrong.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import sys
from collections.abc import Sequence
from typing import Any

import commands
import numpy as np
from absl import app, flags

import spiq_tf

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "inputs",
    None,
    "A .npy file of examples as the model is fed them, or a .npz with one array for each input by name; without it"
    " they are generated.",
)
flags.DEFINE_integer("layers", 5, "Shows so many of the layers that cost most.", lower_bound=0)
flags.DEFINE_float("lowest_db", None, "The signal-to-noise ratio that every output must reach.")
flags.DEFINE_string("json", None, "Writes all that was found to this file.")
flags.DEFINE_bool("trust_code_in_files", False, "Loads models that carry code (Lambda layers): they can do anything.")


def main(argv: Sequence[str]) -> int:
    """Prints what was found; returns the exit code."""
    if len(argv) != 3:
        raise app.UsageError(f"expected a Keras model and a TFLite file, found {len(argv) - 1}")
    try:
        model = spiq_tf.load_model(argv[1], safe_mode=not FLAGS.trust_code_in_files)
        found = spiq_tf.verify(model, argv[2], None if FLAGS.inputs is None else _examples(FLAGS.inputs))
        if FLAGS.json:
            spiq_tf.write_atomically(FLAGS.json, json.dumps(found.as_dict(), indent=1).encode())
    except spiq_tf.SpiqError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(found.shown(FLAGS.layers))
    low = FLAGS.lowest_db is not None and not found.sqnr_db >= FLAGS.lowest_db  # NaN is low too
    if low:
        print(f"error: expected {FLAGS.lowest_db:g} dB at least, found {found.sqnr_db:.1f}", file=sys.stderr)
    return int(low or bool(found.problems))


def _examples(path: str) -> Any:
    try:
        found = np.load(path)
        return dict(found) if isinstance(found, np.lib.npyio.NpzFile) else found
    except (OSError, ValueError) as error:
        raise spiq_tf.InvalidArgumentError(f"--inputs: {path} is no .npy or .npz file of numbers: {error}") from error


if __name__ == "__main__":
    commands.run(main)

"""Compares TFLite files with the Keras models that they were converted from, at the outputs and layer by layer.

spiq-tf verify MODEL.keras MODEL.tflite
spiq-tf verify --inputs=images.npy --lowest_db=20 MODEL.keras MODEL.tflite

At each output: the signal-to-noise ratio, how often the largest channel is the float model's (agreement), and the mean
error of the channels relative to their deviations (bias). Of the layers that cost most:

share    of the noise at the outputs, the layer's own
own dB   signal over the noise that the layer itself adds
dB       signal over all noise so far
worst    the same, at the layer's worst channel

"scores/0" is the value before the activation of layer "scores".

The exit code is 0 if no problem is found, 1 if the file is useless or below --lowest_db, 2 if nothing can be compared
or the arguments are wrong.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

from absl import app, flags

import spiq_tf
from spiq_tf.commands.command import Command


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the command."""
    flags.DEFINE_string(
        "inputs",
        None,
        "A .npy file of examples, preprocessed as the model expects them, or a .npz with one array for each input by"
        " name; without it they are generated.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "layers", 5, "How many of the layers that cost most are shown.", flag_values=values, lower_bound=0
    )
    flags.DEFINE_float("lowest_db", None, "The signal-to-noise ratio that every output must reach.", flag_values=values)
    flags.DEFINE_string("json", None, "Writes all results to this file.", flag_values=values)
    flags.DEFINE_bool(
        "trust_code_in_files",
        False,
        "Loads models that carry code (Lambda layers): they can do anything.",
        flag_values=values,
    )


def run(arguments: Sequence[str], options: flags.FlagValues) -> int:
    """Prints the comparison; returns the exit code."""
    if len(arguments) != 2:
        raise app.UsageError(f"expected a Keras model and a TFLite file, found {len(arguments)}")
    model_file, tflite_file = arguments
    try:
        model = spiq_tf.load_model(model_file, safe_mode=not options.trust_code_in_files)
        examples = None if options.inputs is None else _read_examples(options.inputs)
        verification = spiq_tf.verify(model, tflite_file, examples)
        if options.json:
            spiq_tf.write_atomically(options.json, json.dumps(verification.as_dict(), indent=1).encode())
    except spiq_tf.SpiqError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(verification.shown(options.layers))
    too_low = options.lowest_db is not None and not verification.sqnr_db >= options.lowest_db  # NaN is too low
    if too_low:
        print(f"error: expected {options.lowest_db:g} dB at least, found {verification.sqnr_db:.1f}", file=sys.stderr)
    return int(too_low or bool(verification.problems))


def _read_examples(path: str) -> Any:
    import numpy as np

    try:
        arrays = np.load(path)
        return dict(arrays) if isinstance(arrays, np.lib.npyio.NpzFile) else arrays
    except (OSError, ValueError) as error:
        raise spiq_tf.InvalidArgumentError(f"--inputs: {path} is no .npy or .npz file of numbers: {error}") from error


COMMAND = Command(name="spiq-tf verify", description=__doc__, define_flags=define_flags, run=run)

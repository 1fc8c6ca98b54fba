"""How well the predicted noise of each tensor agrees with the noise measured on examples.

python tools/noise.py MODEL.keras --eval EXAMPLES.npz [--preprocess "x/127.5-1"] [--input_range=-1,1] [--plot out.png]

Each tensor of the file is quantized alone, in simulation, with the scales and ranges that conversion chooses; the
noise at the model's outputs, relative to their power, is printed beside the predicted noise.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import examples
import numpy as np
import tensorflow as tf
from absl import app, flags, logging
from examples import Array
from scipy.stats import spearmanr

from spiq_tf import pipeline
from spiq_tf.commands.command import Command
from spiq_tf.execution.executor import execute, run_layer
from spiq_tf.graph.layer_graph import Call
from spiq_tf.options import checked_options
from spiq_tf.pipeline import Plan
from spiq_tf.quantization.bit_width import INT8


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the tool."""
    examples.define_flags(values)
    flags.DEFINE_integer("limit", 50, "Examples to measure on.", flag_values=values, lower_bound=1)
    flags.DEFINE_string("plot", None, "A .png for the scatter plot.", flag_values=values)


def run(arguments: Sequence[str], options: flags.FlagValues) -> int:
    """Prints one line for each tensor, and the rank correlation."""
    if len(arguments) != 1:
        raise app.UsageError("expected one model")
    logging.set_verbosity(logging.WARNING)
    (file,) = arguments
    labelled = examples.load(file, options)
    plan = pipeline.plan(labelled.model, labelled.input_range, checked_options())
    materialized = [t.name for t in plan.rescaled.graph.tensors if t.name not in plan.rescaled.graph.fused]
    inputs = {t.name for t in plan.rescaled.graph.inputs}
    names = [name for name in materialized if name not in inputs]
    reference = outputs(plan, labelled.inputs, None)
    power = float(np.sum(reference**2))
    predicted, measured = [], []
    print(f"{'tensor':44}{'predicted':>10}{'measured':>10}  dB below the output")
    for name in names:
        noise = plan.solution.noise[name]
        predicted.append(noise.rounding + noise.clipping)
        measured.append(float(np.sum((outputs(plan, labelled.inputs, name) - reference) ** 2)) / power)
        print(f"{name[:43]:44}{decibels(predicted[-1]):10.1f}{decibels(measured[-1]):10.1f}", flush=True)
    ratio = 10 * np.log10(np.array(predicted) / np.array(measured))
    print(
        f"{len(names)} tensors: rank correlation {spearmanr(predicted, measured)[0]:.2f}, predicted over measured"
        f" {np.median(ratio):+.1f} dB in the median, {np.std(ratio):.1f} dB spread"
    )
    if options.plot:
        scatter(decibels(np.array(predicted)), decibels(np.array(measured)), os.path.basename(file), options.plot)
    return 0


def decibels(noise: Array | float) -> Array:
    """Power of the output over that of the noise."""
    return np.asarray(-10 * np.log10(np.maximum(noise, 1e-15)))


def outputs(plan: Plan, inputs: Array, quantized: str | None, batch: int = 25) -> Array:
    """The model's first output on the examples, with one tensor quantized as in the file, or none."""
    graph = plan.rescaled.graph
    weights = [(v, tf.constant(v.numpy())) for v in graph.variables.values()]

    def run_call(call: Call, values: Mapping[str, Any]) -> dict[str, Any]:
        results = run_layer(call, values)
        if quantized in results:
            results = {**results, quantized: rounded(plan, quantized, results[quantized])}
        return results

    batches = []
    for start in range(0, len(inputs), batch):
        values = execute(
            graph.calls, {graph.inputs[0].name: tf.constant(inputs[start : start + batch])}, run_call, weights
        )
        batches.append(values[graph.outputs[0].name].numpy())
    return np.concatenate(batches)


def rounded(plan: Plan, name: str, value: tf.Tensor) -> tf.Tensor:
    """Clipped and rounded channel by channel, in model units."""
    scale, own = plan.solution.scales[name], plan.solution.ranges[name]
    low, high = min(float((own.low / scale).min()), 0.0), max(float((own.high / scale).max()), 0.0)
    channel_lsb = ((high - low) / INT8.levels * scale).astype(np.float32)
    clipped = tf.clip_by_value(value, (low * scale).astype(np.float32), (high * scale).astype(np.float32))
    return tf.round(clipped / channel_lsb) * channel_lsb


def scatter(predicted: Array, measured: Array, title: str, path: str) -> None:
    """Writes the plot to a .png file."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 5))
    axes.scatter(predicted, measured, s=14)
    ends = [min(predicted.min(), measured.min()), max(predicted.max(), measured.max())]
    axes.plot(ends, ends, linewidth=0.8, color="gray")
    axes.set(xlabel="predicted, dB below the output", ylabel="measured, dB below the output", title=title)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    command = Command(name="noise.py", description=__doc__, define_flags=define_flags, run=run, required=("eval",))
    sys.exit(command.main(sys.argv[1:]))

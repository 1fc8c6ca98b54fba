"""Compares a conversion with TensorFlow's own, as ratios measured in one run.

python tools/benchmark.py [MODEL.keras] [--input_range=-1,1]

Seconds are the medians of conversions in turns, each in a fresh process; memory is the peak of the process.
Without a model it takes Keras's MobileNetV2 with random weights. --scaling measures how cost grows from
ResNet50 to ResNet152, both with random weights.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib
import io
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from absl import flags, logging

from spiq_tf.commands.command import Command

_DEFAULT_MODEL = "MobileNetV2"


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the tool."""
    flags.DEFINE_list(
        "input_range", ["-1", "1"], "Smallest and largest input after preprocessing, LOW,HIGH.", flag_values=values
    )
    flags.DEFINE_integer("rounds", 3, "Conversions of each kind.", flag_values=values, lower_bound=1)
    flags.DEFINE_bool(
        "scaling", False, "Measures ResNet50, ResNet101 and ResNet152 in place of one model.", flag_values=values
    )
    flags.DEFINE_enum(
        "measure",
        None,
        ["spiq", "tensorflow", "stages"],
        "Measures one conversion in this process.",
        flag_values=values,
    )


def run(arguments: Sequence[str], options: flags.FlagValues) -> int:
    """Measures in processes of their own, or, with --measure, in this one."""
    name = arguments[0] if arguments else _DEFAULT_MODEL
    low, high = (float(v) for v in options.input_range)
    if options.measure:
        print(json.dumps(measure(name, options.measure, (low, high))))
    elif options.scaling:
        print_scaling((low, high))
    else:
        print_comparison(name, options.rounds, (low, high))
    return 0


def print_comparison(name: str, rounds: int, input_range: tuple[float, float]) -> None:
    """Prints spiq_tf beside TFLiteConverter.from_keras_model on one model."""
    rows: dict[str, list[dict[str, float]]] = {"spiq": [], "tensorflow": []}
    for _ in range(rounds):
        for kind in rows:
            rows[kind].append(measure_in_process(name, kind, input_range))
    print(f"{'':12}{'seconds':>9}{'peak MiB':>10}   ({name}, medians of {rounds})")
    medians = {k: {f: statistics.median(r[f] for r in v) for f in v[0]} for k, v in rows.items()}
    for kind, row in medians.items():
        print(f"{kind:12}{row['seconds']:9.2f}{row['peak_mib']:10.0f}")
    ours, theirs = medians["spiq"], medians["tensorflow"]
    print(f"{'ratio':12}{ours['seconds'] / theirs['seconds']:9.2f}{ours['peak_mib'] / theirs['peak_mib']:10.2f}")
    stages = measure_in_process(name, "stages", input_range)
    print("stages: " + ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in stages.items()))


def print_scaling(input_range: tuple[float, float]) -> None:
    """Prints the seconds for each layer of networks of one kind and growing depth."""
    print(f"{'':12}{'layers':>8}{'seconds':>9}{'ms a layer':>12}{'statistics s':>14}")
    for name in ("ResNet50", "ResNet101", "ResNet152"):
        row, stages = measure_in_process(name, "spiq", input_range), measure_in_process(name, "stages", input_range)
        each = row["seconds"] / row["layers"] * 1e3
        print(f"{name:12}{row['layers']:8.0f}{row['seconds']:9.2f}{each:12.1f}{stages['plan']:14.2f}")


def measure_in_process(name: str, kind: str, input_range: tuple[float, float]) -> dict[str, float]:
    """One measurement in a fresh process."""
    command = [sys.executable, __file__, f"--measure={kind}", f"--input_range={','.join(map(str, input_range))}", name]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode != 0:
        raise SystemExit(process.stderr)
    result: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return result


def measure(name: str, kind: str, input_range: tuple[float, float]) -> dict[str, float]:
    """Seconds of one conversion and the peak memory of this process."""
    import keras

    logging.set_verbosity(logging.ERROR)
    if os.path.exists(name):
        model = keras.models.load_model(name, compile=False)
    else:
        model = getattr(keras.applications, name)(weights=None)
    if kind == "stages":
        return seconds_of_stages(model, input_range)
    if kind == "spiq":
        from spiq_tf.api import convert  # imports all that it needs, before the time is taken

        start = time.perf_counter()
        convert(model, input_range=input_range)
    else:
        import tensorflow as tf

        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            tf.lite.TFLiteConverter.from_keras_model(model).convert()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak_mib": peak, "layers": len(model.layers)}


def seconds_of_stages(model: object, input_range: tuple[float, float]) -> dict[str, float]:
    """Seconds of capture, statistics, scales and rewrite together ("plan"), and of all that follows."""
    from spiq_tf import pipeline
    from spiq_tf.options import checked_options

    options = checked_options()
    start = time.perf_counter()
    plan = pipeline.plan(model, input_range, options)
    middle = time.perf_counter()
    pipeline.convert_plan(plan)
    return {"plan": middle - start, "lower, correct, quantize": time.perf_counter() - middle}


if __name__ == "__main__":
    command = Command(name="benchmark.py", description=__doc__, define_flags=define_flags, run=run)
    sys.exit(command.main(sys.argv[1:]))

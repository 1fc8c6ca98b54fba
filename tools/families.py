"""Converts one network of each family that Keras users bring, and writes a table of what became of them.

python tools/families.py --output=docs/families.md
python tools/families.py --only=MobileNetV2

Each network is converted in a process of its own, so that one that fails, fails alone.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from absl import app, flags, logging
from ai_edge_litert import interpreter as litert
from family_networks import FAMILIES, Array, Family, network, smooth_images
from rounded_model import rounded_outputs

import spiq_tf
from spiq_tf.tflite.interpreter import Interpreter

FLAGS = flags.FLAGS

flags.DEFINE_list("only", None, "Families to convert; all by default.")
flags.DEFINE_string("output", None, "A Markdown file for the table; by default it is printed.")
flags.DEFINE_integer("images", 8, "Random images to compare on.", lower_bound=2)
flags.DEFINE_integer("timeout", 1200, "Seconds that one family may take.", lower_bound=1)
flags.DEFINE_enum("measure", None, list(FAMILIES), "Converts one family in this process and prints its row as JSON.")


@dataclass(frozen=True)
class Row:
    """What became of one family.

    Attributes:
        size: of the input, without the batch.
        error: why it was not converted, or None.
        float_operators, left: kinds with their numbers, of the operators that stay float and of those that XNNPACK
            does not take.
        warned: kinds of the warnings with their numbers.
        sqnr: for each part of the output, in dB over all of it and over what differs between images.
        simulated: the same of the Keras model rounded layer by layer, with ranges of the very images.
        seconds: of the conversion.
        share: size of the file relative to 4 bytes a parameter.
    """

    size: str = ""
    error: str | None = None
    float_operators: str = ""
    left: str = ""
    warned: str = ""
    sqnr: str = ""
    simulated: str = ""
    seconds: float = 0.0
    share: float = 0.0


def main(argv: Sequence[str]) -> None:
    """Converts the families one after the other, or, with --measure, one in this process."""
    if len(argv) > 1:
        raise app.UsageError(f"expected flags only, found {argv[1]!r}")
    if FLAGS.measure:
        print(json.dumps(asdict(measured(FAMILIES[FLAGS.measure]))))
        return
    names = FLAGS.only or list(FAMILIES)
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        raise app.UsageError(f"--only: expected some of {', '.join(FAMILIES)}, found {unknown[0]!r}")
    rows = {}
    for number, name in enumerate(names, 1):
        print(f"{number} of {len(names)}: {name}", end="", file=sys.stderr, flush=True)
        rows[name] = in_a_process(name)
        print(f": {rows[name].error or rows[name].sqnr}", file=sys.stderr, flush=True)
    text = document(rows)
    if FLAGS.output:
        spiq_tf.write_atomically(FLAGS.output, text.encode())
    else:
        print(text, end="")


def in_a_process(name: str) -> Row:
    """One family in a fresh process; a crash becomes the row's error."""
    command = [sys.executable, __file__, f"--measure={name}", f"--images={FLAGS.images}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FLAGS.timeout)
    except subprocess.TimeoutExpired:
        return Row(error=f"no result after {FLAGS.timeout} s")
    if done.returncode != 0:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        return Row(error=f"exit code {done.returncode}: {''.join(last)}")
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def measured(family: Family) -> Row:
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
        return Row(size, f"{type(error).__name__}: {error}")
    seconds = time.perf_counter() - start
    images = smooth_images(model, FLAGS.images, family.input_range, seed=3)
    interpreter = Interpreter(result.content)
    found = np.concatenate([interpreter.run([x[None]])[0] for x in images])
    expected = np.asarray(model.predict(images, verbose=0))
    (rounded,) = rounded_outputs(model, [images], family.input_range)
    return Row(
        size,
        None,
        counted(name.split()[0] for name in result.float_operators),
        counted(left_by_the_delegate(result.content)),
        counted(w.category.__name__ for w in caught if issubclass(w.category, spiq_tf.SpiqWarning)),
        ratios(expected, found, family.parts),
        ratios(expected, rounded, family.parts),
        seconds,
        len(result.content) / (4 * model.count_params()),
    )


def ratios(expected: Array, found: Array, parts: Mapping[str, slice]) -> str:
    """Decibels for each part of the output: over all of it, and over what differs between images."""
    texts = []
    for name, part in parts.items():
        reference = expected[..., part].astype(np.float64)
        noise = np.sum((reference - found[..., part]) ** 2)
        powers = np.sum(reference**2), np.sum((reference - reference.mean(axis=0)) ** 2)
        whole, varying = (10 * np.log10(power / noise) for power in powers)
        texts.append(f"{name} {whole:.1f} ({varying:.1f})".strip())
    return ", ".join(texts)


def left_by_the_delegate(content: bytes) -> list[str]:
    """Kinds of the operators that XNNPACK leaves to the plain kernels, found by walking back from the outputs.

    A delegated node stands beside the operators that it replaces and comes behind them in the list.
    """
    interpreter = litert.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    maker: dict[int, Any] = {}
    for operator in interpreter._get_ops_details():
        maker |= dict.fromkeys(map(int, operator["outputs"]), operator)
    waiting, used = [int(d["index"]) for d in interpreter.get_output_details()], {}
    while waiting:
        operator = maker.get(waiting.pop())
        if operator is not None and operator["index"] not in used:
            used[operator["index"]] = operator["op_name"]
            waiting += [int(i) for i in operator["inputs"] if i >= 0]
    return [kind for kind in used.values() if kind != "DELEGATE"]


def counted(kinds: Iterable[str]) -> str:
    """Each kind once, with its number: "3: RELU 2, TILE"."""
    counts = Counter(kinds)
    each = ", ".join(f"{kind} {n}" if n > 1 else kind for kind, n in sorted(counts.items()))
    return f"{counts.total()}: {each}" if counts else "none"


_HEAD = """# Families of networks

Written by `python tools/families.py --output=docs/families.md` with TensorFlow {tensorflow}, Keras {keras}. A row by
itself: `python tools/families.py --only=MobileNetV2`.

Weights are random, since none are downloaded: kernels from the family's own initialisers, random gammas, betas and
biases, running statistics of a pass over smooth random images. The table says what is converted, how, and whether the
file computes what the model does; it says nothing of accuracy on a task, for which see [accuracy.md](accuracy.md).

- *float*: operators that stay float; *left*: operators that XNNPACK leaves to slower kernels, QUANTIZE and DEQUANTIZE
  at float operators among them; *warned*: what the conversion warned of.
- *dB*: signal-to-noise ratio against the float model at the output before the softmax, over {images} images; in
  brackets with the mean over the images taken off the signal, which random networks have much of.
- *rounded*: the same of the Keras model with every kernel and layer output rounded to 8 bits, whose ranges are those of
  the very images: what int8 keeps of a network that is as sensitive as random ones of this depth are.
- *seconds*: of `spiq_tf.quantize` in a fresh process, on two cores that others use too: they compare rows, no more;
  *size*: of the file relative to 4 bytes a parameter.

"""
_COLUMNS = ("family", "input", "float", "left", "warned", "dB", "rounded", "seconds", "size")


def document(rows: Mapping[str, Row]) -> str:
    """The Markdown text: what was measured, and the table."""
    versions = {"tensorflow": _version("tensorflow"), "keras": keras.__version__}
    lines = [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    for name, row in rows.items():
        if row.error is not None:
            cells: list[str] = [name, row.size, f"not converted: {row.error.replace('|', '/')}", "", "", "", "", ""]
        else:
            numbers = f"{row.seconds:.1f}", f"{row.share:.2f}"
            texts = row.float_operators, row.left, row.warned, row.sqnr, row.simulated
            cells = [name, row.size, *texts, *numbers]
        lines.append(f"| {' | '.join(cells)} |")
    return _HEAD.format(images=FLAGS.images, **versions) + "\n".join(lines) + "\n"


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


if __name__ == "__main__":
    app.run(main)

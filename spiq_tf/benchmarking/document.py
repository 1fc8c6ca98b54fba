"""The Markdown document of a benchmark: what was measured, on what, and the tables."""

from collections.abc import Sequence
from importlib.metadata import version

from spiq_tf.benchmarking.speed import NetworkSpeed
from spiq_tf.benchmarking.table import as_markdown, tables
from spiq_tf.benchmarking.timing import RUNS_IN_A_TURN
from spiq_tf.version import VERSION

_HEAD = """# Speed

Written by `{command}`
with spiq_tf {spiq_tf}, TensorFlow {tensorflow}, Keras {keras} and LiteRT {litert} on {cores} cores of
{processor}.

- *float*: TFLiteConverter's float32 file; *TFLiteConverter*: its full-integer int8 file, calibrated on random inputs;
  *spiq_tf*: the file of `spiq_tf.convert(model, target="{target}")`. All three have a static batch of 1.
- *Milliseconds* of one inference: the best of {rounds} rounds, in which the files take turns in one process,
  {runs} inferences each. On one thread it is that thread's processor time, which other programs do not lengthen; on
  several it is the time that passes, which needs an idle machine. A ratio below 1 says that spiq_tf's file is faster.
- *Pieces*: parts of the file that XNNPACK, LiteRT's delegate for CPUs, runs one after the other; the operators outside
  them run in LiteRT's own kernels, which are slower. One piece with nothing outside is the best.
- Networks of keras.applications have random weights, on which speed does not depend, and their own size, unless another
  follows their name, as in Xception@160.

"""


def document(
    networks: Sequence[NetworkSpeed], *, command: str, target: str, rounds: int, machine: tuple[str, int]
) -> str:
    """The Markdown text.

    Args:
        networks: what was measured.
        command: that measured it.
        target: of our files.
        rounds: turns of each file.
        machine: its processor and the number of cores.
    """
    processor, cores = machine
    versions = {"tensorflow": version("tensorflow"), "keras": version("keras"), "litert": version("ai-edge-litert")}
    head = _HEAD.format(
        command=command,
        spiq_tf=VERSION,
        processor=processor,
        cores=cores,
        target=target,
        rounds=rounds,
        runs=RUNS_IN_A_TURN,
        **versions,
    )
    return head + "\n".join(map(as_markdown, tables(networks)))

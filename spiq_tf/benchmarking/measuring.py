"""Times a model's three files in turns, in this process."""

from dataclasses import replace
from typing import Any

from spiq_tf.benchmarking.executed_parts import executed_parts
from spiq_tf.benchmarking.files import Failure, NetworkFiles, files_of
from spiq_tf.benchmarking.runnable import runnable
from spiq_tf.benchmarking.speed import FileSpeed, NetworkSpeed, Settings
from spiq_tf.benchmarking.timing import best_in_turns, clock_for
from spiq_tf.errors import short_reason


def measured(name: str, model: Any, settings: Settings) -> NetworkSpeed:
    """Converts a model in three ways, and times what runs.

    Raises:
        SpiqError: the model is none that can be converted, see `files_of`.
    """
    network = files_of(model, settings.input_range, settings.target)
    return NetworkSpeed(
        name=name,
        shape=", ".join(" x ".join(map(str, shape)) for shape in network.shapes),
        threads=settings.threads,
        files=speeds_of(network, settings),
    )


def speeds_of(network: NetworkFiles, settings: Settings) -> dict[str, FileSpeed]:
    """Of each file its speed, or why it has none; only the threads and rounds of the settings count."""
    described = {kind: _described(file, network.input_range) for kind, file in network.files.items()}
    running = {k: f for k, f in network.files.items() if isinstance(f, bytes) and described[k].error is None}
    times = {kind: list[float]() for kind in running}
    for threads in settings.threads:
        functions = [runnable(content, network.input_range, threads) for content in running.values()]
        best = best_in_turns(functions, settings.rounds, clock_for(threads))
        for kind, seconds in zip(running, best, strict=True):
            times[kind].append(1e3 * seconds)
    return {kind: replace(speed, milliseconds=tuple(times.get(kind, ()))) for kind, speed in described.items()}


def _described(file: bytes | Failure, input_range: tuple[float, float]) -> FileSpeed:
    """All but the times; the file is run once, since LiteRT may refuse it then alone."""
    if isinstance(file, Failure):
        return FileSpeed(error=file.reason)
    try:
        runnable(file, input_range, threads=1)()
        parts = executed_parts(file)
    except (RuntimeError, ValueError) as error:
        return FileSpeed(error=f"LiteRT cannot run it: {short_reason(error)}")
    return FileSpeed(pieces=parts.pieces, outside=parts.outside, kib=len(file) / 1024)

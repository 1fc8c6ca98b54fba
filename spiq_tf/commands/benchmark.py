"""Times models as float and int8 TFLite files on this machine: TFLiteConverter's files and ours.

spiq-tf benchmark MODEL.keras [--input_range=-1,1]
spiq-tf benchmark MobileNetV3Small Xception@160
spiq-tf benchmark --all --output=SPEED.md

A model is a file, a SavedModel folder, or the name of a network of keras.applications, with random weights, at its own
size or, as in Xception@160, at that of a square image. For each, in turns in one process, with one thread and with as
many as there are cores:

float            ms of TFLiteConverter's float32 file
TFLiteConverter  ms of its full-integer int8 file, calibrated on random inputs
spiq_tf          ms of our int8 file, and its ratios to both

On one thread these are processor time, which other programs do not lengthen; on several they need an idle machine. A
last table shows how many pieces of each file XNNPACK runs, and which operators stay outside.

The exit code is 0 if every file could be made and timed, 1 if one could not, 2 if the arguments are wrong, 130 or 143
after SIGINT or SIGTERM.
"""

import contextlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from absl import app, flags
from rich.console import Console

from spiq_tf.benchmarking.document import document
from spiq_tf.benchmarking.networks import FAMILIES, INPUT_RANGES
from spiq_tf.benchmarking.speed import FLOAT, OURS, TENSORFLOW, NetworkSpeed, Settings
from spiq_tf.benchmarking.table import as_text, tables
from spiq_tf.commands import worker_pool
from spiq_tf.commands.benchmark_one import Job, benchmark_job
from spiq_tf.commands.command import Command, error_of_file
from spiq_tf.commands.conversion_flags import define_input_range, input_range
from spiq_tf.commands.interrupts import Interrupted, interrupts_as_exceptions
from spiq_tf.commands.machine import cores, processor
from spiq_tf.commands.summary import WIDTH
from spiq_tf.commands.worker_process import WorkerFailure
from spiq_tf.errors import InvalidArgumentError, SpiqError
from spiq_tf.files import write_atomically
from spiq_tf.targets import TARGETS

_NETWORK = re.compile(r"(\w+?)(?:@(\d+))?")
_FLAGS_OF_THE_TABLE = ("all", "input_range", "target", "rounds", "output")


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the command."""
    define_input_range(values)
    flags.DEFINE_bool(
        "all", False, f"One network of each family of keras.applications: {', '.join(FAMILIES)}.", flag_values=values
    )
    flags.DEFINE_enum("target", "portable", list(TARGETS), "What our files are made for.", flag_values=values)
    flags.DEFINE_integer("rounds", 20, "Turns of each file.", flag_values=values, lower_bound=1)
    flags.DEFINE_string("output", None, "Writes the tables to this file, as Markdown.", flag_values=values)
    flags.DEFINE_string("json", None, "Writes all results to this file.", flag_values=values)
    flags.DEFINE_bool(
        "trust_code_in_files",
        False,
        "Loads models that carry code (Lambda layers): they can do anything.",
        flag_values=values,
    )


def run(arguments: Sequence[str], options: flags.FlagValues) -> int:
    """Measures each network in a process of its own, and prints the tables; returns the exit code."""
    try:
        jobs = _jobs(arguments, options)
        _check_folders(options)
        with interrupts_as_exceptions():
            return _run(jobs, arguments, options)
    except Interrupted as interrupted:
        print(f"interrupted by {interrupted}", file=sys.stderr)
        return interrupted.exit_code
    except SpiqError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(jobs: Sequence[Job], arguments: Sequence[str], options: flags.FlagValues) -> int:
    networks = list[NetworkSpeed]()
    measured = worker_pool.run(benchmark_job, jobs, workers=1, memory=0)  # each in a fresh process
    try:
        with contextlib.closing(measured):
            for job, result in measured:
                networks.append(_failure(job, result) if isinstance(result, WorkerFailure) else result)
                _print_progress(networks[-1], f"{len(networks)} of {len(jobs)}")
                _write(networks, arguments, options)
    finally:
        _print_tables(networks)
    return int(any(network.errors for network in networks))


def _failure(job: Job, failure: WorkerFailure) -> NetworkSpeed:
    return NetworkSpeed(name=job.name, error=f"the process that measured it {failure.reason}")


def _print_tables(networks: Sequence[NetworkSpeed]) -> None:
    if networks:
        console = Console(width=None if sys.stdout.isatty() else WIDTH)
        console.print(*map(as_text, tables(networks)), sep="\n")


def _print_progress(network: NetworkSpeed, count: str) -> None:
    """A line on a network that is done, with its ratios on one thread."""
    ratios = ((kind, network.ratio(kind, threads=1)) for kind in (TENSORFLOW, FLOAT))
    text = ", ".join(f"{OURS} / {kind} {ratio:.2f}" for kind, ratio in ratios if ratio is not None)
    print(f"{count}: {network.name}: {text or 'FAILED'}", file=sys.stderr, flush=True)
    for error in network.errors:
        print(f"failed: {error_of_file(network.name, error)}", file=sys.stderr, flush=True)


def _write(networks: Sequence[NetworkSpeed], arguments: Sequence[str], options: flags.FlagValues) -> None:
    """Writes what is known so far."""
    if options.output:
        given = [options[name].serialize() for name in _FLAGS_OF_THE_TABLE if options[name].present]
        text = document(
            networks,
            command=" ".join(["spiq-tf benchmark", *given, *arguments]),
            target=options.target,
            rounds=options.rounds,
            machine=(processor(), cores()),
        )
        write_atomically(options.output, text.encode())
    if options.json:
        write_atomically(options.json, json.dumps([asdict(network) for network in networks], indent=1).encode())


def _check_folders(options: flags.FlagValues) -> None:
    """Before minutes are spent on what could not be written."""
    for path in filter(None, (options.output, options.json)):
        if not Path(path).parent.is_dir():
            raise InvalidArgumentError(f"cannot write {path}: no such folder ({Path(path).parent})")


def _jobs(arguments: Sequence[str], options: flags.FlagValues) -> list[Job]:
    if options.all and arguments:
        raise app.UsageError("pass networks or --all, not both")
    if not options.all and not arguments:
        raise app.UsageError("expected model files, names of networks of keras.applications, or --all")
    return [_job(name, options) for name in dict.fromkeys(FAMILIES if options.all else arguments)]


def _job(name: str, options: flags.FlagValues) -> Job:
    given = input_range(options)
    application, side = (None, None) if Path(name).exists() else _application(name)
    if application is not None and given is None:
        given = INPUT_RANGES[application]
    settings = Settings(
        input_range=given, target=options.target, rounds=options.rounds, threads=tuple(sorted({1, cores()}))
    )
    return Job(name=name, application=application, side=side, settings=settings, trust_code=options.trust_code_in_files)


def _application(name: str) -> tuple[str, int | None]:
    """The name of a network of keras.applications, and the side of its image where one is given."""
    match = _NETWORK.fullmatch(name)
    if match is None or match[1] not in INPUT_RANGES:
        raise app.UsageError(
            f"{name!r} is no file, and no network of keras.applications, which are {', '.join(INPUT_RANGES)}; a size is"
            " given as in Xception@160"
        )
    return match[1], int(match[2]) if match[2] else None


COMMAND = Command(name="spiq-tf benchmark", description=__doc__, define_flags=define_flags, run=run)

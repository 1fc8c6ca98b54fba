"""The files that a commit's spiq_tf makes of the compared cases, and their cache."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from convert_cases import PROCESS_DIED, Converted, read_record, write_record

MODEL_SOURCES = (
    "tests/layer_table.py",
    "tests/networks.py",
    "tests/random_blocks.py",
    "tests/random_networks.py",
    "tools/convert_cases.py",
    "tools/networks_to_compare.py",
)
"""Sources of the models: with other versions of them the files are of other models."""


class RevisionError(Exception):
    """A commit cannot be read."""


class ConversionError(Exception):
    """A commit's package converts nothing."""


@dataclass(frozen=True)
class Source:
    """Where a commit's package is.

    Attributes:
        path: the folder that holds spiq_tf.
        tree: git's hash of the package; None for one that has changes that are not committed.
    """

    path: Path
    tree: str | None


def source_of(checkout: Path, revision: str | None, scratch: Path) -> Source:
    """The package of a commit, extracted into a folder, or that of the checkout as it is if no commit is named."""
    if revision is None:
        dirty = _git(checkout, "status", "--porcelain", "--", "spiq_tf").strip()
        return Source(checkout, None if dirty else _tree(checkout, "HEAD"))
    tree = _tree(checkout, revision)
    scratch.mkdir(parents=True)
    archive = scratch / "spiq_tf.tar"
    _git(checkout, "archive", f"--output={archive}", revision, "spiq_tf")
    subprocess.run(["tar", "-x", "-f", archive, "-C", scratch], check=True)
    return Source(scratch, tree)


def cache_folder(checkout: Path, cache: Path, tree: str) -> Path:
    """The cache of a package's files: a folder for each package, environment and version of the models."""
    return cache / f"{tree[:16]}-{_environment(checkout)[:16]}"


def convert_missing(source: Path, folder: Path, names: Sequence[str], targets: Sequence[str], workers: int) -> None:
    """Makes the records that the folder lacks, in as many processes as `workers`."""
    missing = [name for name in names if any(_is_missing(folder, name, target) for target in targets)]
    shards = [missing[k::workers] for k in range(min(workers, len(missing)))]
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(lambda shard: _convert(source, folder, shard, targets), shards):
            pass


def _is_missing(folder: Path, name: str, target: str) -> bool:
    record = read_record(folder, name, target)
    return record is None or record.error == PROCESS_DIED


def _convert(source: Path, folder: Path, names: Sequence[str], targets: Sequence[str]) -> None:
    """One process after the other until all cases have a record: one that dies costs its current case."""
    left, any_done = list(names), False
    while left:
        done, errors = _start(source, folder, left, targets)
        any_done |= bool(done)
        left = left[len(done) :]
        if left and not any_done:
            raise ConversionError(f"{source}: no case can be converted\n{errors}")
        for target in targets if left else ():
            write_record(folder, left[0], target, Converted(None, PROCESS_DIED, ""))
        left = left[1:]


def _start(source: Path, folder: Path, names: Sequence[str], targets: Sequence[str]) -> tuple[list[str], str]:
    """The cases that a process has converted when it ends, and its standard error."""
    tools = Path(__file__).resolve().parent
    order = json.dumps({"cases": list(names), "targets": list(targets), "folder": str(folder)})
    process = subprocess.run(
        [sys.executable, str(tools / "convert_cases.py")],
        input=order,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(source), str(tools.parent)])},
    )
    return process.stdout.split(), process.stderr


def _environment(checkout: Path) -> str:
    """A digest of what conversions depend on beside the commit."""
    packages = sorted(f"{d.name}=={d.version}" for d in importlib.metadata.distributions())
    sources = [hashlib.sha256((checkout / name).read_bytes()).hexdigest() for name in MODEL_SOURCES]
    variables = sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith(("TF_", "XLA_", "OMP_")))
    parts = [sys.version, platform.machine(), _processor(), str(os.cpu_count()), *packages, *sources, *variables]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _processor() -> str:
    """The instruction set, which the last bits of floats depend on."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _tree(checkout: Path, revision: str) -> str:
    return _git(checkout, "rev-parse", f"{revision}:spiq_tf").strip()


def _git(checkout: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RevisionError(done.stderr.strip())
    return done.stdout

"""Compares what the .tflite files of two commits compute, made on one machine in one environment.

python tools/compare_commits.py BASE [HEAD] [--quick] [--only=REGEX] [--targets=portable,edgetpu]

Without HEAD, BASE is compared with this checkout, uncommitted changes included. The files are those of every row of the
layer table, every small network and some random ones, for each target. A pure refactoring changes none of them. Each
file that differs is a row of the printed table, with the first difference and the dB against the float model before and
after, for the commit's message. The exit code is 1 if any differ, 2 if there is nothing to compare.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import commit_files
from absl import app, flags, logging
from convert_cases import PROCESS_DIED, Converted, read_record
from file_difference import difference

from spiq_tf.commands.command import Command

CHECKOUT = Path(__file__).resolve().parents[1]
TARGETS = ["portable", "xnnpack", "edgetpu", "ethos-u", "tflite-micro"]


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the tool."""
    flags.DEFINE_list("targets", TARGETS, "Targets to convert for.", flag_values=values)
    flags.DEFINE_boolean("quick", False, "The portable target alone.", flag_values=values)
    flags.DEFINE_string(
        "only",
        "",
        "A regular expression: the cases whose names it matches (layer/conv, network/residual).",
        flag_values=values,
    )
    flags.DEFINE_integer("workers", 2, "Processes that convert at a time.", flag_values=values, lower_bound=1)
    flags.DEFINE_string(
        "cache_dir",
        str(CHECKOUT / ".cache" / "commits"),
        "Folder in which the files of commits are cached.",
        flag_values=values,
    )
    flags.DEFINE_boolean("measure", True, "Measure dB against the float model where files differ.", flag_values=values)


def run(arguments: Sequence[str], options: flags.FlagValues) -> int:
    """Prints what differs; returns the exit code."""
    if len(arguments) not in (1, 2):
        raise app.UsageError("expected one or two commits")
    logging.set_verbosity(logging.ERROR)
    targets = ["portable"] if options.quick else options.targets
    names, cache = _case_names(options.only), Path(options.cache_dir)
    revisions = {"before": arguments[0], "after": arguments[1] if len(arguments) == 2 else None}
    with tempfile.TemporaryDirectory() as scratch:
        try:
            before, after = (
                _convert_revision(revision, Path(scratch) / side, cache, names, targets, options.workers)
                for side, revision in revisions.items()
            )
        except (commit_files.RevisionError, commit_files.ConversionError) as error:
            raise app.UsageError(str(error)) from None
        return compare_records(before, after, names, targets, options.measure)


def _case_names(pattern: str) -> list[str]:
    import networks_to_compare

    names = [name for name in networks_to_compare.cases() if re.search(pattern, name)]
    if not names:
        raise app.UsageError(f"--only: no case matches {pattern!r}")
    return names


def _convert_revision(
    revision: str | None, scratch: Path, cache: Path, names: Sequence[str], targets: Sequence[str], workers: int
) -> Path:
    """The folder of a commit's records; those that it lacks are made."""
    source = commit_files.source_of(CHECKOUT, revision, scratch / "source")
    folder = scratch / "files"
    if source.tree is not None:
        folder = commit_files.cache_folder(CHECKOUT, cache, source.tree)
    commit_files.convert_missing(source.path, folder, names, targets, workers)
    return folder


def compare_records(
    before: Path, after: Path, names: Sequence[str], targets: Sequence[str], measure: bool = True
) -> int:
    """Prints a row for each file that differs, then a summary; returns the exit code.

    Args:
        before: folder of the records of one commit.
        after: of the other.
        names: of the cases.
        targets: that each was converted for.
        measure: whether dB against the float model are measured where files differ.
    """
    different, errors, decibels = 0, 0, []
    for name in names:
        for target in targets:
            one, other = read_record(before, name, target), read_record(after, name, target)
            assert one is not None
            assert other is not None
            errors += one.error is not None and one.error == other.error
            what = _difference(one, other)
            if what is None:
                continue
            if not different:
                print("| case | target | what differs first | dB before | dB after |\n|---|---|---|---|---|")
            pair = _measured(name, one, other) if measure else (None, None)
            decibels.append(pair)
            row = [name, target, what.replace("|", "\\|"), *("" if v is None else f"{v:.2f}" for v in pair)]
            print(f"| {' | '.join(row)} |", flush=True)
            different += 1
    _summarize(len(names) * len(targets), different, errors, decibels)
    return 1 if different else 0


def _summarize(count: int, different: int, errors: int, decibels: list[tuple[float | None, float | None]]) -> None:
    both = [(a, b) for a, b in decibels if a is not None and b is not None]
    if both:
        before, after = (sum(values) / len(both) for values in zip(*both, strict=True))
        print(f"\nmean of {len(both)} files: {before:.2f} dB before, {after:.2f} dB after")
    same_error = f"; {errors} of them are refused with one error by both" if errors else ""
    if different:
        print(f"{different} of {count} files differ, {count - different} are equal{same_error}")
    else:
        print(f"equal: {count} files{same_error}")


def _difference(one: Converted, other: Converted) -> str | None:
    if PROCESS_DIED in (one.error, other.error):
        return PROCESS_DIED
    if one.content is None or other.content is None:
        texts = [(x.error or "a file").replace("\n", " ") for x in (one, other)]
        return None if texts[0] == texts[1] else f"{texts[0]}, then {texts[1]}"
    if one.weights != other.weights:
        return "the float models have other weights: nothing can be compared"
    return difference(one.content, other.content)


def _measured(name: str, one: Converted, other: Converted) -> tuple[float | None, float | None]:
    import decibels
    import networks_to_compare

    model = networks_to_compare.build_fresh(networks_to_compare.cases()[name])
    before, after = (None if x.content is None else decibels.of_file(x.content, model) for x in (one, other))
    return before, after


if __name__ == "__main__":
    sys.path.insert(1, str(CHECKOUT))  # for the tests' networks
    command = Command(name="compare_commits.py", description=__doc__, define_flags=define_flags, run=run)
    sys.exit(command.main(sys.argv[1:]))

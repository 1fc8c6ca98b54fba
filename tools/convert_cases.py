"""Converts cases with the first spiq_tf on the path; `compare_commits` starts it for each commit.

Standard input holds a JSON object: the names of the cases, the targets, and the folder for the results. Each result
is a record in that folder, `CASE/TARGET.json`; `read_record` reads it. Each case's name is printed when it is done.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hashlib
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORD = "{}.json"

PROCESS_DIED = "the process died"
"""The error of a case that a process did not survive: not a result of the commit, memory may have run out."""


@dataclass(frozen=True)
class Converted:
    """The result of a conversion: a file, or an error.

    Attributes:
        content: of the .tflite file; None where there was an error.
        error: its type and text; None where there was none.
        weights: a digest of the float model's weights: files of different models cannot be compared.
    """

    content: bytes | None
    error: str | None
    weights: str


def read_record(folder: Path, case: str, target: str) -> Converted | None:
    """The record of a conversion, or None where there is none."""
    path = folder / case / RECORD.format(target)
    if not path.is_file():
        return None
    record = json.loads(path.read_text())
    content = None if record["file"] is None else (folder / "files" / record["file"]).read_bytes()
    return Converted(content, record["error"], record["weights"])


def write_record(folder: Path, case: str, target: str, converted: Converted) -> None:
    """Writes the record, whole or not at all; equal files are stored once."""
    name = None
    if converted.content is not None:
        name = hashlib.sha256(converted.content).hexdigest()
        _write(folder / "files" / name, converted.content)
    record = {"file": name, "error": converted.error, "weights": converted.weights}
    _write(folder / case / RECORD.format(target), json.dumps(record).encode())


def main() -> None:
    """Converts the cases that standard input names."""
    order = json.load(sys.stdin)
    import networks_to_compare

    _check_package()
    all_cases = networks_to_compare.cases()
    for name in order["cases"]:
        case = all_cases[name]
        model = networks_to_compare.build_fresh(case)
        weights = _digest(model)
        for target in order["targets"]:
            converted = _converted(model, {**case.options, "target": target}, weights)
            write_record(Path(order["folder"]), name, target, converted)
        print(name, flush=True)


def _check_package() -> None:
    """Fails where an installed package would be used instead of that of the commit."""
    import spiq_tf

    source = Path(os.environ["PYTHONPATH"].split(os.pathsep)[0])
    if Path(str(spiq_tf.__file__)).resolve().parents[1] != source.resolve():
        raise SystemExit(f"spiq_tf: expected in {source}, found {spiq_tf.__file__}")


def _converted(model: Any, options: dict[str, Any], weights: str) -> Converted:
    import keras

    import spiq_tf

    keras.utils.set_random_seed(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = spiq_tf.convert(model, input_range=(-1.0, 1.0), **options)
    except Exception as error:
        return Converted(None, f"{type(error).__name__}: {error}", weights)
    return Converted(content, None, weights)


def _digest(model: Any) -> str:
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(f"{weight.dtype}{weight.shape}".encode() + weight.tobytes())
    return digest.hexdigest()


def _write(path: Path, content: Sequence[int] | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(bytes(content))
    part.replace(path)


if __name__ == "__main__":
    main()

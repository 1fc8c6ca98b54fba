"""Runs the finished file on a few made-up inputs, to notice an output that cannot vary."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spiq_tf.distributions.values import InputStatistics
from spiq_tf.errors import DegenerateOutputWarning, warn_user
from spiq_tf.tflite.interpreter import Interpreter

_PROBES = 8
_CELLS = (1, 2, 4, 8)  # sides of the squares that a probe is made of, from pixel noise to coarse shapes
_STEP = 1 / 255  # what varies by less than this share of its size cannot be expected to show in int8
_OTHERS = 2  # so many probes must have another class in the float model, where the file knows one


def warn_if_degenerate(
    converted: tuple[bytes, Sequence[InputStatistics]],
    exact: tuple[bytes, Sequence[InputStatistics]],
    shapes: Sequence[tuple[int, ...]],
    names: Sequence[str],
) -> None:
    """Warns of each output that is the same for all probes, or whose largest entry is.

    Args:
        converted: the finished file, and what is known of its inputs; probes keep to their ranges.
        exact: the float file, and the same; run only where the other looks degenerate.
        shapes: of the inputs.
        names: of the outputs.
    """
    found = _outputs(*converted, shapes)
    if not any(_is_constant(y) or _is_one_class(y) for y in found):
        return
    for name, expected, y in zip(names, _outputs(*exact, shapes), found, strict=True):
        problem = degenerate_output(name, expected, y)
        if problem is not None:
            warn_user(problem, DegenerateOutputWarning)


def is_constant_by_design(expected: npt.NDArray[np.float32]) -> bool:
    """Whether the float model's output hardly varies itself."""
    return bool(np.ptp(expected, axis=0).max() <= _STEP * np.abs(expected).max())


def degenerate_output(name: str, expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> str | None:
    """What is wrong with an output that cannot vary, in words.

    Args:
        name: of the output.
        expected: the float model's values, of shape (examples, ...).
        found: the converted file's, likewise.
    """
    if _is_constant(found):
        cause = (
            "the float model's hardly varies either" if is_constant_by_design(expected) else "the float model's is not"
        )
        return f"output {name!r} of the converted file is the same for every input tried; {cause}"
    if _is_one_class(found) and _naming_others(expected) >= _OTHERS:
        return f"output {name!r} of the converted file always names one class; the float model names several"
    return None


def _is_constant(y: npt.NDArray[np.float32]) -> bool:
    return bool(np.all(y == y[0]))


def _is_one_class(y: npt.NDArray[np.float32]) -> bool:
    return len(np.unique(_winners(y))) == 1


def _naming_others(y: npt.NDArray[np.float32]) -> int:
    """How many examples name another class than the most usual one, at any position."""
    winners = _winners(y)
    return int(np.any(winners != np.bincount(winners.ravel()).argmax(), axis=1).sum())


def _outputs(
    content: bytes, inputs: Sequence[InputStatistics], shapes: Sequence[tuple[int, ...]]
) -> list[npt.NDArray[np.float32]]:
    """Outputs for all probes, each of shape (probes, ...)."""
    probes = [
        [_probe(*each, place, seed) for place, each in enumerate(zip(inputs, shapes, strict=True))]
        for seed in range(_PROBES)
    ]
    interpreter = Interpreter(content)
    return [np.stack(values) for values in zip(*(interpreter.run(probe) for probe in probes), strict=True)]


def _winners(y: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """The class of each position, (examples, positions)."""
    return y.reshape(len(y), -1, y.shape[-1]).argmax(axis=-1)


def _probe(x: InputStatistics, shape: tuple[int, ...], place: int, seed: int) -> npt.NDArray[np.float64]:
    """Squares of random values in the range of an input, of its own; fixed by the seed."""
    cell = _CELLS[seed % len(_CELLS)]
    coarse = tuple(-(-n // cell) for n in shape[1:-1])
    value = np.random.default_rng((seed, place)).uniform(size=(shape[0], *coarse, *shape[-1:]))
    for axis in range(1, len(shape) - 1):
        value = np.repeat(value, cell, axis=axis).take(np.arange(shape[axis]), axis=axis)
    return x.range.low + (x.range.high - x.range.low) * value.reshape(shape)

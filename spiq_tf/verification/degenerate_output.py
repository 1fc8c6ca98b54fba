"""Runs the finished file on a few random inputs, to notice an output that cannot vary."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spiq_tf.distributions.values import InputStatistics
from spiq_tf.errors import DegenerateOutputWarning, warn_user
from spiq_tf.quantization.bit_width import INT8
from spiq_tf.tflite.interpreter import Interpreter

_NUM_PROBES = 8
_CELL_SIDES = (1, 2, 4, 8)  # side lengths in pixels of a probe's constant squares, from pixel noise to coarse shapes
_LEAST_VARIATION = 1 / INT8.levels  # relative to the largest magnitude: less cannot be expected to show in int8
_FEWEST_OTHER_CLASS = 2  # probes that must have another class in the float model, where the file has only one


def warn_if_degenerate(
    converted: tuple[bytes, Sequence[InputStatistics]],
    float_file: tuple[bytes, Sequence[InputStatistics]],
    shapes: Sequence[tuple[int, ...]],
    names: Sequence[str],
) -> None:
    """Warns of each output that is the same for all probes, or whose largest entry is.

    Args:
        converted: the finished file, and what is known of its inputs; probes keep to their ranges.
        float_file: the float file, and the same; run only where the other looks degenerate.
        shapes: of the inputs.
        names: of the outputs.
    """
    outputs = _outputs(*converted, shapes)
    if not any(_is_constant(y) or _is_single_class(y) for y in outputs):
        return
    for name, expected, y in zip(names, _outputs(*float_file, shapes), outputs, strict=True):
        problem = degenerate_output(name, expected, y)
        if problem is not None:
            warn_user(problem, DegenerateOutputWarning)


def is_constant_by_design(expected: npt.NDArray[np.float32]) -> bool:
    """Whether the float model's output hardly varies itself."""
    return bool(np.ptp(expected, axis=0).max() <= _LEAST_VARIATION * np.abs(expected).max())


def degenerate_output(name: str, expected: npt.NDArray[np.float32], outputs: npt.NDArray[np.float32]) -> str | None:
    """What is wrong with an output that cannot vary, in words.

    Args:
        name: of the output.
        expected: the float model's values, of shape (examples, ...).
        outputs: the converted file's, likewise.
    """
    if _is_constant(outputs):
        cause = (
            "the float model's hardly varies either" if is_constant_by_design(expected) else "the float model's is not"
        )
        return f"output {name!r} of the converted file is the same for every input tried; {cause}"
    if _is_single_class(outputs) and _num_other_classes(expected) >= _FEWEST_OTHER_CLASS:
        return f"output {name!r} of the converted file always names one class; the float model names several"
    return None


def _is_constant(y: npt.NDArray[np.float32]) -> bool:
    return bool(np.all(y == y[0]))


def _is_single_class(y: npt.NDArray[np.float32]) -> bool:
    return len(np.unique(_argmax(y))) == 1


def _num_other_classes(y: npt.NDArray[np.float32]) -> int:
    """How many examples name another class than the most usual one, at any position."""
    classes = _argmax(y)
    return int(np.any(classes != np.bincount(classes.ravel()).argmax(), axis=1).sum())


def _outputs(
    content: bytes, inputs: Sequence[InputStatistics], shapes: Sequence[tuple[int, ...]]
) -> list[npt.NDArray[np.float32]]:
    """Outputs for all probes, each of shape (probes, ...)."""
    probes = [
        [_probe(*each, index, seed) for index, each in enumerate(zip(inputs, shapes, strict=True))]
        for seed in range(_NUM_PROBES)
    ]
    interpreter = Interpreter(content)
    return [np.stack(values) for values in zip(*(interpreter.run(probe) for probe in probes), strict=True)]


def _argmax(y: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """The class of each position, (examples, positions)."""
    return y.reshape(len(y), -1, y.shape[-1]).argmax(axis=-1)


def _probe(x: InputStatistics, shape: tuple[int, ...], index: int, seed: int) -> npt.NDArray[np.float64]:
    """Squares of random values in the range of an input, of its own; fixed by the seed."""
    cell = _CELL_SIDES[seed % len(_CELL_SIDES)]
    coarse = tuple(-(-n // cell) for n in shape[1:-1])
    value = np.random.default_rng((seed, index)).uniform(size=(shape[0], *coarse, *shape[-1:]))
    for axis in range(1, len(shape) - 1):
        value = np.repeat(value, cell, axis=axis).take(np.arange(shape[axis]), axis=axis)
    return x.range.low + (x.range.high - x.range.low) * value.reshape(shape)

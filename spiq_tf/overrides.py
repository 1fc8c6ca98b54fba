"""What the user says of single layers: the ranges of their outputs, and which of them stay float."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from spiq_tf.distributions.values import ChannelRanges, Source
from spiq_tf.errors import InvalidArgumentError
from spiq_tf.graph.layer_graph import Call, LayerGraph, Tensor

_COUNTER = re.compile(r":call\d+$")


def given_ranges(graph: LayerGraph, given: Mapping[str, tuple[float, float]]) -> dict[str, ChannelRanges]:
    """The ranges that the user gives to layers' outputs, by tensor name, the same for all channels.

    Raises:
        InvalidArgumentError: a layer does not exist, more than one has the name, or its output has no range of its own
            in the file.
    """
    result = {}
    for name, (low, high) in given.items():
        tensor = _output(graph, name)
        ones = np.ones(tensor.channels)
        result[tensor.name] = ChannelRanges(low * ones, high * ones, Source.GIVEN)
    return result


def _output(graph: LayerGraph, name: str) -> Tensor:
    """The tensor that a layer of the given name makes."""
    if name in (t.name for t in graph.inputs):
        raise InvalidArgumentError(f"ranges: {name!r} is an input of the model; give its range as input_range")
    made = {t.name: t for call in graph.calls for t in call.outputs}
    found = [made[name]] if name in made else [t for call in _named(graph, name) for t in call.outputs]
    found = found or _leaving(graph, f"{name}/")
    if not found:
        raise InvalidArgumentError(f"ranges: the model has no layer {name!r}{_alternatives(graph, name)}")
    if len(found) > 1:
        names = ", ".join(t.name for t in found)
        raise InvalidArgumentError(f"ranges: {name!r} stands for several tensors; give one of {names}")
    if found[0].name in graph.fused:
        held = graph.materialized_for(found[0]).name
        raise InvalidArgumentError(
            f"ranges: the file does not hold the output of layer {name!r}, which is computed together with that of"
            f" layer {held!r}; give the range of {held!r}"
        )
    return found[0]


def _leaving(graph: LayerGraph, prefix: str) -> list[Tensor]:
    """What comes out of a nested model, or of a layer that was read as several: made inside and read outside."""
    inside = [call for call in graph.calls if call.name.startswith(prefix)]
    made = [t for call in inside for t in call.outputs]
    outside = {t.name for n in graph.nodes if not n.call.name.startswith(prefix) for t in n.inputs}
    return [t for t in made if t.name in outside or t in graph.outputs]


def check_held(given: Mapping[str, tuple[float, float]], held: Collection[str], graph: LayerGraph) -> None:
    """Makes sure that the file holds every tensor whose range is given, so that none goes unheeded.

    Raises:
        InvalidArgumentError: it does not hold one of them.
    """
    for name in given:
        if _output(graph, name).name not in held:
            raise InvalidArgumentError(
                f"ranges: TensorFlow's converter has joined layer {name!r} with others, so that the file does not hold"
                " its output; give the range of the layer behind it"
            )


def float_calls(graph: LayerGraph, patterns: Sequence[str]) -> frozenset[int]:
    """Indices of the layer calls whose operators stay float: those that match, and those they are computed with.

    Args:
        graph: the model.
        patterns: names of layers as in `TensorInfo.layer` or as in Keras, with the wildcards of a shell.

    Raises:
        InvalidArgumentError: no layer matches a pattern.
    """
    chosen: set[int] = set()
    for pattern in patterns:
        calls = [*_named(graph, pattern), *_inside(graph, pattern)]
        if not calls:
            raise InvalidArgumentError(f"float_layers: no layer matches {pattern!r}{_alternatives(graph, pattern)}")
        names = {graph.materialized_for(t).name for call in calls for t in call.outputs}
        chosen |= {call.index for call in calls} | {graph.producers[name].call.index for name in names}
    return frozenset(chosen)


def _named(graph: LayerGraph, pattern: str) -> list[Call]:
    """The calls whose name matches: the whole path, with or without the counter of a layer called again, or its end."""
    return [call for call in graph.calls if any(fnmatchcase(n, pattern) for n in _names(call))]


def _inside(graph: LayerGraph, pattern: str) -> list[Call]:
    """The calls that belong to a nested model, or to a layer that was read as several, whose name matches."""
    return [call for call in graph.calls if any(fnmatchcase(n, pattern) for n in _owners(call))]


def _owners(call: Call) -> list[str]:
    parts = call.name.split("/")
    return [*("/".join(parts[:k]) for k in range(1, len(parts))), *parts[:-1]]


def _names(call: Call) -> set[str]:
    plain = _COUNTER.sub("", call.name)
    return {call.name, plain, plain.rsplit("/", 1)[-1]}


def _alternatives(graph: LayerGraph, name: str) -> str:
    close = difflib.get_close_matches(name, _all_names(graph.calls), n=3)
    if close:
        return f"; names like it are {', '.join(close)}"
    return (
        "; names are those of the model's layers, nested ones behind their model's (\"encoder/conv1\"); layers that do"
        " nothing at inference have none"
    )


def _all_names(calls: Iterable[Call]) -> list[str]:
    return sorted({name for call in calls for name in _names(call)})

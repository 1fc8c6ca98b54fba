"""The user's choices for single layers: ranges of their outputs, and which stay float."""

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
    """The ranges that the user gives for layers' outputs, in model units, by tensor name; the same for all channels.

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
    """The output tensor of a layer, by the layer's name."""
    if name in (t.name for t in graph.inputs):
        raise InvalidArgumentError(f"ranges: {name!r} is an input of the model; give its range as input_range")
    outputs = {t.name: t for call in graph.calls for t in call.outputs}
    tensors = [outputs[name]] if name in outputs else [t for call in _named(graph, name) for t in call.outputs]
    tensors = tensors or _outputs_of_group(graph, f"{name}/")
    if not tensors:
        raise InvalidArgumentError(f"ranges: the model has no layer {name!r}{_alternatives(graph, name)}")
    if len(tensors) > 1:
        names = ", ".join(t.name for t in tensors)
        raise InvalidArgumentError(f"ranges: {name!r} stands for several tensors; give one of {names}")
    if tensors[0].name in graph.fused:
        materialized = graph.materialized_for(tensors[0]).name
        raise InvalidArgumentError(
            f"ranges: the file does not hold the output of layer {name!r}, which is computed together with that of"
            f" layer {materialized!r}; give the range of {materialized!r}"
        )
    return tensors[0]


def _outputs_of_group(graph: LayerGraph, prefix: str) -> list[Tensor]:
    """Outputs of a nested model, or of a layer that was expanded into several calls: computed inside, read outside."""
    calls = [call for call in graph.calls if call.name.startswith(prefix)]
    outputs = [t for call in calls for t in call.outputs]
    read_elsewhere = {t.name for n in graph.nodes if not n.call.name.startswith(prefix) for t in n.inputs}
    return [t for t in outputs if t.name in read_elsewhere or t in graph.outputs]


def check_materialized(
    given: Mapping[str, tuple[float, float]], materialized: Collection[str], graph: LayerGraph
) -> None:
    """Checks that every tensor whose range is given is materialized, so that no given range is ignored.

    Raises:
        InvalidArgumentError: one of them is not.
    """
    for name in given:
        if _output(graph, name).name not in materialized:
            raise InvalidArgumentError(
                f"ranges: TensorFlow's converter has fused layer {name!r} with others, so that the file does not hold"
                " its output; give the range of the layer after it"
            )


def float_calls(graph: LayerGraph, patterns: Sequence[str]) -> frozenset[int]:
    """Indices of the layer calls whose operators stay float: those that match, and those that they are fused with.

    Args:
        graph: the model.
        patterns: names of layers as in `TensorInfo.layer` or as in Keras, with the wildcards of a shell.

    Raises:
        InvalidArgumentError: no layer matches a pattern.
    """
    indices: set[int] = set()
    for pattern in patterns:
        calls = [*_named(graph, pattern), *_calls_in_group(graph, pattern)]
        if not calls:
            raise InvalidArgumentError(f"float_layers: no layer matches {pattern!r}{_alternatives(graph, pattern)}")
        names = {graph.materialized_for(t).name for call in calls for t in call.outputs}
        indices |= {call.index for call in calls} | {graph.producers[name].call.index for name in names}
    return frozenset(indices)


def _named(graph: LayerGraph, pattern: str) -> list[Call]:
    """The calls whose name matches: the full path, with or without the counter of a repeated call, or its last part."""
    return [call for call in graph.calls if any(fnmatchcase(n, pattern) for n in _names(call))]


def _calls_in_group(graph: LayerGraph, pattern: str) -> list[Call]:
    """The calls of a nested model, or of a layer that was expanded into several calls, whose name matches."""
    return [call for call in graph.calls if any(fnmatchcase(n, pattern) for n in _enclosing_names(call))]


def _enclosing_names(call: Call) -> list[str]:
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
        "; names are those of the model's layers, nested ones after their model's (\"encoder/conv1\"); layers that do"
        " nothing at inference have none"
    )


def _all_names(calls: Iterable[Call]) -> list[str]:
    return sorted({name for call in calls for name in _names(call)})

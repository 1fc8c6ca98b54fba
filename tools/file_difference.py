"""What two TFLite files compute differently, read by the TFLite schema alone.

Compared are operators in their order of execution (kind, version, options), their tensors (type, shape, quantization,
constant values), inputs, outputs and signatures. Not compared are metadata, names of intermediate tensors, the order
of tensors and buffers, and tensors that no operator uses.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_KINDS = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_TYPES = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
_DTYPES = {
    name: np.dtype(name.lower())
    for name in ("FLOAT32", "FLOAT64", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64")
}
"""Of constants that are compared number by number; others byte by byte."""

Fact = tuple[str, Any]
"""A place in the file and its value."""


def difference(before: bytes, after: bytes) -> str | None:
    """The first place where two files differ in what they compute, or None where they do not."""
    if before == after:
        return None
    one, other = (list(facts(content)) for content in (before, after))
    different = [(a, b) for a, b in zip(one, other, strict=False) if a[0] != b[0] or not _equal(a[1], b[1])]
    if not different and len(one) == len(other):
        return None
    kinds = [Counter(operator_kinds(content)) for content in (before, after)]
    if kinds[0] != kinds[1]:
        return f"operators: {_listed(kinds[0] - kinds[1])}, then {_listed(kinds[1] - kinds[0])}"
    if not different:
        return f"{len(one)} facts, then {len(other)}"
    (place, value), (other_place, other_value) = different[0]
    if place != other_place:
        return f"{place}, then {other_place}"
    return f"{place}: {_described(value, other_value)}; {_further(len(different) - 1)}"


def facts(content: bytes) -> Iterator[Fact]:
    """All that a file computes, place by place, in an order that does not depend on indices."""
    model = _read(content)
    yield "schema version", model.version
    yield "subgraphs", len(model.subgraphs)
    for number, graph in enumerate(model.subgraphs):
        yield from _SubgraphFacts(model, graph, f"subgraph {number}: " if number else "").all()


class _SubgraphFacts:
    """Tensors are numbered by their first appearance, where their facts are listed."""

    def __init__(self, model: Any, graph: Any, prefix: str) -> None:
        self._model, self._graph, self._prefix = model, graph, prefix
        self._numbers: dict[int, int] = {}

    def all(self) -> Iterator[Fact]:
        for place, index in enumerate(_indices(self._graph.inputs)):
            yield f"input {place}: name", self._graph.tensors[index].name
            yield from self._tensor(f"{self._prefix}input {place}", index)
        for position, operator in enumerate(self._graph.operators or []):
            yield from self._operator(position, operator)
        for place, index in enumerate(_indices(self._graph.outputs)):
            yield f"output {place}: name", self._graph.tensors[index].name
            yield from self._tensor(f"{self._prefix}output {place}", index)
        for signature in self._model.signatureDefs or []:
            if self._model.subgraphs[signature.subgraphIndex] is self._graph:
                yield from self._signature(signature)

    def _operator(self, position: int, operator: Any) -> Iterator[Fact]:
        code = self._model.operatorCodes[operator.opcodeIndex]
        place = f"{self._prefix}operator {position} {_kind(code)}"
        yield place, code.customCode
        yield f"{place}: version", code.version
        for attribute in ("builtinOptions", "builtinOptions2"):
            yield from _option_facts(place, getattr(operator, attribute, None))
        yield f"{place}: custom options", _array(operator.customOptions)
        for side, indices in (("input", operator.inputs), ("output", operator.outputs)):
            for k, index in enumerate(_indices(indices)):
                yield from self._tensor(f"{place}: {side} {k}", index)
        yield f"{place}: tensors", (len(_indices(operator.inputs)), len(_indices(operator.outputs)))

    def _tensor(self, place: str, index: int) -> Iterator[Fact]:
        if index < 0:
            yield f"{place}: tensor", "none"
            return
        known = index in self._numbers
        yield f"{place}: tensor", self._numbers.setdefault(index, len(self._numbers))
        if known:
            return
        tensor = self._graph.tensors[index]
        dtype = _TYPES.get(tensor.type, tensor.type)
        yield f"{place}: type", dtype
        yield f"{place}: shape", tuple(_indices(tensor.shape))
        yield f"{place}: shape signature", tuple(_indices(tensor.shapeSignature))
        yield f"{place}: is a variable", bool(tensor.isVariable)
        quantization = tensor.quantization
        for name in ("scale", "zeroPoint", "quantizedDimension"):
            yield f"{place}: {name}", _array(getattr(quantization, name, None))
        data = _array(self._model.buffers[tensor.buffer].data)
        if data is not None and dtype in _DTYPES and data.nbytes % _DTYPES[dtype].itemsize == 0:
            data = np.frombuffer(data.tobytes(), _DTYPES[dtype])
        yield f"{place}: values", data

    def _signature(self, signature: Any) -> Iterator[Fact]:
        yield "signature", signature.signatureKey
        for side in ("inputs", "outputs"):
            names = [(m.name, self._numbers.get(m.tensorIndex)) for m in getattr(signature, side) or []]
            yield f"signature {side}", names


def _read(content: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(bytearray(content), 0)


def operator_kinds(content: bytes) -> list[str]:
    """The operators of all subgraphs, in order, by their names in the schema."""
    model = _read(content)
    return [_kind(model.operatorCodes[o.opcodeIndex]) for graph in model.subgraphs for o in graph.operators or []]


def _listed(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"


def _kind(code: Any) -> str:
    """The newer field holds kinds above 127, the older one the others in files of old converters."""
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return _KINDS.get(number, str(number))


def _option_facts(place: str, options: Any) -> Iterator[Fact]:
    yield f"{place}: options", type(options).__name__
    for name, value in sorted(vars(options).items()) if options is not None else []:
        yield f"{place}: {name}", _array(value) if isinstance(value, np.ndarray | list) else value


def _indices(values: Any) -> list[int]:
    return [] if values is None else [int(v) for v in values]


def _array(value: Any) -> Any:
    """As an array; None where there is nothing, as the schema reads both no field and an empty one."""
    if value is None:
        return None
    array = np.asarray(value)
    return array if array.size else None


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return False
    return type(one) is type(other) and one == other


def _described(one: Any, other: Any) -> str:
    """How two values differ, in few words."""
    arrays = [v for v in (one, other) if isinstance(v, np.ndarray)]
    if len(arrays) < 2 or one.shape != other.shape or one.dtype != other.dtype:
        return f"{_short(one)}, then {_short(other)}"
    if one.size == 1:
        return f"{_short(one)}, then {_short(other)}"
    distance = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return f"{np.count_nonzero(distance)} of {one.size} values, by {distance.max():.3g} at most"


def _further(count: int) -> str:
    return "nothing else" if not count else f"{count} more places"


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f":
            value = np.array([f"{v:.9g}" for v in value.ravel()])  # all digits that float32 has
        return f"{value.size} values" if value.size > 4 else ", ".join(map(str, value.ravel()))
    return "nothing" if value is None else str(value)

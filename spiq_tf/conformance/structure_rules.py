"""Rules of what a file is made of: operators, versions, types, shapes."""

from collections.abc import Iterator

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.conformance.operation import operations
from spiq_tf.conformance.violation import Violation
from spiq_tf.targets import Target
from spiq_tf.tflite.flatbuffer import FlatModel

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


def mapped_operators(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """The target has every operator, in the version that the file asks for."""
    for at in operations(flat):
        version = flat.model.operatorCodes[at.operator.opcodeIndex].version
        if not target.runs(at.kind) or at.kind == "CUSTOM":
            found = f"expected an operator that {target.name} has, found {at.kind}"
            yield at.breaks("operator", found, "replace the layer, or see that this part runs on the CPU")
            continue
        highest = target.highest_version(at.kind)
        if highest is not None and version > highest:
            found = f"expected version {highest} at most, found {version}"
            yield at.breaks("operator version", found, "write the lowest version that the operator needs")


def integer_operators(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """No operator computes in floats; they only enter and leave through QUANTIZE and DEQUANTIZE."""
    for at in operations(flat):
        floats = [i for i in at.activations if np.issubdtype(flat.dtype(i), np.floating)]
        if floats and at.kind not in _CONVERSIONS:
            found = f"expected integers, found {np.dtype(flat.dtype(floats[0])).name}"
            yield at.breaks("float operator", found, "quantize it, or accept a slow operator on the CPU", floats[0])


def static_shapes(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Every size but the batch is known, and the batch is one that the target takes."""
    for index, tensor in enumerate(flat.subgraph.tensors):
        open_sizes = [] if tensor.shapeSignature is None else [int(n) for n in tensor.shapeSignature]
        if any(n < 0 for n in open_sizes[1:]):
            found = f"expected known sizes, found {open_sizes}"
            yield Violation(
                rule="static shapes", tensor=flat.name(index), found=found, advice="convert with fixed sizes"
            )
        elif open_sizes and open_sizes[0] < 0 and index in flat.subgraph.inputs and not target.dynamic_batch:
            found = f"expected a fixed batch, found {open_sizes}"
            yield Violation(
                rule="static shapes", tensor=flat.name(index), found=found, advice="convert with a fixed batch"
            )
    for index in map(int, flat.subgraph.inputs):
        shape = flat.shape(index)
        if target.largest_batch is not None and shape and shape[0] > target.largest_batch:
            found = f"expected {target.largest_batch} at most, found {shape[0]}"
            yield Violation(rule="batch", tensor=flat.name(index), found=found, advice="convert with batch_size=1")


def ranks(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """All axes but the last few have the length 1."""
    if target.largest_rank is None:
        return
    for at in operations(flat):
        for index in at.activations:
            if any(n > 1 for n in flat.shape(index)[: -target.largest_rank]):
                found = f"expected 1 for all but the last {target.largest_rank} axes, found {flat.shape(index)}"
                yield at.breaks("rank", found, "reshape so that fewer axes are longer than 1", index)


def fused_activations(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """Pools and concatenations end without an activation where the target takes none there."""
    for at in operations(flat) if not target.pools_fuse else ():
        pools = at.kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION")
        fused = getattr(at.operator.builtinOptions, "fusedActivationFunction", schema.ActivationFunctionType.NONE)
        if pools and fused != schema.ActivationFunctionType.NONE:
            yield at.breaks("fused activation", "expected none", "give the activation an operator of its own")


def slopes(flat: FlatModel, target: Target) -> Iterator[Violation]:
    """PRELU has a slope for each channel, or one, where the target takes no more."""
    for at in operations(flat) if target.channel_slopes else ():
        if at.kind == "PRELU" and any(n > 1 for n in flat.shape(at.inputs[1])[:-1]):
            found = f"expected one for each channel, found {flat.shape(at.inputs[1])}"
            yield at.breaks("slopes", found, "share them between positions: PReLU(shared_axes=[1, 2])", at.inputs[1])

"""What a pass of the file is given, made by hand; and what must be true of a file after every pass."""

import numpy as np

from spiq_tf.distributions.values import ChannelRanges, Source
from spiq_tf.graph.layer_graph import LayerGraph
from spiq_tf.tflite.state import FileState


def graph_of(inputs=(), outputs=(), nodes=()):
    """A model of primitives, without layers."""
    return LayerGraph(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        input_names=tuple(tensor.name for tensor in inputs),
        output_names=tuple(tensor.name for tensor in outputs),
        calls=(),
        nodes=tuple(nodes),
        weights={},
        variables={},
    )


def state_of(flat, graph=None, **known):
    """The state of a file whose model says nothing but what is given."""
    return FileState(flat=flat, graph=graph_of() if graph is None else graph, **known)


def ranges(low, high, source=Source.PROPAGATED):
    """Of a tensor's channels."""
    return ChannelRanges(np.atleast_1d(np.float64(low)), np.atleast_1d(np.float64(high)), source)


def check_invariants(flat):
    """Raises AssertionError where a file is none: every tensor that is read is an input, a constant or computed before,
    by exactly one operator; no index leads nowhere."""
    tensors, buffers, codes = len(flat.subgraph.tensors), len(flat.model.buffers), len(flat.model.operatorCodes)
    assert all(0 <= tensor.buffer < buffers for tensor in flat.subgraph.tensors)
    ready = [int(i) for i in flat.subgraph.inputs]
    assert len(set(ready)) == len(ready), "an input stands there twice"
    for place, operator in enumerate(flat.operators):
        where = f"operator {place} {flat.kind(operator)}"
        assert 0 <= operator.opcodeIndex < codes, where
        for index in map(int, operator.inputs):
            assert -1 <= index < tensors, f"{where}: input {index} leads nowhere"
            assert index == -1 or index in ready or flat.is_constant(index), f"{where}: input {index} is not there yet"
        for index in map(int, operator.outputs):
            assert 0 <= index < tensors, f"{where}: output {index} leads nowhere"
            assert index not in ready, f"{where}: output {index} has two producers"
            assert not flat.is_constant(index), f"{where}: output {index} is a constant"
            ready.append(index)
    for index in map(int, flat.subgraph.outputs):
        assert index in ready or flat.is_constant(index), f"nothing computes the file's output {index}"

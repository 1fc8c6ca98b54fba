"""Changing a traced TensorFlow graph: new nodes, and the function that reads them in place of others.

By TensorFlow's public means alone: the graph's definition is changed and imported again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


class NewNodes:
    """Collects nodes that shall stand in a graph; each method adds one and returns the name of its only output."""

    def __init__(self) -> None:
        self.definitions: list[Any] = []

    def add(self, name: str, kind: str, inputs: Sequence[str], attributes: Mapping[str, Any]) -> str:
        """Any operation, with its attributes as TensorFlow's AttrValue."""
        self.definitions.append(tf.compat.v1.NodeDef(name=name, op=kind, input=inputs, attr=attributes))
        return name

    def operation(self, name: str, kind: str, inputs: Sequence[str], **types: Any) -> str:
        """An operation whose attributes are data types."""
        attributes = {key: tf.compat.v1.AttrValue(type=dtype.as_datatype_enum) for key, dtype in types.items()}
        return self.add(name, kind, inputs, attributes)

    def constant(self, name: str, values: Sequence[int]) -> str:
        """An int32 constant."""
        value = tf.compat.v1.AttrValue(tensor=tf.make_tensor_proto(np.asarray(values, np.int32)))
        dtype = tf.compat.v1.AttrValue(type=tf.int32.as_datatype_enum)
        return self.add(name, "Const", (), {"dtype": dtype, "value": value})

    def reshape(self, name: str, x: str, shape: Sequence[int], dtype: Any) -> str:
        """A reshape."""
        inputs = (x, self.constant(f"{name}/shape", shape))
        return self.operation(name, "Reshape", inputs, T=dtype, Tshape=tf.int32)

    def transpose(self, name: str, x: str, order: Sequence[int], dtype: Any) -> str:
        """A transposition."""
        inputs = (x, self.constant(f"{name}/perm", order))
        return self.operation(name, "Transpose", inputs, T=dtype, Tperm=tf.int32)


def with_replaced(traced: Any, variables: Sequence[Any], nodes: NewNodes, replaced: Mapping[str, str]) -> Any:
    """A concrete function of the same signature, in whose graph new nodes stand in place of some operations.

    Args:
        traced: a concrete function.
        variables: those that it may read.
        nodes: the new nodes; they may read any tensor of the graph.
        replaced: by the name of an operation of one output, that of the new node whose output is read instead.
    """
    definition = traced.graph.as_graph_def()
    outputs = [_renamed(y.name, replaced) for y in traced.outputs]
    by_name = {node.name: node for node in (*definition.node, *nodes.definitions)}
    for node in by_name.values():
        node.input[:] = [_renamed(name, replaced) for name in node.input]
    needed, fed = _upstream(outputs, by_name), {x.op.name for x in traced.inputs}
    remaining = [node for name, node in by_name.items() if name in needed - fed]
    del definition.node[:]
    definition.node.extend(remaining)

    def run(*arguments: Any) -> Any:
        graph = tf.compat.v1.get_default_graph()
        for variable in variables:
            graph.watch_variable(variable)  # else the converter takes its handle for an input
        values = [*arguments, *map(graph.capture, traced.captured_inputs)]
        inputs = {x.op.name: value for x, value in zip(traced.inputs, values, strict=True) if x.op.name in needed}
        return tf.graph_util.import_graph_def(definition, inputs, outputs, name="")

    signature = traced.structured_input_signature[0]
    return tf.function(run, input_signature=signature, autograph=False).get_concrete_function()


def _upstream(references: Iterable[str], nodes: Mapping[str, Any]) -> set[str]:
    """The names of the nodes that tensors belong to or depend on."""
    names: set[str] = set()
    remaining = list(references)
    while remaining:
        name = _node_name(remaining.pop())
        if name not in names:
            names.add(name)
            remaining += nodes[name].input
    return names


def _node_name(reference: str) -> str:
    """Name of the node that a tensor "name:0" or a control dependency "^name" belongs to."""
    return reference.removeprefix("^").partition(":")[0]


def _renamed(reference: str, replaced: Mapping[str, str]) -> str:
    name = _node_name(reference)
    return reference.replace(name, replaced[name], 1) if name in replaced else reference

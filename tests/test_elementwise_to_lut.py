"""Elementwise functions without an int8 operator become lookup tables, on files made by hand."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from spiq_tf.graph.layer_graph import Node, Tensor
from spiq_tf.primitives.activation import Elementwise, ParametricRelu
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.passes.elementwise_to_lut import elementwise_to_lut, fill_lookup_tables
from spiq_tf.tflite.provenance import TensorProvenance
from spiq_tf.tflite.state import IntegerState
from spiq_tf.tflite.writing.litert_quantizer import quantize
from tests.file_state import check_invariants, graph_of, state_of
from tests.flat import FileBuilder, kinds

SHAPE = (1, 4, 4, 3)


def softplus(x):
    return np.log1p(np.exp(x))


def lowered_softplus(b, x=0, shape=SHAPE):
    """As the converter writes it: the exponential, the sum and the logarithm."""
    exponential = b.op("EXP", [x], shape, table=schema.ExpOptionsT())
    return exponential, b.op("LOG", [b.op("ADD", [exponential, b.constant([1.0])], shape)], shape)


def graph_and_provenance(tensors, functions, factors=(1.0, 1.0)):
    """A chain of elementwise functions between the file's first and last tensor.

    Args:
        tensors: of the file, by index: the chain's ends.
        functions: of the chain.
        factors: the file's values over the graph's, at the ends.
    """
    chain = [Tensor(f"t{k}", SHAPE) for k in range(len(functions) + 1)]
    steps = zip(functions, chain, chain[1:], strict=False)
    nodes = [Node(primitive=Elementwise(function), inputs=(x,), output=y, call=None) for function, x, y in steps]
    names = (chain[0].name, chain[-1].name)
    provenance = {i: TensorProvenance(n, f) for i, n, f in zip(tensors, names, factors, strict=True)}
    return {"graph": graph_of(chain[:1], chain[-1:], nodes), "provenance": provenance}


@pytest.fixture
def soft():
    b = FileBuilder(SHAPE)
    _, output = lowered_softplus(b)
    return b.file(output), output


def test_a_function_of_several_operators_becomes_one_table(soft):
    flat, output = soft
    state = state_of(flat, **graph_and_provenance((0, output), [softplus]))
    elementwise_to_lut(state)
    check_invariants(flat)
    assert kinds(flat) == ["GELU"]
    assert list(flat.operators[0].inputs) == [0]
    values = np.linspace(-5, 5, 50)
    np.testing.assert_allclose(state.lookup_tables[output](values), softplus(values), rtol=0, atol=1e-12)


def test_tables_are_of_file_units(soft):
    """The file holds twice the input and a third of the output."""
    flat, output = soft
    state = state_of(flat, **graph_and_provenance((0, output), [softplus], (2.0, 1 / 3)))
    elementwise_to_lut(state)
    np.testing.assert_allclose(state.lookup_tables[output](np.array([2.0])), softplus(1.0) / 3, rtol=0, atol=1e-12)


def test_functions_that_the_converter_has_fused_are_composed(soft):
    """Of log(exp(x) + 1) the file names only the ends."""
    flat, output = soft
    state = state_of(flat, **graph_and_provenance((0, output), [np.exp, lambda v: v + 1, np.log]))
    elementwise_to_lut(state)
    assert kinds(flat) == ["GELU"]
    np.testing.assert_allclose(state.lookup_tables[output](np.array([0.5])), softplus(0.5), rtol=0, atol=1e-12)


def test_a_reshape_on_the_way_stays():
    b = FileBuilder(SHAPE)
    vector = b.op("RESHAPE", [0, b.constant([1, 48], np.int32)], (1, 48), table=schema.ReshapeOptionsT([1, 48]))
    _, output = lowered_softplus(b, vector, (1, 48))
    flat = b.file(output)
    state = state_of(flat, **graph_and_provenance((0, output), [softplus]))
    elementwise_to_lut(state)
    check_invariants(flat)
    assert kinds(flat) == ["RESHAPE", "GELU"]


def test_what_others_read_is_still_computed():
    """Of softplus and exp of one tensor the converter computes the exponential once."""
    b = FileBuilder(SHAPE)
    exponential, output = lowered_softplus(b)
    flat = b.file(output, exponential)
    state = state_of(flat, **graph_and_provenance((0, output), [softplus]))
    elementwise_to_lut(state)
    check_invariants(flat)
    assert kinds(flat) == ["EXP", "GELU"]


def with_other_tensor(b):
    exponential = b.op("EXP", [0], SHAPE, table=schema.ExpOptionsT())
    return b.op("ADD", [exponential, 1], SHAPE)


@pytest.mark.parametrize(
    ("build", "inputs"),
    [
        (lambda b: b.op("TANH", [0], SHAPE), 1),
        (lambda b: b.op("ADD", [b.op("LOGISTIC", [0], SHAPE), b.constant([1.0])], SHAPE), 1),
        (with_other_tensor, 2),
    ],
    ids=["an int8 operator", "several", "of two tensors"],
)
def test_what_stays(build, inputs):
    b = FileBuilder(*[SHAPE] * inputs)
    output = build(b)
    flat = b.file(output)
    before = flat.content()
    state = state_of(flat, **graph_and_provenance((0, output), [np.tanh]))
    elementwise_to_lut(state)
    assert flat.content() == before
    assert not state.lookup_tables


def test_what_stays_float(soft):
    flat, output = soft
    before = flat.content()
    state = state_of(flat, **graph_and_provenance((0, output), [softplus]), float_outputs=frozenset({output}))
    elementwise_to_lut(state)
    assert flat.content() == before


def test_other_primitives_and_what_the_file_does_not_hold(soft):
    flat, output = soft
    before = flat.content()
    known = graph_and_provenance((0, output), [softplus])
    (node,) = known["graph"].nodes
    other = graph_of(nodes=[Node(primitive=ParametricRelu(alpha=0), inputs=node.inputs, output=node.output, call=None)])
    elementwise_to_lut(state_of(flat, graph=other, provenance=known["provenance"]))
    elementwise_to_lut(state_of(flat, graph=known["graph"], provenance={0: known["provenance"][0]}))
    assert flat.content() == before


def test_an_int8_file_looks_its_values_up(soft):
    """Every integer gives the nearest one of the exact function of what it stands for, by LiteRT's kernels."""
    flat, output = soft
    state = state_of(flat, **graph_and_provenance((0, output), [softplus]))
    elementwise_to_lut(state)
    whole = {0: TensorRange(-4.0, 4.0), output: TensorRange(0.0, 4.1)}
    quantized = quantize(flat, whole, (), False)
    fill_lookup_tables(IntegerState(flat=quantized, lookup_tables=state.lookup_tables))
    check_invariants(quantized)
    assert kinds(quantized) == ["CAST", "ADD", "GATHER"]
    interpreter = Interpreter(quantized.content())
    integers = whole[0].quantization.bit_width.integers
    values = whole[0].quantization.dequantize(integers, np.float64)
    found = np.concatenate([interpreter.run([np.full(SHAPE, v)])[0].ravel()[:1] for v in values])
    np.testing.assert_allclose(found, softplus(values), rtol=0, atol=0.501 * whole[output].scale)


def test_integers_outside_the_domain_have_the_value_at_its_end(soft):
    """Of a logarithm the integers below 0."""
    flat, output = soft
    with np.errstate(invalid="ignore"):
        state = state_of(flat, **graph_and_provenance((0, output), [lambda v: np.log(np.where(v > 0.5, v, np.nan))]))
        elementwise_to_lut(state)
        whole = {0: TensorRange(-4.0, 4.0), output: TensorRange(-1.0, 1.5)}
        quantized = quantize(flat, whole, (), False)
        fill_lookup_tables(IntegerState(flat=quantized, lookup_tables=state.lookup_tables))
    (table,) = (quantized.value(int(o.inputs[0])) for o in quantized.operators if quantized.kind(o) == "GATHER")
    step = whole[0].scale
    end = int(np.rint(np.log(0.5 + step) / whole[output].scale)) + whole[output].quantization.zero_point
    assert len(set(table[:144].tolist())) == 1
    assert abs(int(table[0]) - end) <= np.ceil(step / 0.5 / whole[output].scale)

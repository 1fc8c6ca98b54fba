"""Which operators of a file stay outside XNNPACK, and the pieces that it takes: as LiteRT's interpreter shows them."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import spiq_tf
from spiq_tf.tflite.delegation import delegated_pieces, delegation_of
from spiq_tf.tflite.flatbuffer import FlatModel
from tests import tiers
from tests.conversions import converted
from tests.delegate import DelegateFile, Tensor, constant, observed, predicted
from tests.networks import NETWORKS
from tests.tiers import with_fast

TAKEN, LEFT = "ELU", "RELU"
SHAPE = (1, 4, 4, 2)


class Graph(DelegateFile):
    """Operators on int8 maps of one shape and scale."""

    def then(self, kind, *operands):
        version = 2 if kind in ("RELU", "ADD", "MAXIMUM") else 1
        return self.run_op(kind, operands, [Tensor(SHAPE)], version=version)[0]


def chain(*kinds):
    file = Graph()
    (value,) = file.inputs(Tensor(SHAPE))
    for kind in kinds:
        value = file.then(kind, value)
    return file.file(value).content()


@pytest.mark.fast
@pytest.mark.parametrize(
    ("kinds", "pieces"),
    [
        ((TAKEN,), 1),
        ((LEFT,), 0),
        ((LEFT, LEFT), 0),
        ((TAKEN, TAKEN, LEFT), 1),
        ((LEFT, TAKEN), 1),
        ((TAKEN, LEFT, TAKEN), 2),
        ((TAKEN, LEFT, LEFT, TAKEN), 2),
        ((LEFT, TAKEN, LEFT, TAKEN, TAKEN, LEFT, TAKEN), 3),
    ],
)
def test_chains(kinds, pieces):
    content = chain(*kinds)
    assert observed(content) == predicted(content) == ([LEFT] * kinds.count(LEFT), pieces)


def branches():
    """The operator outside waits for one of two branches; the other one belongs to the first piece."""
    file = Graph()
    (x,) = file.inputs(Tensor(SHAPE))
    first = file.then(TAKEN, x)
    left = file.then(LEFT, first)
    right = file.then(TAKEN, file.then(TAKEN, first))
    return file.file(file.then("ADD", left, right)), [[0, 2, 3], [4]]


def independent():
    """What stands after the operator outside and does not wait for it joins the first piece."""
    file = Graph()
    x, y = file.inputs(Tensor(SHAPE), Tensor(SHAPE))
    first = file.then(TAKEN, file.then(LEFT, file.then(TAKEN, x)))
    return file.file(first, file.then(TAKEN, y)), [[0, 3], [2]]


def outside_first():
    """All that is outside and ready runs before the first piece where the first operator is outside."""
    file = Graph()
    x, y = file.inputs(Tensor(SHAPE), Tensor(SHAPE))
    first = file.then(LEFT, x)
    second = file.then(TAKEN, y)
    return file.file(file.then("ADD", first, second), file.then(LEFT, second)), [[1, 2]]


def output_in_the_middle():
    file = Graph()
    (x,) = file.inputs(Tensor(SHAPE))
    middle = file.then(TAKEN, x)
    return file.file(middle, file.then(TAKEN, file.then(TAKEN, middle))), [[0, 1, 2]]


def outputs_around_an_operator_outside():
    file = Graph()
    (x,) = file.inputs(Tensor(SHAPE))
    first = file.then(TAKEN, x)
    second = file.then(LEFT, first)
    return file.file(first, second, file.then(TAKEN, second), x), [[0], [2]]


def several_outputs():
    """A split into more parts than XNNPACK takes, which join again."""
    file = Graph()
    (x,) = file.inputs(Tensor((1, 4, 4, 12)))
    axis = file.add(constant(3))
    first = file.run_op("ELU", [x], [Tensor((1, 4, 4, 12))])[0]
    parts = file.run_op("SPLIT", [axis, first], [Tensor(SHAPE)] * 6, schema.SplitOptionsT(numSplits=6), version=2)
    return file.file(*(file.then("ADD", *parts[k : k + 2]) for k in (0, 2, 4))), [[0], [2, 3, 4]]


@pytest.mark.fast
@pytest.mark.parametrize(
    "build",
    [
        branches,
        independent,
        outside_first,
        output_in_the_middle,
        outputs_around_an_operator_outside,
        several_outputs,
    ],
)
def test_pieces_of_graphs(build):
    flat, pieces = build()
    content = flat.content()
    outside = [operator.position for operator in delegation_of(flat).outside]
    assert delegated_pieces(flat, outside) == pieces
    assert observed(content) == predicted(content)
    assert observed(content)[1] == len(pieces)


@pytest.mark.fast
@pytest.mark.parametrize("seed", range(40))
def test_random_graphs(seed):
    """Operators that read any tensors before them; several outputs."""
    random = np.random.default_rng(seed)
    file = Graph()
    values = [*file.inputs(Tensor(SHAPE), Tensor(SHAPE))]
    for _ in range(int(random.integers(4, 24))):
        kind = str(random.choice(["ELU", "ADD", "RELU", "MAXIMUM"], p=[0.4, 0.3, 0.15, 0.15]))
        count = 2 if kind in ("ADD", "MAXIMUM") else 1
        recent = values[-int(random.integers(2, 8)) :]
        values.append(file.then(kind, *(int(random.choice(recent)) for _ in range(count))))
    read = {int(i) for operator in file._flat.operators for i in operator.inputs}
    ends = [value for value in values[2:] if value not in read or random.random() < 0.1]
    content = file.file(*ends).content()
    assert predicted(content) == observed(content)


def slopes_from_a_constant(*kinds):
    """A float PRELU, or what else reads a constant that is stored as int8 and dequantized."""
    file = DelegateFile()
    (x,) = file.inputs(Tensor(SHAPE, "float32"))
    stored = file.add(constant(np.ones((1, 1, 2)), "int8"))
    (slopes,) = file.run_op("DEQUANTIZE", [stored], [Tensor((1, 1, 2), "float32")], version=2)
    for kind in kinds:
        (x,) = file.run_op(kind, [x, slopes], [Tensor(SHAPE, "float32")])
    return file.file(x).content()


@pytest.mark.fast
@pytest.mark.parametrize(
    ("kinds", "outside", "pieces"),
    [
        (("PRELU",), [], 1),
        (("PRELU", "MAXIMUM"), [], 1),
        (("POW",), ["DEQUANTIZE", "POW"], 0),
        (("PRELU", "POW"), ["DEQUANTIZE", "POW"], 1),
        (("POW", "PRELU"), ["DEQUANTIZE", "POW"], 1),
        (("PRELU", "POW", "PRELU"), ["DEQUANTIZE", "POW"], 2),
    ],
)
def test_a_dequantized_constant_stays_outside_where_an_operator_outside_reads_it(kinds, outside, pieces):
    content = slopes_from_a_constant(*kinds)
    assert observed(content) == predicted(content) == (outside, pieces)


def test_values_are_counted():
    """Three operators of 32 values, one of them outside."""
    found = delegation_of(FlatModel(chain(TAKEN, LEFT, TAKEN)))
    (outside,) = found.outside
    assert (found.operators, found.values, found.pieces) == (3, 96, 2)
    assert (outside.position, outside.kind, outside.tensor, outside.values) == (1, LEFT, "tensor2", 32)
    assert found.share_outside == pytest.approx(1 / 3)


def test_operators_that_wait_for_each_other_are_a_damaged_file():
    flat = FlatModel(chain(TAKEN, TAKEN))
    flat.operators[0].inputs = flat.operators[1].outputs
    with pytest.raises(spiq_tf.ModelFileError, match="wait for what they compute themselves"):
        delegation_of(flat)


@pytest.mark.parametrize("target", ["portable", "xnnpack", "edgetpu"])
@pytest.mark.parametrize("name", with_fast(NETWORKS, tiers.NETWORKS))
def test_whole_networks(name, target):
    content = converted(name, target=target)
    assert predicted(content) == observed(content)


@pytest.mark.parametrize("types", ["uint8", "float32"])
def test_types_at_the_ends(types):
    content = converted("two_outputs", inference_input_type=types, inference_output_type=types)
    assert predicted(content) == observed(content)


def test_float_layers():
    content = converted("named", float_layers=("scores",))
    assert predicted(content) == observed(content)

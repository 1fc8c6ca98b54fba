"""Lookup tables become operators that XNNPACK takes, on files made by hand and run at every integer."""

import keras
import numpy as np
import pytest
from keras import layers

import spiq_tf
from spiq_tf.distributions.values import Moments
from spiq_tf.targets import TARGETS
from spiq_tf.tflite.delegation import delegation_of
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.functions.approximation import approximation as approximated
from spiq_tf.tflite.functions.function_table import FunctionTable
from spiq_tf.tflite.passes import table_to_operators as module
from spiq_tf.tflite.passes.order import INTEGER_PASSES, run_passes
from spiq_tf.tflite.passes.table_to_operators import table_to_operators
from tests.delegate import observed
from tests.file_state import check_invariants
from tests.flat import FileBuilder, kinds
from tests.integer_files import all_integers, check_left_alone, integer_outputs, integer_state
from tests.networks import settle
from tests.oracles import decibels, run_file

pytestmark = pytest.mark.fast

SHAPE = (1, 16, 16, 4)

LONGEST_CHAIN = 10
"""Of operators that XNNPACK makes one table of."""


def elu(x, alpha):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def softplus(x):
    return np.logaddexp(0.0, x)


def mish(x):
    return x * np.tanh(softplus(x))


def stepped(x, threshold):
    return np.where(x > threshold, x, 0.0)


CHAINS = {
    "celu": lambda x: 2 * elu(x / 2, 1.0),
    "scaled_elu": lambda x: -0.3 * elu(-1.7 * x, 1.0),
    "exponential": lambda x: 0.2 * np.exp(x),
    "decay": lambda x: np.exp(-0.5 * x),
    "mish": mish,
    "hard_shrink": lambda x: np.where(np.abs(x) > 0.5, x, 0.0),
    "soft_shrink": lambda x: x - np.clip(x, -0.5, 0.5),
    "threshold": lambda x: stepped(x, 0.3),
    "sparse_sigmoid": lambda x: np.clip(0.5 * x + 0.5, 0, 1),
    "three_slopes": lambda x: 1.5 * x - 0.9 * np.clip(x, -0.8, 0.3),
}
"""Functions that one chain of operators computes."""

SUMS = {
    "selu": lambda x: 1.0507 * elu(x, 1.67326),
    "elu_of_another_slope": lambda x: elu(x, 0.4),
    "softplus": softplus,
    "softplus_of_a_steeper_slope": lambda x: softplus(3 * x) / 3,
    "log_sigmoid": lambda x: -softplus(-x),
    "squareplus": lambda x: (x + np.sqrt(x**2 + 4)) / 2,
    "sparse_plus": lambda x: np.where(x > 1, x, np.where(x < -1, 0, (x + 1) ** 2 / 4)),
    "softsign": lambda x: x / (1 + np.abs(x)),
}
"""Functions that are a sum or a product of two chains."""

OTHERS = {
    "sine": np.sin,
    "tangent": lambda x: np.tan(0.35 * x),
    "a step to another value": lambda x: np.where(x > 0.3, x, -1.0),
    "noise": lambda x: np.sin(1e4 * x),
    "two bumps": lambda x: np.exp(-((x - 1) ** 2)) + np.exp(-((x + 2) ** 2)),
    "infinite": lambda x: np.where(x > 0, 1 / np.maximum(x, 1e-9), np.inf),
}

DEVIATIONS = {(-4.0, 4.0): 0.8, (-6.5, 7.4): 1.0, (-3.0, 11.0): 1.2, (-9.0, 3.5): 1.0, (-1.9, 2.1): 0.35}
"""Of what the function reads, by its domain: zero points at several places, and scales from 0.016 to 0.055."""

NOT_GOOD_ENOUGH = {
    ("decay", (-3.0, 11.0)),
    ("mish", (-4.0, 4.0)),
    ("squareplus", (-1.9, 2.1)),
    ("softsign", (-3.0, 11.0)),
    ("softsign", (-9.0, 3.5)),
}
"""Functions and domains where each form would add more than 0.3 dB of noise."""


def table_state(function, domain, deviation, shape=SHAPE, largest=np.inf):
    """A quantized file with one function of its input, whose range is as wide as the function's, but for the largest
    values."""
    b = FileBuilder(shape)
    y = b.op("GELU", [0], shape)
    with np.errstate(divide="ignore"):
        values = np.minimum(function(np.linspace(*domain, 2001)), largest)
    state = integer_state(b.file(y), {0: domain, y: (float(values.min()), float(values.max()))})
    state.lookup_tables[y] = function
    state.moments = {0: Moments(np.zeros(1), np.array([deviation**2]))}
    return state, y


def longest_chain(flat):
    """Operators in a row each of which reads the one before it, and else the first one's input and scalars."""
    producers, consumers = flat.producers(), flat.all_consumers()
    longest = 0
    for first in flat.operators:
        length, operator, start = 1, first, int(first.inputs[0])
        while len(after := consumers.get(int(operator.outputs[0]), [])) == 1:
            known = {start, int(operator.outputs[0])}
            others = [int(i) for i in after[0].inputs if int(i) not in known and int(i) in producers]
            if others:
                break
            operator, length = after[0], length + 1
        longest = max(longest, length)
    return longest


def predicted_noise(table, found):
    """Variance of the values that a file gives, and of what it reads, from the function's, in steps of its output.

    Drawn: the oracle of what `FunctionTable` computes by shares.
    """
    random = np.random.default_rng(0)
    parameters, step = table.x.parameters, table.parameters.scale
    integers = random.choice(table.x.integers, 20000, p=table.shares)
    x = parameters.dequantize(integers, np.float64) + parameters.scale * random.uniform(-0.5, 0.5, integers.shape)
    given = np.interp(x, table.x.values, table.values)
    return np.mean((found[integers.astype(int) - parameters.bit_width.qmin] - given) ** 2) / step**2


@pytest.mark.parametrize("domain", DEVIATIONS, ids=str)
@pytest.mark.parametrize("name", [*CHAINS, *SUMS])
def test_the_operators_compute_the_function(name, domain):
    """At every integer, by XNNPACK and by LiteRT's own kernels: there is at most 0.3 dB more noise than with a table,
    and no likely value is two steps off."""
    function = {**CHAINS, **SUMS}[name]
    state, y = table_state(function, domain, DEVIATIONS[domain])
    table, before = FunctionTable.of(state, 0, y), state.flat.content()
    table_to_operators(state)
    if (name, domain) in NOT_GOOD_ENOUGH:
        assert state.flat.content() == before
        return
    check_invariants(state.flat)
    assert "GELU" not in kinds(state.flat)
    exact = predicted_noise(table, table.parameters.dequantize(table.entries, np.float64))
    likely = table.shares > 0.01 * table.shares.max()
    for found in every_value(state, y):
        assert predicted_noise(table, found) < 10**0.03 * 1.01 * exact  # 1 %: halves, which kernels round differently
        assert np.abs(found - table.values)[likely & table.held].max() < 2 * table.parameters.scale


def every_value(state, y):
    """The output at every integer of the input, by XNNPACK and by LiteRT's own kernels."""
    x = np.repeat(all_integers(state, SHAPE[:-1])[..., np.newaxis], SHAPE[-1], axis=-1)
    outputs = (found for (found,) in integer_outputs(state.flat.content(), [x]))
    return [found[..., 0].ravel() * state.flat.quantization(y).scale for found in outputs]


@pytest.mark.parametrize("domain", [(-5.0, 5.2), (-3.0, 11.0)], ids=str)
@pytest.mark.parametrize("name", [*CHAINS, *SUMS])
def test_xnnpack_computes_the_integers_that_were_predicted(name, domain):
    """LiteRT's own kernels are a step off at a few. Far from 0 their additions overflow, unless a clip is in two."""
    if (name, domain) in NOT_GOOD_ENOUGH:
        return
    state, y = table_state({**CHAINS, **SUMS}[name], domain, DEVIATIONS.get(domain, 0.8))
    form = approximated(FunctionTable.of(state, 0, y))
    table_to_operators(state)
    delegated, own = every_value(state, y)
    scale = state.flat.quantization(y).scale
    np.testing.assert_allclose(delegated, form.values, rtol=0, atol=1e-3 * scale)
    assert np.abs(own - form.values).max() < 1.001 * scale
    assert np.mean(np.abs(own - form.values) > 0.5 * scale) < 0.03


@pytest.mark.parametrize("name", [*CHAINS, *SUMS])
def test_xnnpack_takes_all_operators_in_chains_that_it_fuses(name):
    state, _ = table_state({**CHAINS, **SUMS}[name], (-5.0, 5.2), 0.8)
    table_to_operators(state)
    assert not state.lookup_tables
    assert observed(state.flat.content()) == ([], 1)
    assert delegation_of(state.flat).outside == ()
    longest = longest_chain(state.flat)
    assert longest <= LONGEST_CHAIN
    assert (longest == len(state.flat.operators)) == (name in CHAINS)


@pytest.mark.parametrize("name", OTHERS)
def test_functions_that_no_form_fits(name):
    function = OTHERS[name]
    state, _ = table_state(function, (-4.0, 4.0), 0.8, largest=5.0)
    check_left_alone(state, table_to_operators)
    assert state.lookup_tables


@pytest.mark.parametrize("seed", range(40))
def test_any_function(seed):
    """Sums of what functions are made of, with any range: a form or none, and a file that runs."""
    random = np.random.default_rng(seed)
    parts = [np.tanh, np.exp, np.abs, np.sign, softplus, mish, np.floor, lambda x: np.sqrt(np.maximum(x, 0))]
    chosen = [parts[k] for k in random.integers(0, len(parts), 2)]
    factors, shifts = np.exp(random.normal(0, 1, (2, 2))), random.normal(0, 1, 2)

    def function(x):
        return sum(a * f(b * x + c) for f, (a, b), c in zip(chosen, factors.T, shifts, strict=True))

    b = FileBuilder(SHAPE)
    y = b.op("GELU", [0], SHAPE)
    domain = np.exp(random.normal(1, 1, 2)) * (-1, 1)
    values = function(np.linspace(*domain, 100))
    ends = np.array([values.min(), values.max()]) * random.uniform(0.5, 1.1, 2)
    state = integer_state(b.file(y), {0: tuple(domain), y: (min(ends[0], 0.0), max(ends[1], 1e-3))})
    state.lookup_tables[y] = function
    state.moments = {0: Moments(random.normal(0, 1, 3), random.uniform(0, 4, 3))}
    table = FunctionTable.of(state, 0, y)
    table_to_operators(state)
    check_invariants(state.flat)
    if not state.lookup_tables:
        exact = predicted_noise(table, table.parameters.dequantize(table.entries, np.float64))
        for found in every_value(state, y):
            assert predicted_noise(table, found) < 10**0.03 * 1.02 * exact


def test_small_tensors():
    """Nothing is gained."""
    state, _ = table_state(mish, (-6.5, 7.4), 1.0, shape=(1, 4, 4, 4))
    check_left_alone(state, table_to_operators)


@pytest.mark.parametrize(("target", "is_table"), [("portable", False), ("xnnpack", False), ("tflite-micro", True)])
def test_targets_without_xnnpack_keep_the_table(target, is_table):
    state, _ = table_state(mish, (-6.5, 7.4), 1.0)
    run_passes(INTEGER_PASSES, state, TARGETS[target])
    assert ("GATHER" in kinds(state.flat)) == is_table
    assert "GELU" not in kinds(state.flat)


def test_equal_tables_are_solved_once(monkeypatch):
    b = FileBuilder(SHAPE)
    outputs = [b.op("GELU", [0], SHAPE), b.op("GELU", [0], SHAPE), b.op("GELU", [0], SHAPE)]
    widest = {y: (-0.4, top) for y, top in zip(outputs, (7.4, 7.4, 9.0), strict=True)}
    state = integer_state(b.file(*outputs), {0: (-6.5, 7.4), **widest})
    state.lookup_tables = dict.fromkeys(outputs, mish)
    state.moments = {0: Moments(np.zeros(1), np.ones(1))}
    solved = []
    monkeypatch.setattr(module, "approximation", lambda table: solved.append(table) or approximated(table))
    table_to_operators(state)
    assert len(solved) == 2
    check_invariants(state.flat)
    x = np.repeat(all_integers(state, SHAPE[:-1])[..., np.newaxis], SHAPE[-1], axis=-1)
    first, second, _ = integer_outputs(state.flat.content(), [x])[0]
    np.testing.assert_array_equal(first, second)


def test_what_is_likely_decides():
    """The form of mish is as good as the table where the Gaussian lies: over the whole range it is not."""
    near, anywhere = (table_state(mish, (-6.5, 7.4), 1.0)[0] for _ in range(2))
    anywhere.moments = {}
    table_to_operators(near)
    assert not near.lookup_tables
    check_left_alone(anywhere, table_to_operators)


def test_what_is_unlikely_is_not_given_up():
    """An ELU but for a bend that is ten deviations away: a form that is right up to there is refused."""

    def bent(x):
        return np.where(x < 3, elu(x, 1.0), 3 + 0.3 * (x - 3))

    check_left_alone(table_state(bent, (-4.0, 4.0), 0.3)[0], table_to_operators)


@pytest.mark.parametrize("name", ["mish", "selu", "softplus"])
def test_a_model_loses_less_than_it_is_said_to(name, monkeypatch):
    """Beside the same model with its tables, on noise: less than 0.3 dB."""
    image = keras.Input((16, 16, 3), name="image")
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(image))
    model = settle(keras.Model(image, layers.Conv2D(4, 3)(layers.Activation(name)(x))))
    examples = np.random.default_rng(0).uniform(-1, 1, (32, 16, 16, 3)).astype(np.float32)
    expected = model.predict(examples, verbose=0)
    files = [spiq_tf.convert(model, input_range=(-1, 1))]
    monkeypatch.setattr(module, "_FEWEST_VALUES", np.inf)
    files.append(spiq_tf.convert(model, input_range=(-1, 1)))
    assert ["GATHER" in kinds(FlatModel(content)) for content in files] == [False, True]
    found, table = (decibels(expected, run_file(content, examples)[0]) for content in files)
    assert found > table - 0.3

"""Activations: as layers, as operations, and as what another layer ends with."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras.src.activations import activations
from keras.src.ops import nn
from keras.src.ops import numpy as operations

from spiq_tf.distributions.values import Array, Shape
from spiq_tf.errors import InvalidModelError
from spiq_tf.frontend.expansion.call_site import CallSite, ExpansionRule, Step, apply_function
from spiq_tf.primitives.activation import Elementwise, ParametricRelu, Rectifier, Softmax
from spiq_tf.primitives.base import Primitive
from spiq_tf.primitives.opaque import Opaque

_A, _L = keras.activations, keras.layers
_BOUNDS = {
    **dict.fromkeys(
        ("sigmoid", "Sigmoid", "hard_sigmoid", "HardSigmoid", "sparse_sigmoid", "SparseSigmoid"), (0.0, 1.0)
    ),
    **dict.fromkeys(("tanh", "Tanh", "softsign", "Softsign", "hard_tanh", "HardTanh"), (-1.0, 1.0)),
}
_SMOOTH = (
    "sigmoid tanh hard_sigmoid silu hard_silu gelu elu selu softplus softsign mish exponential celu log_sigmoid"
    " squareplus hard_tanh tanh_shrink soft_shrink hard_shrink sparse_plus sparse_sigmoid"
)
_SMOOTH_NN = (
    "Sigmoid HardSigmoid Silu HardSilu Gelu Elu Selu Celu Softplus Softsign LogSigmoid HardTanh Squareplus TanhShrink"
    " SoftShrink HardShrink SparsePlus SparseSigmoid Threshold"
)
_STEEP = ("exponential", "Exp", "Expm1", "Square")
_SMOOTH_OPERATIONS = "Tanh Exp Expm1 Square Abs Absolute Sin Cos Clip"


def _elementwise(function: Any, name: str = "") -> Elementwise:
    return Elementwise(partial(apply_function, function), _BOUNDS.get(name), name in _STEEP)


ACTIVATIONS: dict[Any, Primitive] = {
    _A.relu: Rectifier(),
    _A.relu6: Rectifier(maximum=6.0),
    _A.leaky_relu: Rectifier(negative_slope=0.2),
    _A.softmax: Softmax(),
    **{getattr(_A, name): _elementwise(getattr(_A, name), name) for name in _SMOOTH.split()},
}
"""What a layer may name as its activation."""


def ending(function: Any, shape: Shape) -> Sequence[Step]:
    """Steps of the function that a layer ends with."""
    if function is None or function is _A.linear:
        return ()
    run = partial(apply_function, function)
    site = CallSite((shape,), shape, lambda values: run(values[0]))
    listed = ACTIVATION_LAYERS.get(type(function)) if isinstance(function, _L.Layer) else None
    if listed is not None and (steps := listed(function, site)) is not None:
        return steps
    if callable(function) and function in ACTIVATIONS:
        return (Step(ACTIVATIONS[function], shape),)
    return pointwise(site) or (Step(Opaque(site.run, (shape,)), shape),)


def pointwise(site: CallSite) -> Sequence[Step] | None:
    """Anything that makes each value of the one in its place, and nothing else, told by running it on random values:
    its file form is a table, its moments are those on fields, since it may leave its domain or grow without bound.

    Nothing that has a pole at 0, and nothing of so few values that it would have to be run a hundred times.
    """
    (shape, *others), size = site.inputs, int(np.prod(site.inputs[0]))
    if others or shape != site.output or size < _FEWEST or not site.floats:
        return None

    def run(values: Array) -> Array:
        """The layer on any number of values, in portions of its own input's shape."""
        count = -(-values.size // size)
        filled = np.concatenate([values.ravel(), np.zeros(count * size - values.size)])
        made = site.run([filled.reshape(count * shape[0], *shape[1:])])
        return made.ravel()[: values.size].reshape(values.shape)

    values = _DRAWN * np.random.default_rng(0).standard_normal(size)
    try:
        found = _is_pointwise(run, values) or _is_pointwise(run, np.abs(values))  # a root, a logarithm
    except InvalidModelError:  # it cannot be run on such values
        return None
    return (Step(Opaque(site.run, site.inputs, function=run), site.output),) if found else None


def _is_pointwise(run: Callable[[Array], Array], values: Array) -> bool:
    """Whether values in another order give the same, and a few the same among quite other ones: finite numbers."""
    made, random = run(values), np.random.default_rng(1)
    near = np.where(np.arange(values.size) == 0, _NEARLY_ZERO, values)
    if not (np.all(np.abs(made) < _LARGE) and np.all(np.abs(run(near)) < _LARGE)):  # no numbers among them
        return False
    order = random.permutation(values.size)
    if not np.allclose(run(values[order]), made[order], *_ALIKE):
        return False
    kept, far = random.random(values.size) < _KEPT, 100 * np.abs(values).max()
    companions = (far, _NEARLY_ZERO, -far) if values.min() < 0 else (far, _NEARLY_ZERO)
    trials = (run(np.where(kept, values, other)) for other in companions)
    return all(np.allclose(trial[kept], made[kept], *_ALIKE) for trial in trials)


_FEWEST = 32
_DRAWN = 3.0  # deviation
_KEPT = 0.2
_NEARLY_ZERO, _LARGE = 1e-6, 1e5
_ALIKE = 1e-5, 1e-6
"""Relative and absolute: vectorised functions give other last bits in other places."""


def _relu(layer: Any, site: CallSite) -> Sequence[Step]:
    maximum = None if layer.max_value is None else float(layer.max_value)
    return (Step(Rectifier(float(layer.negative_slope), maximum, float(layer.threshold)), site.output),)


def _leaky_relu(layer: Any, site: CallSite) -> Sequence[Step]:
    return (Step(Rectifier(float(layer.negative_slope)), site.output),)


def _prelu(layer: Any, site: CallSite) -> Sequence[Step]:
    return (Step(ParametricRelu(id(layer.alpha)), site.output),)


def _softmax(layer: Any, site: CallSite) -> Sequence[Step] | None:
    if layer.axis not in (-1, len(site.output) - 1):
        return None
    return (Step(Softmax(), site.output),)


def _activation_layer(layer: Any, site: CallSite) -> Sequence[Step]:
    return ending(layer.activation, site.output)


def _smooth(layer: Any, site: CallSite) -> Sequence[Step]:
    return (Step(_elementwise(layer, type(layer).__name__), site.output),)


def _plain_relu(layer: Any, site: CallSite) -> Sequence[Step]:
    return (Step(Rectifier(), site.output),)


def _relu6(layer: Any, site: CallSite) -> Sequence[Step]:
    return (Step(Rectifier(maximum=6.0), site.output),)


ACTIVATION_LAYERS: dict[Any, ExpansionRule] = {
    _L.ReLU: _relu,
    _L.LeakyReLU: _leaky_relu,
    _L.PReLU: _prelu,
    _L.ELU: _smooth,
    _L.Softmax: _softmax,
    _L.Activation: _activation_layer,
    # operations that keras.ops and keras.activations leave in a functional model
    activations.ReLU: _relu,
    activations.Mish: _smooth,
    nn.Relu: _plain_relu,
    nn.Relu6: _relu6,
    nn.LeakyRelu: _leaky_relu,
    nn.Softmax: _softmax,
    **{getattr(nn, name): _smooth for name in _SMOOTH_NN.split()},
    **{getattr(operations, name): _smooth for name in _SMOOTH_OPERATIONS.split()},
}

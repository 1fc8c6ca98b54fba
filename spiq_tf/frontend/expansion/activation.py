"""Activations: as layers, as operations, and as the last function of another layer."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from spiq_tf.distributions.values import Array, Shape
from spiq_tf.errors import InvalidModelError
from spiq_tf.frontend.expansion.call_site import CallSite, ExpansionRule, Step, apply_function
from spiq_tf.frontend.keras_internals import operation_classes
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


def elementwise(function: Any, name: str = "") -> Elementwise:
    """The primitive of a function of Keras on single values.

    Args:
        function: takes and returns a tensor.
        name: of the function or class, for what is known of its bounds and slope.
    """
    return Elementwise(partial(apply_function, function), _BOUNDS.get(name), name in _STEEP)


ACTIVATIONS: dict[Any, Primitive] = {
    _A.relu: Rectifier(),
    _A.relu6: Rectifier(maximum=6.0),
    _A.leaky_relu: Rectifier(negative_slope=0.2),
    _A.softmax: Softmax(),
    **{getattr(_A, name): elementwise(getattr(_A, name), name) for name in _SMOOTH.split() if hasattr(_A, name)},
}
"""What a layer may name as its activation."""


def fused_activation_steps(function: Any, shape: Shape) -> Sequence[Step]:
    """The steps of a layer's own activation.

    Args:
        function: the activation; None where the layer has none.
        shape: of the tensor that it is applied to.
    """
    if function is None or function is _A.linear:
        return ()
    run = partial(apply_function, function)
    site = CallSite(inputs=(shape,), output=shape, run=lambda values: run(values[0]))
    listed = ACTIVATION_LAYERS.get(type(function)) if isinstance(function, _L.Layer) else None
    if listed is not None and (steps := listed(function, site)) is not None:
        return steps
    if callable(function) and function in ACTIVATIONS:
        return (Step(ACTIVATIONS[function], shape),)
    return pointwise(site) or (Step(Opaque(evaluate=site.run, shapes=(shape,)), shape),)


def pointwise(site: CallSite) -> Sequence[Step] | None:
    """Any elementwise function, recognized by running the layer on random values.

    The file holds a lookup table of it; its moments are sampled, since the closed form may leave its domain or grow
    without bound. Functions with a pole at 0 are left out, and calls on so few values that the layer would have to be
    run a hundred times.

    Returns:
        None where it is no such function.
    """
    (shape, *others), size = site.inputs, int(np.prod(site.inputs[0]))
    if others or shape != site.output or size < _MIN_VALUES or not site.floats:
        return None

    def run(values: Array) -> Array:
        """The layer on any number of values, in chunks of its own input's shape."""
        count = -(-values.size // size)
        padded = np.concatenate([values.ravel(), np.zeros(count * size - values.size)])
        output = site.run([padded.reshape(count * shape[0], *shape[1:])])
        return output.ravel()[: values.size].reshape(values.shape)

    values = _DEVIATION * np.random.default_rng(0).standard_normal(size)
    try:
        elementwise = _is_pointwise(run, values) or _is_pointwise(run, np.abs(values))  # a root, a logarithm
    except InvalidModelError:  # it cannot be run on such values
        return None
    return (Step(Opaque(evaluate=site.run, shapes=site.inputs, function=run), site.output),) if elementwise else None


def _is_pointwise(run: Callable[[Array], Array], values: Array) -> bool:
    """Whether each output depends on its own input alone, and is finite: it stays the same when the values are
    permuted, and when most of the others are replaced."""
    expected, random = run(values), np.random.default_rng(1)
    near = np.where(np.arange(values.size) == 0, _NEARLY_ZERO, values)
    if not (np.all(np.abs(expected) < _LARGE) and np.all(np.abs(run(near)) < _LARGE)):  # NaN fails too
        return False
    order = random.permutation(values.size)
    if not np.allclose(run(values[order]), expected[order], *_TOLERANCE):
        return False
    same, far = random.random(values.size) < _UNCHANGED_SHARE, 100 * np.abs(values).max()
    replacements = (far, _NEARLY_ZERO, -far) if values.min() < 0 else (far, _NEARLY_ZERO)
    trials = (run(np.where(same, values, other)) for other in replacements)
    return all(np.allclose(trial[same], expected[same], *_TOLERANCE) for trial in trials)


_MIN_VALUES = 32
_DEVIATION = 3.0  # of the random values
_UNCHANGED_SHARE = 0.2
_NEARLY_ZERO, _LARGE = 1e-6, 1e5
_TOLERANCE = 1e-5, 1e-6
"""Relative and absolute: the last bits of vectorized functions depend on the index."""


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
    return fused_activation_steps(layer.activation, site.output)


def _smooth(layer: Any, site: CallSite) -> Sequence[Step]:
    return (Step(elementwise(layer, type(layer).__name__), site.output),)


def _plain_relu(layer: Any, site: CallSite) -> Sequence[Step]:
    return (Step(Rectifier(), site.output),)


def _relu6(layer: Any, site: CallSite) -> Sequence[Step]:
    return (Step(Rectifier(maximum=6.0), site.output),)


def rules(module: str, names: Mapping[ExpansionRule, str]) -> dict[Any, ExpansionRule]:
    """The rules of operations by their class, for those that this Keras has.

    Args:
        module: of keras.src, as `operation_classes` takes it.
        names: of the classes that each rule is for, separated by spaces.
    """
    return {kind: rule for rule, listed in names.items() for kind in operation_classes(module, listed).values()}


ACTIVATION_LAYERS: dict[Any, ExpansionRule] = {
    _L.ReLU: _relu,
    _L.LeakyReLU: _leaky_relu,
    _L.PReLU: _prelu,
    _L.ELU: _smooth,
    _L.Softmax: _softmax,
    _L.Activation: _activation_layer,
    # operations that keras.ops and keras.activations leave in a functional model
    **rules("activations.activations", {_relu: "ReLU", _smooth: "Mish"}),
    **rules("ops.nn", {_plain_relu: "Relu", _relu6: "Relu6", _leaky_relu: "LeakyRelu", _softmax: "Softmax"}),
    **rules("ops.nn", {_smooth: _SMOOTH_NN}),
    **rules("ops.numpy", {_smooth: _SMOOTH_OPERATIONS}),
}

"""The table of layers and operations: an expansion rule for each kind."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from spiq_tf.frontend.expansion import data_movement, linear
from spiq_tf.frontend.expansion.activation import ACTIVATION_LAYERS, pointwise, rules
from spiq_tf.frontend.expansion.call_site import CallSite, ExpansionRule, Step
from spiq_tf.frontend.expansion.gating import gated_linear_unit
from spiq_tf.frontend.expansion.merge import MERGES, divide, negative, scaled, shifted


def expand(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """The steps of a layer, or None if its kind is unknown or it overrides what its kind computes."""
    if any(isinstance(a, keras.Variable) for a in site.arguments):
        rule = OPERATIONS_WITH_VARIABLE_OPERAND.get(type(layer))
        return None if rule is None else rule(layer, site)
    rule = _rule_of(layer)
    steps = None if rule is None else rule(layer, site)
    if steps is None and not getattr(layer, "variables", ()):
        return pointwise(site)
    return steps


def _rule_of(layer: Any) -> ExpansionRule | None:
    for kind in type(layer).__mro__:
        if kind in LAYERS:
            return LAYERS[kind]
        if set(vars(kind)) - _HARMLESS:
            return None  # a subclass with code of its own, that may compute anything
    return None


_HARMLESS = {"__init__", "get_config", "from_config", *vars(type("Empty", (), {}))}
"""What a subclass may define and still compute what its parent does."""


def _nothing(layer: Any, site: CallSite) -> Sequence[Step]:
    return ()


def _layer_rules(names: Mapping[ExpansionRule, str]) -> dict[Any, ExpansionRule]:
    """The rules of layers by their class, for those that this Keras has."""
    pairs = ((rule, name) for rule, listed in names.items() for name in listed.split())
    return {getattr(keras.layers, name): rule for rule, name in pairs if hasattr(keras.layers, name)}


LAYERS: dict[Any, ExpansionRule] = {
    **ACTIVATION_LAYERS,
    **_layer_rules({rule: name for name, rule in MERGES.items()}),
    **_layer_rules(
        {
            linear.convolution: "Conv1D Conv2D DepthwiseConv1D DepthwiseConv2D",
            linear.transposed: "Conv1DTranspose Conv2DTranspose",
            linear.separable: "SeparableConv1D SeparableConv2D",
            linear.dense: "Dense",
            linear.batch_norm: "BatchNormalization",
            linear.runtime_normalization: "GroupNormalization LayerNormalization RMSNormalization",
            linear.rescaling: "Rescaling",
            linear.normalization: "Normalization",
            data_movement.average_pool: "AveragePooling1D AveragePooling2D",
            data_movement.max_pool: "MaxPooling1D MaxPooling2D",
            data_movement.global_average: "GlobalAveragePooling1D GlobalAveragePooling2D",
            data_movement.global_max: "GlobalMaxPooling1D GlobalMaxPooling2D",
            data_movement.flattened: "Flatten",
            data_movement.zero_pad: "ZeroPadding1D ZeroPadding2D",
            data_movement.rearranged: "Reshape Permute RepeatVector Cropping1D Cropping2D CenterCrop Resizing"
            " UpSampling1D UpSampling2D",
            # at inference
            _nothing: "InputLayer Identity Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D AlphaDropout"
            " GaussianDropout GaussianNoise ActivityRegularization RandomBrightness RandomContrast RandomFlip"
            " RandomRotation RandomTranslation RandomZoom",
        },
    ),
    # what keras.ops leaves in a functional model
    **rules("ops.image", {data_movement.patches: "ExtractPatches"}),
    **rules("ops.nn", {gated_linear_unit: "Glu"}),
    **rules("ops.numpy", {rule: name for name, rule in MERGES.items() if name != "Average"}),
    **rules(
        "ops.numpy",
        {
            divide: "TrueDivide Divide",
            negative: "Negative",
            data_movement.mean: "Mean",
            data_movement.reduce_max: "Max Amax",
            data_movement.reduce_sum: "Sum",
            data_movement.padded: "Pad",
            data_movement.rearranged: "Reshape Ravel Transpose Moveaxis Swapaxes ExpandDims Squeeze GetItem Split"
            " Repeat Tile Flip Roll Take",
        },
    ),
}

OPERATIONS_WITH_VARIABLE_OPERAND: dict[Any, ExpansionRule] = rules("ops.numpy", {scaled: "Multiply", shifted: "Add"})
"""Operations on a tensor and a weight that belongs to no layer of the table."""

"""The table of layers and operations: one entry a kind."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras.src.ops import image as image_operations
from keras.src.ops import numpy as operations

from spiq_tf.frontend.expansion import data_movement, linear
from spiq_tf.frontend.expansion.activation import ACTIVATION_LAYERS, pointwise
from spiq_tf.frontend.expansion.call_site import CallSite, ExpansionRule, Step
from spiq_tf.frontend.expansion.merge import MERGES, divide, negative, scaled, shifted


def expand(layer: Any, site: CallSite) -> Sequence[Step] | None:
    """The steps of a layer, or None if its kind is unknown or it overrides what its kind computes."""
    if any(isinstance(a, keras.Variable) for a in site.arguments):
        return WEIGHTED[type(layer)](layer, site) if type(layer) in WEIGHTED else None
    listed = _listed(layer)
    steps = None if listed is None else listed(layer, site)
    if steps is None and not getattr(layer, "variables", ()):
        return pointwise(site)
    return steps


def _listed(layer: Any) -> ExpansionRule | None:
    for kind in type(layer).__mro__:
        if kind in LAYERS:
            return LAYERS[kind]
        if set(vars(kind)) - _HARMLESS:
            return None  # a subclass with code of its own: what it computes cannot be told
    return None


_HARMLESS = {"__init__", "get_config", "from_config", *vars(type("Empty", (), {}))}
"""What a subclass may define and still compute what its parent does."""


def _nothing(layer: Any, site: CallSite) -> Sequence[Step]:
    return ()


def _kinds(module: Any, names: Mapping[ExpansionRule, str]) -> dict[Any, ExpansionRule]:
    return {getattr(module, name): expander for expander, listed in names.items() for name in listed.split()}


LAYERS: dict[Any, ExpansionRule] = {
    **ACTIVATION_LAYERS,
    **_kinds(keras.layers, {expander: name for name, expander in MERGES.items()}),
    **_kinds(
        keras.layers,
        {
            linear.convolution: "Conv1D Conv2D DepthwiseConv1D DepthwiseConv2D",
            linear.transposed: "Conv1DTranspose Conv2DTranspose",
            linear.separable: "SeparableConv1D SeparableConv2D",
            linear.dense: "Dense",
            linear.batch_norm: "BatchNormalization",
            linear.normalised: "GroupNormalization LayerNormalization RMSNormalization",
            linear.rescaling: "Rescaling",
            linear.normalization: "Normalization",
            data_movement.average_pool: "AveragePooling1D AveragePooling2D",
            data_movement.max_pool: "MaxPooling1D MaxPooling2D",
            data_movement.global_average: "GlobalAveragePooling1D GlobalAveragePooling2D",
            data_movement.global_max: "GlobalMaxPooling1D GlobalMaxPooling2D",
            data_movement.flattened: "Flatten",
            data_movement.zero_pad: "ZeroPadding1D ZeroPadding2D",
            data_movement.moved: "Reshape Permute RepeatVector Cropping1D Cropping2D CenterCrop Resizing UpSampling1D"
            " UpSampling2D",
            # at inference
            _nothing: "InputLayer Identity Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D AlphaDropout"
            " GaussianDropout GaussianNoise ActivityRegularization RandomBrightness RandomContrast RandomFlip"
            " RandomRotation RandomTranslation RandomZoom",
        },
    ),
    # what keras.ops leaves in a functional model
    **_kinds(image_operations, {data_movement.patches: "ExtractPatches"}),
    **_kinds(operations, {expander: name for name, expander in MERGES.items() if name != "Average"}),
    **_kinds(
        operations,
        {
            divide: "TrueDivide Divide",
            negative: "Negative",
            data_movement.mean: "Mean",
            data_movement.largest: "Max Amax",
            data_movement.total: "Sum",
            data_movement.padded: "Pad",
            data_movement.moved: "Reshape Ravel Transpose Moveaxis Swapaxes ExpandDims Squeeze GetItem Split Repeat"
            " Tile Flip Roll Take",
        },
    ),
}

WEIGHTED: dict[Any, ExpansionRule] = {operations.Multiply: scaled, operations.Add: shifted}
"""Operations on a tensor and a weight that belongs to no layer of the table."""

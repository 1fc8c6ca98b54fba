"""The networks whose files two commits are compared by: every layer row, every small network, some random ones.

The tests' modules of this checkout build them, with Keras alone, so that any commit can convert them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
from keras import layers

from tests.layer_table import TABLE, Row
from tests.networks import NETWORKS, settle
from tests.random_networks import build, draw_description

RANDOM_NETWORKS = 20

VARIANTS: dict[str, dict[str, Any]] = {
    "spiq": {"method": "spiq"},
    "dfq": {"method": "dfq"},
    "uint8": {"inference_input_type": "uint8", "inference_output_type": "uint8"},
    "float32": {"inference_input_type": "float32", "inference_output_type": "float32"},
    "batch": {"batch_size": 3},
}
"""Options with which a few networks are converted in addition to the default ones."""

VARIED = ("residual", "depthwise", "two_outputs", "preactivation")
"""Networks that are converted with each of these options."""


@dataclass(frozen=True)
class Case:
    """A network to convert.

    Attributes:
        build: makes the model.
        options: arguments of `spiq_tf.convert` beside the input range and the target.
    """

    build: Callable[[], Any]
    options: Mapping[str, Any] = field(default_factory=dict)


def cases() -> dict[str, Case]:
    """All of them by name."""
    result = {f"layer/{row.name}": Case(partial(_row_network, row)) for row in TABLE}
    if len(result) != len(TABLE):
        raise ValueError("two rows of the layer table have one name")
    result |= {f"network/{name}": Case(make) for name, make in NETWORKS.items()}
    for name in VARIED:
        result |= {f"network/{name}+{variant}": Case(NETWORKS[name], how) for variant, how in VARIANTS.items()}
    for seed in range(RANDOM_NETWORKS):
        result[f"random/{seed:02}"] = Case(partial(build, draw_description(seed)))
    return result


def build_fresh(case: Case) -> Any:
    """The model, the same in every process whatever was built before."""
    keras.utils.set_random_seed(1)
    keras.backend.clear_session()
    return case.build()


def _row_network(row: Row) -> Any:
    """The row's layer after two convolutions with BatchNorm."""
    image = keras.Input((10, 10, 3), name="image")
    x, y = (layers.BatchNormalization()(layers.Conv2D(6, 3)(image)) for _ in range(2))
    return settle(keras.Model(image, row.apply(x, y)))

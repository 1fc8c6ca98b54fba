"""What must hold of a captured model's weights before anything is computed from them."""

import numpy as np

from spiq_tf.errors import InvalidModelError
from spiq_tf.graph.layer_graph import LayerGraph


def check_weights(graph: LayerGraph) -> None:
    """Raises InvalidModelError, naming the layer, where a weight is no finite number or a variance is negative."""
    for variable in graph.variables.values():
        values = np.asarray(variable.numpy(), np.float32)
        broken = np.count_nonzero(~np.isfinite(values))
        if broken:
            raise InvalidModelError(
                f"layer {_owner(variable)!r}: expected finite weights, found {broken} NaN or infinite of"
                f" {values.size} values in {variable.name!r}; the training diverged, or the file is damaged"
            )
    for node in graph.nodes:
        stated = node.primitive.input_moments(graph.weights)
        if stated is not None and (lowest := stated.variance.min()) < 0:
            raise InvalidModelError(
                f"layer {node.call.name!r}: expected moving_variance >= 0, found {lowest:g}; the weights were"
                " loaded into the wrong variables, or the file is damaged"
            )


def _owner(variable: object) -> str:
    return str(getattr(variable, "path", "")).rpartition("/")[0] or "?"

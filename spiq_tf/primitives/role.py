"""What a layer is for in its network, as far as the statistics of its output depend on that.

Roles are facts about the graph, see `graph/classifier_head.py`; a primitive in the graph does not hold its own. Who
asks for moments or distributions passes the role: `primitive.in_role(role).moments(...)`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClassifierHead:
    """A layer of the classifier head: one that reads features of a whole example, without spatial locations.

    Attributes:
        num_logits: number of logits that the model computes from the layer's output.
        is_logits: whether the output is those logits.
        hidden_depth: number of such layers before it.
    """

    num_logits: int
    is_logits: bool
    hidden_depth: int = 0


@dataclass(frozen=True, kw_only=True)
class Role:
    """The role of one layer.

    Attributes:
        head: where a linear primitive stands in the classifier head, or None outside it.
        is_dense_output: whether a linear primitive makes a feature map after which nothing linear follows up to the
            model's outputs: class maps, pixels.
        averages_are_logits: whether the averages of a global pool are the logits: no linear primitive reads them.
    """

    head: ClassifierHead | None = None
    is_dense_output: bool = False
    averages_are_logits: bool = False


NO_ROLE = Role()

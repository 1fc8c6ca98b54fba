"""Which tensor of the graph a tensor of the file holds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorProvenance:
    """What a tensor of the file holds.

    Attributes:
        name: of the graph's tensor.
        factor: the file's values over the graph's (file units over rescaled units). Not 1 where the converter has moved
            a factor from the end of a layer into the weights of the next one (an average's half, a hard sigmoid's
            sixth).
    """

    name: str
    factor: float = 1.0

"""What is known of a target: the type of the rows in this package's modules."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RequantizationLimits:
    """Bounds of the ratios of scales that kernels hold as fixed-point multipliers.

    Attributes:
        largest: input scale x weight scale / output scale stays below it, as does the product of a MUL's input scales
            over the output scale, and an addend's scale over that of the sum.
        smallest_addend: what an addend's scale over that of the sum is at least.
        smallest_hard_swish: what the output scale over the input scale of a hard swish is at least.
    """

    largest: float
    smallest_addend: float
    smallest_hard_swish: float


EVERY_RUNTIME_LIMITS = RequantizationLimits(largest=256.0, smallest_addend=2.0**-10, smallest_hard_swish=1 / 128)
"""XNNPACK refuses to start where a convolution's multiplier is 256 or more (its checks of requantization scales), and
leaves additions and products outside the first two limits to slower kernels; LiteRT's own kernel of a hard swish
refuses to start below the third."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A runtime, or a compiler for an accelerator.

    Attributes:
        name: as users write it.
        operators: the operators that it maps, each with the highest version that it parses, None for any; None where
            every built-in operator runs.
        precisions: in which it computes: "w8a8", int8 weights and activations; "float".

        per_channel_dense: whether a fully connected operator's weights may have a scale for each output.
        largest_multiplier: what input scale x weight scale / output scale must stay below, or None.
        dynamic_batch: whether the batch may be left open in the shapes' signatures.
        largest_batch: of the model's inputs, or None.
        largest_rank: how many axes of a tensor, counted from the last, may be longer than 1, or None.
        pools_fuse: whether pools and concatenations may end with an activation.
        aligned: whether constants are read in place, at multiples of 16 bytes.
        channel_slopes: whether the slopes of PRELU may not differ along other axes than the last.

        requantization: limits that the converted file keeps to. By default those of LiteRT, on which every file is
            tried, whatever it is made for.
        native_prelu: whether a PRELU of feature maps stays one operator, rather than a depthwise convolution and an
            addition: where that is at least as fast and no less accurate.
        prefers_xnnpack: whether operators that XNNPACK, the delegate of LiteRT for CPUs, leaves to slower kernels are
            replaced by such that it takes, though LiteRT's own kernels may be slower at those.
        largest_squared_product: how many squares that a MUL computes are summed as products of vectors instead; of
            more, BATCH_MATMUL is slower. Measured with XNNPACK: from 2^14 on it takes 4 to 10 times as long.
    """

    name: str
    operators: Mapping[str, int | None] | None = None
    precisions: tuple[str, ...] = ("w8a8",)

    per_channel_dense: bool = False
    largest_multiplier: float | None = None
    dynamic_batch: bool = True
    largest_batch: int | None = None
    largest_rank: int | None = None
    pools_fuse: bool = True
    aligned: bool = False
    channel_slopes: bool = False

    requantization: RequantizationLimits = EVERY_RUNTIME_LIMITS
    native_prelu: bool = False
    prefers_xnnpack: bool = False
    lists_slow_operators: bool = False
    largest_squared_product: int = 2**14

    def runs(self, kind: str) -> bool:
        """Whether it has an operator, by its name in the schema ("CONV_2D")."""
        return self.operators is None or kind in self.operators

    def highest_version(self, kind: str) -> int | None:
        """The highest version of an operator that it parses; None where any will do."""
        return None if self.operators is None else self.operators[kind]

    @property
    def runs_floats(self) -> bool:
        """Whether float operators run on it too."""
        return "float" in self.precisions

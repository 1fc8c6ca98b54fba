"""What changes while a file is made: the float flatbuffer, and what is known of its tensors."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from spiq_tf.distributions.tails import ChannelDistribution
from spiq_tf.distributions.values import Array, ChannelRanges, InputStatistics, Moments
from spiq_tf.graph.layer_graph import LayerGraph
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.provenance import TensorProvenance

ElementwiseFunction: TypeAlias = Callable[[Array], Array]
"""A function of real values, elementwise; NaN outside its domain."""


@dataclass(kw_only=True)
class FileState:
    """The float file while passes rewrite it. Tensors stand under their indices in it, which never change.

    Attributes that the passes change:
        flat: the file itself.
        ranges: of the activations' channels, in file units: at first of tensors that hold the graph's or lie inside
            opaque layers, after interval arithmetic of all.
        lookup_tables: the elementwise functions that lookup tables compute, in file units, by output.
        inputs: what is known of the file's inputs, in the model's order: of a Rescaling's output where an input has
            taken that in.
        bias_offsets: by how much the model's values of a tensor are larger than the file's.
        equal_scales: for a tensor that a pass has made of another's values, that one: both get one range.
        float_outputs: outputs of operators that stay float: at first of those that the user asked for.

    Attributes that they only read:
        graph: the model that the file was lowered from.
        provenance: the graph's tensor that each tensor holds; converter-generated intermediates are absent.
        origin_calls: the layer call that each operator comes from, by output, where that is known.
        distributions: of the graph's tensors, by name, in the model's units.
        user_ranges: tensors that keep to the very range that the user gave.
        uint8_inputs: whether the file's inputs take bytes.
    """

    flat: FlatModel
    ranges: dict[int, ChannelRanges] = field(default_factory=dict)
    lookup_tables: dict[int, ElementwiseFunction] = field(default_factory=dict)
    inputs: list[InputStatistics] = field(default_factory=list)
    bias_offsets: dict[int, float] = field(default_factory=dict)
    equal_scales: dict[int, int] = field(default_factory=dict)
    float_outputs: frozenset[int] = frozenset()
    graph: LayerGraph
    provenance: Mapping[int, TensorProvenance] = field(default_factory=dict)
    origin_calls: Mapping[int, int] = field(default_factory=dict)
    distributions: Mapping[str, ChannelDistribution] = field(default_factory=dict)
    user_ranges: frozenset[int] = frozenset()
    uint8_inputs: bool = False

    def outputs_of(self, calls: Collection[int]) -> frozenset[int]:
        """The tensors that the operators of some layer calls make."""
        return frozenset(index for index, call in self.origin_calls.items() if call in calls)

    def holding(self, names: Collection[str]) -> list[int]:
        """The tensors that hold some of the graph's, by name."""
        return [index for index, origin in self.provenance.items() if origin.name in names]


@dataclass(kw_only=True)
class IntegerState:
    """The quantized file while passes rewrite its integer operators. Tensors keep the indices of the float file.

    Attributes that the passes change:
        flat: the file itself.
        provenance: the graph's tensor that each tensor holds; a factor changes where a tensor comes to hold a multiple.
        multiples: how many times their values tensors hold, by index, where a factor was absorbed.
        lookup_tables: see `FileState`; those that are still to be written.

    Attributes that they only read:
        moments: of the channels of activations, by tensor index, in units of the float file, where they are known.
    """

    flat: FlatModel
    provenance: dict[int, TensorProvenance] = field(default_factory=dict)
    multiples: dict[int, float] = field(default_factory=dict)
    lookup_tables: dict[int, ElementwiseFunction] = field(default_factory=dict)
    moments: Mapping[int, Moments] = field(default_factory=dict)

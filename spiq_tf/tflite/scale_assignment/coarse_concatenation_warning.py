"""Warns of inputs that a concatenation leaves too few integers for: scores in [0, 1] beside boxes in pixels."""

from collections.abc import Collection, Mapping

from spiq_tf.distributions.values import ChannelRanges
from spiq_tf.errors import CoarseScaleWarning, warn_user
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.provenance import TensorProvenance

_FEWEST_STEPS = 8  # three of eight bits: the width of a range is some eight deviations


def warn_of_concatenation_resolution(
    flat: FlatModel,
    ranges: Mapping[int, ChannelRanges],
    tensor_ranges: Mapping[int, TensorRange],
    tensors: Mapping[int, TensorProvenance],
    scaled: Collection[str],
) -> None:
    """Warns of each input of a concatenation that spans less than 8 integer steps of its scale.

    Args:
        flat: the float file.
        ranges: of every activation's channels, by tensor index, in file units.
        tensor_ranges: of every activation as a whole.
        tensors: the graph's tensor that each of the file's holds.
        scaled: names of those with scales for each channel, which bring unlike values together: what stays small beside
            others is dead.
    """

    def named(index: int) -> str:
        return repr(tensors[index].name if index in tensors else flat.name(index))

    for operator in flat.operators:
        if flat.kind(operator) != "CONCATENATION":
            continue
        output = int(operator.outputs[0])
        whole = tensor_ranges[output]
        for index in dict.fromkeys(int(i) for i in operator.inputs if int(i) in ranges):
            if index in tensors and tensors[index].name in scaled:
                continue
            low, high = float(ranges[index].low.min()), float(ranges[index].high.max())
            steps = (high - low) / whole.scale
            if 0 < steps < _FEWEST_STEPS:
                text = (
                    f"{named(index)} with values in [{low:.3g}, {high:.3g}] is concatenated to {named(output)}, whose"
                    f" one scale must reach over [{whole.low:.3g}, {whole.high:.3g}]: {steps:.1f} of its"
                    f" {whole.bit_width.levels} steps are left to it; return it as an output of its own, or bring both"
                    " to similar ranges"
                )
                warn_user(text, CoarseScaleWarning)

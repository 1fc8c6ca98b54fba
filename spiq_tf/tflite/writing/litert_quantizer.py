"""Float flatbuffer and ranges -> int8 flatbuffer, by litert-quantizer: the only module that imports it."""

import re
from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
from litert_quantizer import algorithm_manager, qtyping, quantizer, recipe

from spiq_tf.quantization.bit_width import INT8, INT8_WEIGHT
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.operators.operator import Operator, Quantizer
from spiq_tf.tflite.operators.table import OPERATORS
from spiq_tf.tflite.silence import silence

_LEAVE_FLOAT = algorithm_manager.AlgorithmName.NO_QUANTIZE
_OTHER_NAMES = {"CONV_2D_TRANSPOSE": "TRANSPOSE_CONV"}
"""Names of the schema that litert-quantizer calls otherwise."""


def quantizer_rows() -> dict[qtyping.TFLOperationName, Operator]:
    """The rows of the operator table that litert-quantizer knows, by its own names."""
    rows = {name: OPERATORS.get(_OTHER_NAMES.get(name.value, name.value)) for name in qtyping.TFLOperationName}
    return {name: row for name, row in rows.items() if row is not None}


def quantize(
    flat: FlatModel,
    tensor_ranges: Mapping[int, TensorRange],
    float_outputs: Collection[int],
    per_channel_dense: bool,
) -> FlatModel:
    """The int8 file: weights as they stand on their grids, activations with the scales of their ranges.

    Args:
        flat: the float file with rounded weights; tensors of one name are given names of their own, in place, since
            litert-quantizer knows tensors by their names.
        tensor_ranges: of every activation, by tensor index, in file units.
        float_outputs: outputs of the operators that stay float.
        per_channel_dense: whether a fully connected operator's weights have a scale for each output.
    """
    _make_names_unique(flat)
    writer = quantizer.Quantizer(flat.content(), recipe.static_wi8_ai8())
    for name, row in quantizer_rows().items():
        if row.tensorwise_constant or (row.optional_channel_scales and not per_channel_dense):
            tensorwise = qtyping.QuantGranularity.TENSORWISE
            writer.add_static_config(".*", name, INT8.bits, INT8_WEIGHT.bits, tensorwise)
        if row.quantizer is not Quantizer.LITERT_QUANTIZER:
            writer.update_quantization_recipe(".*", name, algorithm_key=_LEAVE_FLOAT)
    if float_outputs:
        # the quantizer matches an operator by the names of its outputs, each followed by a semicolon
        names = "|".join(re.escape(flat.name(index)) for index in sorted(float_outputs))
        writer.update_quantization_recipe(
            f"^(?:{names});", qtyping.TFLOperationName.ALL_SUPPORTED, algorithm_key=_LEAVE_FLOAT
        )
    statistics = {
        flat.name(index): {"min": np.array(r.low, np.float32), "max": np.array(r.high, np.float32)}
        for index, r in tensor_ranges.items()
    }
    with silence():
        result = writer.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    return FlatModel(result.quantized_model)


def _make_names_unique(flat: FlatModel) -> None:
    """Appends a number, in place, to the name of each tensor whose name another one before it has."""
    count = Counter(flat.name(index) for index in range(len(flat.subgraph.tensors)))
    seen: Counter[str] = Counter()
    for index, tensor in enumerate(flat.subgraph.tensors):
        name = flat.name(index)
        seen[name] += 1
        number = seen[name]
        while number > 1 and f"{name}_{number}" in count:
            number += 1
        if number > 1:
            tensor.name = f"{name}_{number}".encode()
            count[f"{name}_{number}"] += 1

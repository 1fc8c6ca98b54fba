"""What litert-quantizer leaves float although the runtimes have int8 kernels for it -> int8."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from spiq_tf.quantization.parameters import QuantizationParameters
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.operators.operator import Quantizer, Scales


def complete_int8(flat: FlatModel, tensor_ranges: Mapping[int, TensorRange], float_outputs: Collection[int]) -> None:
    """Makes int8, in place, outputs that nothing reads, and the operators of the table that are left to us and stand
    between int8 tensors, alone or with others of their kind.

    Args:
        flat: the file as litert-quantizer wrote it.
        tensor_ranges: of every activation, by tensor index.
        float_outputs: outputs of the operators that stay float.
    """
    _quantize_unread_outputs(flat, tensor_ranges)
    _quantize_operators(flat, {index: r for index, r in tensor_ranges.items() if index not in float_outputs})


def _quantize_unread_outputs(flat: FlatModel, tensor_ranges: Mapping[int, TensorRange]) -> None:
    """Outputs that nothing reads, of operators with others that are int8 (one half of a split): the quantizer leaves
    them float, which no runtime takes."""
    read = {int(i) for operator in flat.operators for i in operator.inputs} | {int(i) for i in flat.subgraph.outputs}
    for operator in flat.operators:
        outputs = [int(i) for i in operator.outputs]
        others = [p for i in outputs if (p := flat.quantization(i)) is not None]
        for index in outputs:
            if index not in read and flat.dtype(index) == np.float32 and others:
                # a split's halves have one scale, to the last bit
                shared = others[0] if flat.row(operator).scales is Scales.SAME else None
                flat.set_quantization(index, shared or tensor_ranges[index].quantization)


def _quantize_operators(flat: FlatModel, tensor_ranges: Mapping[int, TensorRange]) -> None:
    """The operators between int8 tensors; the conversions to float and back around them go.

    `dequantized` maps a float tensor to the int8 one that it is made from, `replaced` an int8 one to its equal.
    """
    chosen = _between_integers(flat, tensor_ranges)
    written = {int(o.inputs[0]): int(o.outputs[0]) for o in flat.operators if flat.kind(o) == "QUANTIZE"}
    dequantized = {int(o.outputs[0]): int(o.inputs[0]) for o in flat.operators if flat.kind(o) == "DEQUANTIZE"}
    replaced: dict[int, int] = {}
    result: list[Any] = []
    for operator in flat.operators:
        operator.inputs = np.array([replaced.get(int(i), int(i)) for i in operator.inputs], np.int32)
        output = int(operator.outputs[0])
        if id(operator) in chosen:
            # the quantizer's own numbers, where there are any: runtimes ask for scales that are equal to the last bit
            parameters = flat.quantization(written[output]) if output in written else None
            _quantize_operator(flat, operator, dequantized, parameters or tensor_ranges[output].quantization)
            dequantized[output] = output
        elif flat.kind(operator) == "QUANTIZE" and dequantized.get(int(operator.inputs[0])) == int(operator.inputs[0]):
            replaced[output] = int(operator.inputs[0])
            continue
        result.append(operator)
    flat.subgraph.outputs = np.array([replaced.get(int(i), int(i)) for i in flat.subgraph.outputs], np.int32)
    read = {int(i) for operator in result for i in operator.inputs} | set(map(int, flat.subgraph.outputs))
    flat.subgraph.operators = [o for o in result if flat.kind(o) != "DEQUANTIZE" or int(o.outputs[0]) in read]


def _between_integers(flat: FlatModel, tensor_ranges: Mapping[int, TensorRange]) -> set[int]:
    """Identities of the float operators that are left to us and whose neighbors are int8 or will be."""
    producers, consumers = flat.producers(), flat.all_consumers()
    chosen = {
        id(o): o
        for o in flat.operators
        if flat.row(o).quantizer is Quantizer.COMPLETE_INT8
        and int(o.outputs[0]) in tensor_ranges
        and flat.dtype(int(o.outputs[0])) == np.float32
    }

    def fits(operator: Any) -> bool:
        before = [producers.get(index) for index in flat.activation_inputs(operator)]
        after = consumers.get(int(operator.outputs[0]), [])
        reads_integers = all(m is not None and (id(m) in chosen or flat.kind(m) == "DEQUANTIZE") for m in before)
        return reads_integers and all(id(r) in chosen or flat.kind(r) == "QUANTIZE" for r in after)

    while misfits := [key for key, operator in chosen.items() if not fits(operator)]:
        for key in misfits:
            del chosen[key]
    return set(chosen)


def _quantize_operator(
    flat: FlatModel, operator: Any, dequantized: Mapping[int, int], parameters: QuantizationParameters
) -> None:
    """One operator, whose inputs are replaced by integer ones; `parameters` are its output's where scales are free."""
    same = flat.row(operator).scales is Scales.SAME
    inputs = [dequantized.get(int(i), int(i)) for i in operator.inputs]
    data = flat.quantization(inputs[0]) or parameters
    for operand, index in enumerate(inputs):
        if flat.is_constant(index) and flat.dtype(index) == np.float32:
            grid = data if same else None  # the slopes of a PRELU have one of their own
            inputs[operand] = flat.add_quantized_constant(f"{flat.name(index)}/int8", flat.value(index), grid)
    operator.inputs = np.array(inputs, np.int32)
    flat.set_quantization(int(operator.outputs[0]), data if same else parameters)

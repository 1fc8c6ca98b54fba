"""Layers that sort or accumulate stay float as a whole.

TOPK_V2 and CUMSUM have no int8 form: around them int8 operators would be islands of a few, with conversions on every
shore, and the sums that a CUMSUM makes range too far for 8 bits. A sparsemax of 56 x 56 x 32 behind a convolution has
11.9 dB as a whole and 5.0 in parts, and on noise it is no slower: sorting takes nearly all of its time.
"""

from spiq_tf.tflite.state import FileState

_FLOAT_ALONE = ("TOPK_V2", "CUMSUM")

_BETTER_IN_INT8 = ("BATCH_MATMUL", "CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
"""They gain more by 8 bits than conversions cost. A DEPTHWISE_CONV_2D may be a product by now."""


def sorting_layers_to_float(state: FileState) -> None:
    """Asks, in place, for float operators in layers that no rule describes and that sort or accumulate.

    Given:
        s = CUMSUM(TOPK_V2(x))
        y = SUB(x, s), all of one layer

    Result:
        state.float_outputs has both, and what lies between

    Left alone where the layer multiplies matrices.
    """
    opaque = {node.call.index for node in state.graph.nodes if node.primitive.is_opaque and node.call is not None}
    kinds: dict[int, set[str]] = {}
    for operator in state.flat.operators:
        call = state.origin_calls.get(int(operator.outputs[0]))
        if call in opaque:
            kinds.setdefault(call, set()).add(state.flat.kind(operator))
    chosen = [
        call
        for call, found in kinds.items()
        if not found.isdisjoint(_FLOAT_ALONE) and found.isdisjoint(_BETTER_IN_INT8)
    ]
    state.float_outputs |= state.outputs_of(chosen)

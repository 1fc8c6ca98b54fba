"""The passes, in the order in which they run. The list is the documentation of that order.

Lowering comes first: the converter's file, constants folded, is where the graph's tensors are found by value, before
anything is rewritten. Then four groups run, and ranges are added between them:

- STRUCTURAL_PASSES look at operators and constants alone.
- FUNCTION_PASSES need the graph, and the ranges of its tensors and of what lies inside opaque layers. What they leave
  has no rule of interval arithmetic, so that comes after them.
- RANGE_PASSES need the ranges of all activations, and add those of the tensors that they make.
- INTEGER_PASSES rewrite the quantized file: they need scales and zero points.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from spiq_tf.targets.target import Target
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.passes.affine_to_depthwise import affine_to_depthwise
from spiq_tf.tflite.passes.average_pool_to_depthwise import average_pool_to_depthwise
from spiq_tf.tflite.passes.clamp_to_requantize import clamp_to_requantize
from spiq_tf.tflite.passes.div_to_reciprocal import div_to_reciprocal
from spiq_tf.tflite.passes.elementwise_to_lut import elementwise_to_lut, fill_lookup_tables
from spiq_tf.tflite.passes.fold_constants import flatten_biases
from spiq_tf.tflite.passes.global_pool_to_mean import global_pool_to_mean
from spiq_tf.tflite.passes.hard_swish_to_product import hard_swish_to_product
from spiq_tf.tflite.passes.legalize_for_target import legalize_for_target
from spiq_tf.tflite.passes.neg_square_to_mul import neg_square_to_mul
from spiq_tf.tflite.passes.nest_concatenations import nest_concatenations
from spiq_tf.tflite.passes.norm_into_prelu import fold_norm_into_prelu
from spiq_tf.tflite.passes.pixel_inputs import take_pixel_inputs
from spiq_tf.tflite.passes.prelu_decomposition import decompose_prelu
from spiq_tf.tflite.passes.sorting_layers_to_float import sorting_layers_to_float
from spiq_tf.tflite.passes.split_v_to_slice import split_v_to_slice
from spiq_tf.tflite.passes.strides_into_channels import strides_into_channels
from spiq_tf.tflite.passes.strides_to_slices import strides_to_slices
from spiq_tf.tflite.passes.sum_of_squares_to_matmul import sum_of_squares_to_matmul
from spiq_tf.tflite.passes.table_to_operators import table_to_operators
from spiq_tf.tflite.passes.uniform_depthwise_to_products import uniform_depthwise_to_products
from spiq_tf.tflite.passes.widen_channel_groups import widen_channel_groups
from spiq_tf.tflite.state import FileState, IntegerState

Subject = TypeVar("Subject", FlatModel, FileState, IntegerState)
"""What a pass rewrites in place: the float file alone, the same with all that is known of its tensors, or the quantized
file."""


@dataclass(frozen=True, kw_only=True)
class Pass(Generic[Subject]):
    """A pass and its place in the order.

    Attributes:
        function: rewrites its first argument in place.
        requires: passes that must have run before, where they run at all.
        leaves: what is true of the file afterwards.
        when: for which targets it runs.
        settings: further arguments of the function, which the target decides.
    """

    function: Callable[..., None]
    requires: tuple[Callable[..., None], ...] = ()
    leaves: str
    when: Callable[[Target], bool] = lambda target: True
    settings: Callable[[Target], tuple[Any, ...]] = lambda target: ()


STRUCTURAL_PASSES: Sequence[Pass[FlatModel]] = (
    # a pool keeps its input's scale, too coarse for an average of many values
    Pass(function=global_pool_to_mean, leaves="no AVERAGE_POOL_2D over a whole feature map"),
    # the quantizer writes one scale a channel along the bias's first axis
    Pass(function=flatten_biases, leaves="biases have one axis"),
    # the quantizer leaves both float
    Pass(function=split_v_to_slice, leaves="no SPLIT_V"),
    Pass(function=neg_square_to_mul, leaves="no NEG or SQUARE of floats"),
    # squares need more than 8 bits; a mean of them may come as a pool, the squares as SQUARE
    Pass(
        function=sum_of_squares_to_matmul,
        requires=(global_pool_to_mean, neg_square_to_mul),
        leaves="no small tensor of squares that is summed",
        when=lambda target: target.runs("BATCH_MATMUL"),
        settings=lambda target: (target.largest_squared_product,),
    ),
    # one operator instead of two; what the passes before leave (x * -1, a sum's share) becomes one too
    Pass(
        function=affine_to_depthwise,
        requires=(neg_square_to_mul, sum_of_squares_to_matmul),
        leaves="no MUL, ADD or SUB of a feature map and constants of its channels",
    ),
    # XNNPACK has no PRELU; the sum is also more accurate
    Pass(
        function=decompose_prelu,
        leaves="no PRELU of a feature map with one slope a channel",
        when=lambda target: not target.native_prelu,
    ),
)

FUNCTION_PASSES: Sequence[Pass[FileState]] = (
    # before anything is made integer that its layer is better without
    Pass(
        function=sorting_layers_to_float,
        leaves="every operator of a layer that sorts is float",
        when=lambda target: target.runs_floats,
    ),
    # whether a function needs a table shows in the operators that become of it
    Pass(
        function=elementwise_to_lut,
        requires=(neg_square_to_mul, affine_to_depthwise, decompose_prelu),
        leaves="every elementwise function is int8 operators or a lookup table",
    ),
    # of a function with a division inside, x / (1 + |x|), the whole is one table
    Pass(
        function=div_to_reciprocal,
        requires=(elementwise_to_lut,),
        leaves="no DIV by what keeps away from 0, but for those that stay float",
    ),
)

RANGE_PASSES: Sequence[Pass[FileState]] = (
    # the BatchNorm's output is never rounded
    Pass(
        function=fold_norm_into_prelu,
        requires=(affine_to_depthwise, decompose_prelu),
        leaves="a decomposed PReLU reads what its BatchNorm read",
    ),
    # mapping stops at the first operator that the target does not know
    Pass(
        function=legalize_for_target,
        leaves="no HARD_SWISH or LEAKY_RELU that the target does not map",
        settings=lambda target: (target.runs,),
    ),
    # XNNPACK has no int8 pool of averages; the output also gets a scale of its own
    Pass(
        function=average_pool_to_depthwise,
        requires=(global_pool_to_mean,),
        leaves="no AVERAGE_POOL_2D of a small window",
        when=lambda target: target.prefers_xnnpack,
    ),
    # a Rescaling is a depthwise convolution of one tap by now; last, since the file's inputs change
    Pass(
        function=take_pixel_inputs,
        requires=(affine_to_depthwise,),
        leaves="a uint8 input that convolutions read has the scale of pixels",
    ),
)

INTEGER_PASSES: Sequence[Pass[IntegerState]] = (
    # XNNPACK leaves a GATHER to a kernel that is slower than the whole convolution before it
    Pass(
        function=table_to_operators,
        requires=(elementwise_to_lut, div_to_reciprocal),
        leaves="a lookup table has no form of as little noise that XNNPACK takes",
        when=lambda target: target.prefers_xnnpack,
    ),
    # entries are those of the scales on both sides
    Pass(
        function=fill_lookup_tables,
        requires=(elementwise_to_lut, div_to_reciprocal, table_to_operators),
        leaves="no operator that stands for a lookup table",
    ),
    # once weights are rounded and biases corrected: both are the channels' own until then
    Pass(
        function=uniform_depthwise_to_products,
        requires=(affine_to_depthwise, take_pixel_inputs),
        leaves="no int8 DEPTHWISE_CONV_2D of one tap that treats all channels alike, where additions hold its scales",
        when=lambda target: target.prefers_xnnpack,
    ),
    # both after weights are rounded: rounding looks at the moments of each channel
    Pass(
        function=widen_channel_groups,
        leaves="no int8 convolution in small groups, but for those that XNNPACK has depthwise kernels for",
        when=lambda target: target.prefers_xnnpack,
    ),
    Pass(
        function=strides_into_channels,
        requires=(widen_channel_groups,),
        leaves="no int8 CONV_2D with a stride over few channels, where its groups of neighbors start with it",
        when=lambda target: target.prefers_xnnpack,
    ),
    # XNNPACK leaves both to slower kernels
    Pass(
        function=hard_swish_to_product,
        leaves="no int8 HARD_SWISH but of what reaches very far",
        when=lambda target: target.prefers_xnnpack,
    ),
    Pass(
        function=clamp_to_requantize,
        leaves="no int8 RELU or RELU6, nor MINIMUM or MAXIMUM with a number, unless no QUANTIZE clips so",
        when=lambda target: target.prefers_xnnpack,
    ),
    # both copy integers
    Pass(
        function=strides_to_slices,
        leaves="no int8 STRIDED_SLICE with strides forwards, no AVERAGE_POOL_2D or MAX_POOL_2D of one value, but for"
        " maxima where the size is no multiple of the stride",
        when=lambda target: target.prefers_xnnpack,
    ),
    # the delegate takes five operands at most
    Pass(
        function=nest_concatenations,
        leaves="no int8 CONCATENATION of more than five operands",
        when=lambda target: target.prefers_xnnpack,
    ),
)

PASSES = (*STRUCTURAL_PASSES, *FUNCTION_PASSES, *RANGE_PASSES, *INTEGER_PASSES)


def run_passes(passes: Sequence[Pass[Subject]], subject: Subject, target: Target) -> None:
    """Runs, in order, the passes that the target takes."""
    for each in passes:
        if each.when(target):
            each.function(subject, *each.settings(target))

"""The conversion on one screen.

`plan` looks at the model alone; what it returns never changes. `convert_plan` makes the file in six phases: lowering,
passes, quantization parameters, weights, passes over integers, writing. Two things change on the way. `FileState` is
the float file and what is known of its tensors: passes rewrite its operators and add ranges, the weights phase rounds
its weights. `IntegerState` is the quantized file that is made from it; the last passes rewrite its operators.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spiq_tf.conformance.checking import violations_of, warn_of_violations
from spiq_tf.conformance.violation import Violation
from spiq_tf.distributions.values import Moments
from spiq_tf.graph.classifier_head import image_derived_tensors
from spiq_tf.metadata.description import model_description
from spiq_tf.metadata.tflite_metadata import with_metadata
from spiq_tf.overrides import check_materialized
from spiq_tf.planning import Plan, plan
from spiq_tf.quantization.tensor_range import TensorRange
from spiq_tf.search.noise_terms import PredictedNoise
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.lowering.correspondence import origin_calls
from spiq_tf.tflite.lowering.lower import LoweredModel, lower
from spiq_tf.tflite.passes.order import FUNCTION_PASSES, INTEGER_PASSES, RANGE_PASSES, STRUCTURAL_PASSES, run_passes
from spiq_tf.tflite.ranges.interval_arithmetic import check_bounded, file_ranges
from spiq_tf.tflite.ranges.opaque_sampling import opaque_intermediate_ranges
from spiq_tf.tflite.scale_assignment.assign import assign_tensor_ranges
from spiq_tf.tflite.scale_assignment.coarse_concatenation_warning import warn_of_concatenation_resolution
from spiq_tf.tflite.state import FileState, IntegerState
from spiq_tf.tflite.weights.bias_correction import correct_biases
from spiq_tf.tflite.weights.rounding import round_weights
from spiq_tf.tflite.writing import litert_quantizer
from spiq_tf.tflite.writing.complete_int8 import complete_int8
from spiq_tf.tflite.writing.float_operators import float_operators, warn_of_floats
from spiq_tf.tflite.writing.io_types import finish
from spiq_tf.verification.degenerate_output import warn_if_degenerate

__all__ = ["ConversionResult", "Plan", "convert_plan", "plan"]


@dataclass(frozen=True, kw_only=True)
class ConversionResult:
    """The finished file, and what became of each of its tensors.

    Attributes:
        content: the finished file.
        quantized: the same before its inputs and outputs got their types, with the graph's tensor that each of its
            tensors holds; they have the indices of the float file.
        lowered: the float file as the converter wrote it.
        state: the float file as the passes and the weights phase left it.
        tensor_ranges: of every activation as a whole, by tensor index, in file units: what its scale follows from.
        uncorrected: operators whose bias is not corrected.
        float_operators: those that read or compute float activations, by kind and tensor.
        violations: what keeps the file from running on the target, or slows it there.
    """

    content: bytes
    quantized: IntegerState
    lowered: LoweredModel
    state: FileState
    tensor_ranges: Mapping[int, TensorRange]
    uncorrected: tuple[str, ...]
    float_operators: tuple[str, ...]
    violations: tuple[Violation, ...]


def convert_plan(plan: Plan) -> ConversionResult:
    """Makes the file of a plan, and warns of what the user should know of it."""
    lowered = lower(plan.rescaled)
    state = rewritten_file(plan, lowered)
    tensor_ranges = chosen_tensor_ranges(plan, state)
    uncorrected = _round_weights(plan, state, tensor_ranges)
    integer = integer_file(plan, state, tensor_ranges)
    run_passes(INTEGER_PASSES, integer, plan.options.target)
    content = _written(plan, state, integer.flat, tensor_ranges)
    violations = violations_of(content, plan.options.target)
    floats = float_operators(integer.flat, integer.provenance)
    _warn(plan, lowered, state, content, violations, floats)
    return ConversionResult(
        content=content,
        quantized=integer,
        lowered=lowered,
        state=state,
        tensor_ranges=tensor_ranges,
        uncorrected=tuple(uncorrected),
        float_operators=tuple(floats.values()),
        violations=violations,
    )


def rewritten_file(plan: Plan, lowered: LoweredModel) -> FileState:
    """The float file after all passes, with the ranges of all its activations."""
    target, flat = plan.options.target, FlatModel(lowered.content)
    run_passes(STRUCTURAL_PASSES, flat, target)
    state = file_state(plan, lowered, flat)
    state.ranges = {**opaque_intermediate_ranges(state, plan.opaque_inputs), **state.ranges}
    run_passes(FUNCTION_PASSES, state, target)
    state.ranges = file_ranges(flat, state.ranges)
    names = {index: state.graph.calls[call].name for index, call in state.origin_calls.items()}
    check_bounded(flat, state.ranges, state.float_outputs, names)
    run_passes(RANGE_PASSES, state, target)
    return state


def file_state(plan: Plan, lowered: LoweredModel, flat: FlatModel) -> FileState:
    """What the plan says of the file's tensors, once its operators are those that the passes need ranges for."""
    graph, activations = plan.rescaled.graph, set(flat.activations())
    provenance = {index: origin for index, origin in lowered.provenance.items() if index in activations}
    check_materialized(plan.options.ranges, {origin.name for origin in provenance.values()}, graph)
    ranges = plan.rescaled.ranges
    state = FileState(
        flat=flat,
        ranges={index: ranges[origin.name].scaled_by(origin.factor) for index, origin in provenance.items()},
        inputs=[plan.inputs[t.name] for t in graph.inputs],
        graph=graph,
        provenance=provenance,
        origin_calls=origin_calls(flat, graph),
        distributions=plan.distributions,
        uint8_inputs=plan.options.inference_input_type == "uint8",
    )
    state.float_outputs = state.outputs_of(plan.float_calls)
    state.user_ranges = frozenset(state.holding(plan.user_ranges))
    return state


def chosen_tensor_ranges(plan: Plan, state: FileState) -> dict[int, TensorRange]:
    """The range of every activation as a whole, from which its scale and zero point follow."""
    images = state.holding(image_derived_tensors(state.graph.nodes, state.graph.inputs))
    limits = plan.options.target.requantization
    noise = _predicted_noise(plan, state)
    result = assign_tensor_ranges(state.flat, state.ranges, images, noise, limits, state.equal_scales)
    warn_of_concatenation_resolution(state.flat, state.ranges, result, state.provenance, plan.classes.scaled)
    return result


def _predicted_noise(plan: Plan, state: FileState) -> dict[int, PredictedNoise]:
    """Of the int8 tensors whose ranges the method chose, by index; of none where scales of addends stay apart."""
    if not plan.options.parts.equal_scale_adds:
        return {}
    noise = plan.solution.noise
    movable = [i for i in state.holding(noise) if i not in state.user_ranges and i not in state.float_outputs]
    return {index: noise[state.provenance[index].name] for index in movable}


def _moments(plan: Plan, state: FileState) -> dict[int, Moments]:
    """Of the tensors that hold the graph's, in file units."""
    known = plan.rescaled.moments
    return {index: known[origin.name].scaled_by(origin.factor) for index, origin in state.provenance.items()}


def _round_weights(plan: Plan, state: FileState, tensor_ranges: Mapping[int, TensorRange]) -> list[str]:
    """Rounds the float file's weights and corrects its biases; returns the operators that are not corrected."""
    scales = {index: tensor_range.scale for index, tensor_range in tensor_ranges.items()}
    moments = _moments(plan, state)
    weights = round_weights(
        state.flat,
        moments,
        scales,
        state.float_outputs,
        per_channel_dense=plan.options.per_channel_dense,
        sum_preserving=plan.options.parts.sum_preserving_rounding,
    )
    return correct_biases(
        state.flat,
        weights,
        moments,
        state.bias_offsets,
        state.float_outputs,
        rounding_shift=plan.options.parts.bias_correction,
    )


def integer_file(plan: Plan, state: FileState, tensor_ranges: Mapping[int, TensorRange]) -> IntegerState:
    """The file in integers, and what the passes over it need."""
    options = plan.options
    flat = litert_quantizer.quantize(state.flat, tensor_ranges, state.float_outputs, options.per_channel_dense)
    complete_int8(flat, tensor_ranges, state.float_outputs)
    return IntegerState(
        flat=flat,
        provenance=dict(state.provenance),
        lookup_tables=dict(state.lookup_tables),
        moments=_moments(plan, state),
    )


def _written(plan: Plan, state: FileState, quantized: FlatModel, tensor_ranges: Mapping[int, TensorRange]) -> bytes:
    """The finished file."""
    options, graph = plan.options, state.graph
    types = options.inference_input_type, options.inference_output_type
    content = finish(quantized, graph.input_names, graph.output_names, tensor_ranges, *types)
    return with_metadata(content, model_description(plan.model.name, graph, state.inputs, options))


def _warn(
    plan: Plan,
    lowered: LoweredModel,
    state: FileState,
    content: bytes,
    violations: Sequence[Violation],
    floats: Mapping[int, str],
) -> None:
    """Warns of outputs that cannot vary, of what the target does not take, and of operators that nobody asked to keep
    float."""
    graph, target = state.graph, plan.options.target
    model_inputs = [plan.inputs[t.name] for t in graph.inputs]
    shapes = [t.shape for t in graph.inputs]
    warn_if_degenerate((content, state.inputs), (lowered.content, model_inputs), shapes, graph.output_names)
    warn_of_violations(violations, target)
    if target.runs_floats:  # or else they are violations
        asked = state.outputs_of(plan.float_calls)
        warn_of_floats([text for index, text in floats.items() if index not in asked])

"""The functions that users call: convert, quantize, rewrite, verify."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from spiq_tf import description, pipeline
from spiq_tf.options import checked_options
from spiq_tf.process_lock import PROCESS_LOCK
from spiq_tf.rescaling import clone_with
from spiq_tf.result import QuantizedModel
from spiq_tf.statistics.input_range import InputRange
from spiq_tf.verification.finding import Verification
from spiq_tf.verification.inputs import Inputs
from spiq_tf.verification.verifying import verify_file


def convert(
    model: Any,
    *,
    input_range: InputRange | None = None,
    inference_input_type: Any = "int8",
    inference_output_type: Any = "int8",
    batch_size: int = 1,
    per_channel_dense: bool | None = None,
    target: str = "portable",
    ranges: Mapping[str, tuple[float, float]] | None = None,
    float_layers: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    method: str = "noise",
) -> bytes:
    """Converts a trained Keras model into a full-integer int8 TFLite file, without data.

    The model is never changed.

    Args:
        model: a built Keras 3 model: Functional, Sequential or subclassed, in any float precision (it is converted as
            float32), with nested models and custom layers; or a Functional or Sequential model of tf_keras.
        input_range: smallest and largest value of the model's input, after preprocessing outside the model: a pair of
            numbers, a pair of arrays with one number per channel, or a mapping from input names to such pairs. None:
            inferred from a Rescaling or Normalization layer at the input, or from the first BatchNorm's statistics.
        inference_input_type: of the file's inputs: "int8", "uint8" or "float32", or the tf.DType. A uint8 input takes
            an image's bytes unchanged; a Rescaling before convolutions is then folded into the input's scale and zero
            point, which refer to the rescaled values.
        inference_output_type: the same of the file's outputs.
        batch_size: the file's static batch.
        per_channel_dense: whether Dense weights get a scale for each output. More accurate, but runtimes before 2024
            refuse such files or compute wrong results. None: where the target supports it.
        target: what the file is to run on: "portable" (LiteRT of any age, with XNNPACK or without), "xnnpack" (LiteRT
            since 2024), "edgetpu", "ethos-u" or "tflite-micro". Operators that a target does not support are
            replaced where possible; a TargetWarning lists what is left, as does `QuantizedModel.violations`. What only
            runs slower than it could is not warned of: `QuantizedModel.delegation` says it.
        ranges: (low, high) of single layers' outputs, in the model's units, by layer name (as in
            `QuantizedModel.tensors`), in place of computed ranges. All channels of such an output share one scale.
        float_layers: names, or patterns with * and ?, of layers that stay float, each together with the layers that the
            converter fuses with it. For a layer that costs accuracy; the file is then no longer full-integer.
        labels: names of the classes, in the order of the only output (batch, classes): they are stored in
            the file as labels.txt, where Android's and MediaPipe's image classifiers look for them.
        method: "noise", the best, chooses the scales and ranges with the least predicted noise, and corrects biases
            for rounded weights. For comparison: "spiq" is SPIQ as published (WACV 2023), "dfq" Data-Free Quantization
            as published (ICCV 2019), except for its replacement of ReLU6 by ReLU.

    Returns:
        The content of the .tflite file.

    Raises:
        ModelTypeError: the model is not a Keras model.
        InvalidModelError: it is unbuilt, recurrent, of dynamic size, has NaN or infinite weights, a layer returns a
            scalar (rank 0) or values outside float32's range, an output holds integers, or its call cannot be traced
            into a graph of layers.
        InputRangeError: the input range is malformed, or cannot be inferred and must be given.
        InvalidArgumentError: another argument is wrong, or the number of labels is not that of the classes.
        LoweringError: TensorFlow's converter has no operators for a part of the model.
    """
    options = checked_options(
        inference_input_type=inference_input_type,
        inference_output_type=inference_output_type,
        batch_size=batch_size,
        per_channel_dense=per_channel_dense,
        target=target,
        method=method,
        ranges=ranges,
        float_layers=float_layers,
        labels=labels,
    )
    with PROCESS_LOCK:
        return pipeline.convert_plan(pipeline.plan(model, input_range, options)).content


def quantize(
    model: Any,
    *,
    input_range: InputRange | None = None,
    inference_input_type: Any = "int8",
    inference_output_type: Any = "int8",
    batch_size: int = 1,
    per_channel_dense: bool | None = None,
    target: str = "portable",
    ranges: Mapping[str, tuple[float, float]] | None = None,
    float_layers: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    method: str = "noise",
) -> QuantizedModel:
    """Converts like `convert`, and returns the file together with range, scale and source of each of its tensors.

    Arguments and errors are those of `convert`.
    """
    options = checked_options(
        inference_input_type=inference_input_type,
        inference_output_type=inference_output_type,
        batch_size=batch_size,
        per_channel_dense=per_channel_dense,
        target=target,
        method=method,
        ranges=ranges,
        float_layers=float_layers,
        labels=labels,
    )
    with PROCESS_LOCK:
        plan = pipeline.plan(model, input_range, options)
        return description.describe(plan, pipeline.convert_plan(plan))


def rewrite(
    model: Any,
    *,
    input_range: InputRange | None = None,
    batch_size: int = 1,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    method: str = "noise",
) -> keras.Model:
    """The float Keras model of the same architecture whose weights have absorbed the per-channel scales.

    It computes the same function where nothing saturates: a channel that a ReLU with a maximum clips at that maximum is
    clipped at scale * maximum. With method="dfq" a ReLU whose high bias is absorbed also clips values more than 3
    standard deviations below the mean. Arguments and errors are those of `convert`. A subclassed model is returned as
    the Functional model that its call runs, with the given batch size where the call depends on it; a model of another
    float precision in float32.

    Raises:
        NotCloneableError: a layer cannot be rebuilt from its configuration (a custom layer without get_config, a layer
            of tf_keras without a counterpart in Keras 3), or a call reads a weight that no layer owns; `convert` does
            not need the clone.
    """
    options = checked_options(batch_size=batch_size, method=method, ranges=ranges)
    with PROCESS_LOCK:
        plan = pipeline.plan(model, input_range, options)
        return clone_with(plan.model, plan.rescaled)


def verify(
    model: Any, tflite: bytes | str | os.PathLike[str] | QuantizedModel, inputs: Inputs | None = None
) -> Verification:
    """Compares a file with its float model, at the outputs and layer by layer.

    Layers are compared where the file's tensors can be assigned to them by name, as in every file of spiq_tf. The
    result of `quantize` knows the absorbed channel scales; for a file alone they are fitted channel by channel, which
    shows a layer's noise slightly too small.

    Args:
        model: the Keras model that the file was made from, as `convert` takes it.
        tflite: the file's content, its path, or the result of `quantize`.
        inputs: what to compare on, in the model's units: an array of shape (examples, ...), one for each input in the
            model's order, or a mapping from input names to arrays. None: synthetic inputs with the spectrum of images,
            in the range that the file states for its inputs. Those show faults; how often real classes agree, only real
            inputs show.

    Returns:
        The comparison; its `problems` say in words what makes the file useless.

    Raises:
        InvalidArgumentError: the file has other inputs or outputs than the model, or the inputs do not fit.
        ModelFileError: the file is missing or not a TFLite file.
        ModelTypeError, InvalidModelError: as for `convert`.
        LoweringError: LiteRT cannot run the file.
    """
    if isinstance(tflite, QuantizedModel):
        return verify_file(model, tflite.content, inputs, tflite.tensors)
    return verify_file(model, tflite, inputs)

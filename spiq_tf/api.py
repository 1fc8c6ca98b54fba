"""The three functions that users call."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from spiq_tf import description, pipeline
from spiq_tf.options import checked_options
from spiq_tf.rescaling import clone_with
from spiq_tf.result import QuantizedModel
from spiq_tf.statistics.input_range import InputRange


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
        input_range: smallest and largest value that the model is fed after preprocessing: a pair of numbers, a
            pair of arrays with one number a channel, or a mapping from input names to such pairs. None: told by
            a leading Rescaling or Normalization layer, or by the first BatchNorm's statistics.
        inference_input_type: of the file's inputs: "int8", "uint8" or "float32", or the tf.DType. A uint8 input takes
            an image's bytes as they are; a Rescaling in front of convolutions is then in its scale and zero point,
            which speak of the values behind it.
        inference_output_type: of the file's outputs, likewise.
        batch_size: the file's static batch.
        per_channel_dense: whether Dense weights get a scale for each output. More accurate, but runtimes before 2024
            refuse such files or compute wrong numbers. None: where the target takes it.
        target: what the file is to run on: "portable" (LiteRT of any age, with XNNPACK or without), "xnnpack" (LiteRT
            since 2024), "edgetpu", "ethos-u" or "tflite-micro". Operators that a target does not map are replaced where
            there is a way; what it still does not take is warned of, and stands in `QuantizedModel.violations`.
        ranges: smallest and largest output of single layers, by name (as in `QuantizedModel.tensors`), in place of what
            statistics say. All channels of such an output keep one scale.
        float_layers: names, or patterns with * and ?, of layers that stay float, each together with the layers that are
            computed in one operator with it. For the layer that hurts; such a file is no longer full-integer.
        labels: names of the classes, in the order of the only output (batch, classes): the file then holds them as
            labels.txt, where Android's and MediaPipe's image classifiers look for them.
        method: "noise", the best, chooses the scales and ranges that add the least noise, as predicted, and
            corrects what rounding the weights breaks. For comparison: "spiq" is spiq_tf as published (WACV 2023), "dfq"
            Data-Free Quantization as published (ICCV 2019), but for its replacement of ReLU6 by ReLU.

    Returns:
        The content of the .tflite file.

    Raises:
        ModelTypeError: the model is no Keras model.
        InvalidModelError: it is unbuilt, recurrent, of dynamic size, its weights are no numbers, a layer makes a number
            without axes or values that float32 cannot hold, an output is of whole numbers, or its own call cannot be
            read as a graph of layers.
        InputRangeError: the input range is malformed, or must be given.
        InvalidArgumentError: another argument is wrong, or there is not one label for each class.
        LoweringError: TensorFlow's converter has no operators for a part of the model.
    """
    options = checked_options(
        inference_input_type,
        inference_output_type,
        batch_size,
        per_channel_dense,
        target,
        method,
        ranges,
        float_layers,
        labels,
    )
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
    """Converts like `convert`, and returns with the file what was decided about each of its tensors.

    Arguments and errors are those of `convert`.
    """
    options = checked_options(
        inference_input_type,
        inference_output_type,
        batch_size,
        per_channel_dense,
        target,
        method,
        ranges,
        float_layers,
        labels,
    )
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

    It computes the same function wherever nothing saturates: a channel that a ReLU with a maximum cut at that
    maximum is cut at scale * maximum. With method="dfq" a ReLU whose high bias is absorbed also cuts what lies more
    than 3 deviations below the mean. Arguments and errors are those of `convert`. A subclassed model is rewritten as
    the Functional model that its call runs, with the given batch size where the call needs to know it; a model in
    another precision in float32.

    Raises:
        NotCloneableError: a layer cannot be made again from its configuration (a custom layer without get_config, a
            layer of tf_keras without a counterpart in Keras 3), or a call reads a weight that no layer owns;
            `convert` works all the same.
    """
    options = checked_options(batch_size=batch_size, method=method, ranges=ranges)
    plan = pipeline.plan(model, input_range, options)
    return clone_with(plan.model, plan.rescaled)

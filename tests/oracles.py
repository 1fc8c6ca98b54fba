"""What a file computes beside what the float model does, and how far the two are apart in absolute terms."""

import numpy as np

from spiq_tf.tflite.interpreter import Interpreter


def decibels(expected, found):
    """Signal-to-noise ratio of an output, over all of its values."""
    noise = np.sum((np.asarray(expected, np.float64) - found) ** 2)
    return 10 * np.log10(np.sum(np.asarray(expected, np.float64) ** 2) / noise) if noise else np.inf


def run_file(content, inputs, delegate=True):
    """Outputs of a file of batch 1, one array each.

    Args:
        content: of the file.
        inputs: examples, (count, ...), or a list of such arrays, one for each of the file's inputs.
        delegate: whether XNNPACK may take operators.
    """
    interpreter = Interpreter(content, delegate=delegate)
    inputs = inputs if isinstance(inputs, list) else [inputs]
    found = [interpreter.run([x[k : k + 1] for x in inputs]) for k in range(len(inputs[0]))]
    return [np.concatenate(values) for values in zip(*found, strict=True)]


def scales(content):
    """The scale of each output; 0 of a float one."""
    return [detail["quantization"][0] for detail in Interpreter(content).outputs]


def rms(error):
    return float(np.sqrt(np.mean(np.asarray(error, np.float64) ** 2)))


def least_scale(expected):
    """The scale of an int8 tensor that holds just these values: what no conversion without data can do without."""
    return float(max(expected.max(), 0.0) - min(expected.min(), 0.0)) / 255

"""Float files of small networks, and what tests read from files."""

import numpy as np

from spiq_tf import pipeline
from spiq_tf.options import checked_options
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.lowering.lower import lower
from tests.networks import RANGE, images


def lowered(model, values=RANGE):
    """The float file of the rewritten model, with the default options."""
    options = checked_options()
    return lower(pipeline.plan(model, values, options).rewritten, options.target.runs)


def check_float_file(model, content, count=4):
    """A float file computes what the model does, in float32's accuracy."""
    for x in images(model, count):
        expected = model.predict(x[None], verbose=0)
        found = Interpreter(content).run([x[None]])[0]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def kinds_of(content):
    """The operators of a file, in order, by their names in the schema."""
    flat = FlatModel(content)
    return [flat.kind(operator) for operator in flat.operators]

"""Float files of small networks, and what tests read from files."""

import numpy as np

from spiq_tf import pipeline
from spiq_tf.options import checked_options
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.interpreter import Interpreter
from spiq_tf.tflite.lowering.lower import lower
from spiq_tf.tflite.passes.order import STRUCTURAL_PASSES, run_passes
from spiq_tf.tflite.state import FileState
from tests.networks import RANGE, images


def lowered(model, values=RANGE):
    """The float file of the rescaled model after the structural passes, with the default options."""
    return structural_passes_of(pipeline.plan(model, values, checked_options()))[1]


def structural_passes_of(plan):
    """The float file as it was lowered, and after the structural passes."""
    found = lower(plan.rescaled)
    flat = FlatModel(found.content)
    run_passes(STRUCTURAL_PASSES, flat, plan.options.target)
    provenance = {index: held for index, held in found.provenance.items() if index in flat.activations()}
    return found, FileState(flat=flat, graph=plan.rescaled.graph, provenance=provenance)


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

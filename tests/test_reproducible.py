"""Two conversions give the same bytes, in one process or two, whatever was built before."""

import hashlib
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import spiq_tf
from tests.networks import NETWORKS, RANGE

PROGRAM = """
import hashlib, sys, keras, spiq_tf
model = keras.models.load_model(sys.argv[1])
content = spiq_tf.convert(model, input_range=(-1, 1))
print(hashlib.sha256(content).hexdigest())
"""


def test_same_bytes_in_one_process_and_in_another(tmp_path):
    NETWORKS["residual"]().save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    first = spiq_tf.convert(model, input_range=RANGE)
    spiq_tf.convert(NETWORKS["concatenation"](), input_range=RANGE)
    assert spiq_tf.convert(model, input_range=RANGE) == first
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "model.keras")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert done.stdout.split()[-1] == hashlib.sha256(first).hexdigest()


@pytest.mark.fast
def test_models_built_before_do_not_matter():

    def converted():
        keras.utils.set_random_seed(5)
        return spiq_tf.convert(NETWORKS["named"](), input_range=RANGE)

    first = converted()
    for name in ("nested", "residual"):
        spiq_tf.convert(NETWORKS[name](), input_range=RANGE)
    assert converted() == first

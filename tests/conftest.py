"""Runs before any test module: quiet TensorFlow, and the folder of real networks if there is one."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pathlib import Path

import hypothesis
import keras
import numpy as np
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)  # machines are noisy
hypothesis.settings.load_profile("untimed")

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser):
    parser.addoption("--random_networks", type=int, default=40, help="so many random networks")


def pytest_collection_finish(session):
    """Spares the garbage collector TensorFlow's objects, which stay: 0.3 s each time that it looks at all."""
    gc.freeze()


@pytest.fixture(autouse=True)
def fixed_seed():
    keras.utils.set_random_seed(1)
    keras.backend.clear_session(free_memory=False)


@pytest.fixture
def random():
    return np.random.default_rng(7)


@pytest.fixture
def real_networks():
    if not REAL.is_dir():
        pytest.skip(f"the folder of real networks is not there: {REAL}")
    return REAL

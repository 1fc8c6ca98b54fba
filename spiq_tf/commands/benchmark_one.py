"""Measures one network of a benchmark, in a worker process."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import spiq_tf
from spiq_tf.benchmarking.speed import NetworkSpeed, Settings
from spiq_tf.errors import short_reason


@dataclass(frozen=True, kw_only=True)
class Job:
    """One network to measure.

    Attributes:
        name: as the user gave it: a file or folder of a model, or the name of a network of keras.applications.
        application: that name, or None where the name is that of a file.
        side: of the image of such a network, or None for its own.
        settings: how it is measured.
        trust_code: whether the file may carry code.
    """

    name: str
    application: str | None
    side: int | None
    settings: Settings
    trust_code: bool


def benchmark_job(job: Job) -> NetworkSpeed:
    """Measures one network; a failure becomes part of the result."""
    measuring = import_module("spiq_tf.benchmarking.measuring")  # and TensorFlow
    try:
        speed: NetworkSpeed = measuring.measured(job.name, _model(job), job.settings)
    except spiq_tf.SpiqError as error:
        return NetworkSpeed(name=job.name, error=short_reason(error))
    return speed


def _model(job: Job) -> Any:
    if job.application is None:
        return spiq_tf.load_model(job.name, safe_mode=not job.trust_code)
    try:
        return import_module("spiq_tf.benchmarking.random_network").random_network(job.application, job.side)
    except ValueError as error:  # Keras refuses the size
        raise spiq_tf.InvalidArgumentError(f"Keras cannot build it: {short_reason(error)}") from error

"""Converts one model of a run, in a worker process."""

import hashlib
import math
import time
import warnings
from dataclasses import replace
from importlib import import_module

from absl import logging

import spiq_tf
from spiq_tf.commands.jobs import Job, fingerprint
from spiq_tf.commands.outcome import Outcome


def convert_job(job: Job) -> Outcome:
    """Converts one model; a failure becomes part of the outcome."""
    import_module("spiq_tf.exports")  # and TensorFlow: not counted in the seconds of the first model
    start = time.perf_counter()
    outcome = Outcome(model=job.model, destination=str(job.output))
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", spiq_tf.SpiqWarning)
            outcome = replace(outcome, made_with=fingerprint(job))  # before the model is read: it may change meanwhile
            outcome = _convert_and_write(job, outcome)
    except spiq_tf.SpiqError as error:
        outcome = replace(outcome, error=str(error))
    except Exception as error:  # one model among many: a defect of spiq_tf must not stop the others
        logging.exception("unexpected error in %s", job.model)
        outcome = replace(outcome, error=f"unexpected {type(error).__name__}: {error}")
    texts = tuple(str(w.message) for w in caught if issubclass(w.category, spiq_tf.SpiqWarning))
    return replace(outcome, seconds=time.perf_counter() - start, warnings=texts)


def _convert_and_write(job: Job, outcome: Outcome) -> Outcome:
    """Converts, verifies, and writes: the output last, so that it never exists without its reports."""
    model = spiq_tf.load_model(job.model, safe_mode=not job.trust_code)
    result = spiq_tf.quantize(model, **job.options)
    verification = spiq_tf.verify(model, result) if job.verify else None
    if job.reports:
        report = result.report(verification)
        report.save_json(job.reports[0])
        report.save_html(job.reports[1])
    outcome = _with_result(outcome, result)
    if verification:
        outcome = _with_verification(outcome, verification)
    if outcome.error is not None:
        return outcome
    result.save(job.output)
    return replace(
        outcome,
        output=str(job.output),
        bytes=len(result.content),
        sha256=hashlib.sha256(result.content).hexdigest(),
    )


def _with_result(outcome: Outcome, result: "spiq_tf.QuantizedModel") -> Outcome:
    return replace(
        outcome,
        float_operators=result.float_operators,
        fallback_layers=result.fallback_layers,
        unscaled=tuple(t.unscaled for t in result.tensors if t.unscaled),
        violations=tuple(str(v) for v in result.violations if not v.slows),
        outside_delegate=tuple(str(v) for v in result.violations if v.slows and v.operator is not None),
    )


def _with_verification(outcome: Outcome, verification: "spiq_tf.Verification") -> Outcome:
    """A file whose comparison shows problems is a failure."""
    return replace(
        outcome,
        error="; ".join(verification.problems) or None,
        sqnr_db=verification.sqnr_db if math.isfinite(verification.sqnr_db) else None,
    )

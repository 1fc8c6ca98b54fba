"""The outcome of one model of a run."""

from dataclasses import dataclass

from spiq_tf.commands.jobs import Job


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one model: a row of --report_json, whose keys are the names of the attributes.

    Attributes:
        model: its file or folder.
        output: the .tflite file; None where there is an error, even if a file of an earlier run exists.
        error: why there is no output, or None.
        up_to_date: whether the output existed already and nothing was done.
        seconds: duration of the conversion.
        bytes: size of the output.
        sqnr_db: of the worst output; None where it was not compared, or is infinite: JSON has no infinity.
        float_operators, fallback_layers: those of the `spiq_tf.QuantizedModel`.
        violations: those of it that break a rule.
        outside_delegate: those that only slow the file: operators that the target's delegate leaves.
        unscaled: why tensors have no channel scales.
        warnings: texts of the warnings of spiq_tf.
        made_with: a hash of the model's time and size, the options and the version; "" if it is unknown, or nothing
            was tried.
        sha256: of the output.
        destination: where the output belongs, whether or not there is an error.
        of_earlier_run: whether the row comes from the record of an earlier run, since this run has not converted the
            model so far; --resume reads there what the file was made with.
    """

    model: str
    output: str | None = None
    error: str | None = None
    up_to_date: bool = False
    seconds: float = 0.0
    bytes: int = 0
    sqnr_db: float | None = None
    float_operators: tuple[str, ...] = ()
    fallback_layers: tuple[str, ...] = ()
    unscaled: tuple[str, ...] = ()
    violations: tuple[str, ...] = ()
    outside_delegate: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    made_with: str = ""
    sha256: str = ""
    destination: str = ""
    of_earlier_run: bool = False


def not_tried(job: Job, error: str) -> Outcome:
    """A model that is refused before anything is tried: the outcome of an earlier run stays valid."""
    return Outcome(model=job.model, error=error, destination=str(job.output))

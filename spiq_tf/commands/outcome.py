"""What became of one model of a run."""

from dataclasses import dataclass

from spiq_tf.commands.jobs import Job


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one model: a row of --report_json, whose keys are the names of the attributes.

    Attributes:
        model: its file or folder.
        output: the .tflite file; None where there is an error, whatever is left there of an earlier run.
        error: why there is no output, or None.
        up_to_date: whether the output was there already and nothing was done.
        seconds: that the model took.
        bytes: size of the output.
        sqnr_db: of the worst output; None where it was not compared, or is infinite: JSON has no such number.
        float_operators, fallback_layers, violations: those of the `spiq_tf.QuantizedModel`.
        unscaled: why tensors have no scale for each channel.
        warnings: texts of the warnings of spiq_tf.
        made_with: a hash of the model's time and size, the options and the version; "" if that is not known, or nothing
            was tried.
        sha256: of the output.
        destination: where the output belongs, whether or not there is an error.
        of_earlier_run: whether the row is taken over from the record of an earlier run, since this run has made nothing
            of the model so far; --resume reads there what the file was made with.
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
    warnings: tuple[str, ...] = ()
    made_with: str = ""
    sha256: str = ""
    destination: str = ""
    of_earlier_run: bool = False


def not_tried(job: Job, error: str) -> Outcome:
    """A model that is refused before anything is tried: what an earlier run made of it still holds."""
    return Outcome(model=job.model, error=error, destination=str(job.output))

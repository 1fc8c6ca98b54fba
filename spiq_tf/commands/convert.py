"""Converts Keras model files and SavedModel folders to int8 TFLite files without data.

spiq-tf convert --output_dir OUT [--input_range -1,1] MODEL.keras 'MODELS/*.h5' ...
spiq-tf convert --output_dir OUT --resume --report_json OUT.json --flagfile OPTIONS.txt 'MODELS/*.keras'

An interruption at any moment, kill -9 included, leaves no incomplete file, and --resume continues from there. The exit
code is 0 only if every file was converted or up to date, 1 if one failed, 2 if the arguments are wrong or the record or
a folder cannot be written, 130 or 143 after SIGINT or SIGTERM.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from spiq_tf.commands.batch import RunOptions, run_batch
from spiq_tf.commands.command import Command
from spiq_tf.commands.conversion_flags import define_conversion_flags, quantize_options
from spiq_tf.commands.interrupts import Interrupted, interrupts_as_exceptions
from spiq_tf.commands.jobs import Job, model_names
from spiq_tf.commands.machine import GIB
from spiq_tf.errors import SpiqError


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the command."""
    define_conversion_flags(values)
    _define_output_flags(values)
    _define_run_flags(values)


def _define_output_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "output_dir", None, "Folder for the .tflite files; created if it does not exist.", flag_values=values
    )
    flags.DEFINE_string(
        "report_dir",
        None,
        "Folder for a report on each model, as .json and .html; created if it does not exist.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "report_json",
        None,
        "Writes the outcomes of all models to this file after each model. Rows of an earlier run for models that this"
        " run has not reached or does not name follow its own, with of_earlier_run.",
        flag_values=values,
    )


def _define_run_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_bool(
        "overwrite",
        False,
        "Replaces outputs that exist; without it an output that exists is an error of its model.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "resume",
        False,
        "Keeps outputs that are up to date and converts the other models. An output is up to date if it and its reports"
        " are newer than its model, and the --report_json of an earlier run says that it was made from this model with"
        " these options. Without a record of it the times alone decide, whatever options it was made with.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "keep_going",
        False,
        "Continues with the other models after one has failed; without it a failure ends the run at once.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "workers",
        None,
        "Processes that convert in parallel, one thread each: the files are the same for any number. By default as"
        " many as there are models, cores, or 2 GiB of memory, whichever is least.",
        flag_values=values,
        lower_bound=1,
    )
    flags.DEFINE_float(
        "worker_memory_gib",
        None,
        "A worker that occupies more memory than this after a model is replaced by a new one; by default memory /"
        " workers."
        " A single model may still need more, and fails alone if the system then ends its worker.",
        flag_values=values,
        lower_bound=0.0,
    )


def run(arguments: Sequence[str], options: flags.FlagValues) -> int:
    """Converts every model that the arguments name; returns the exit code."""
    try:
        with interrupts_as_exceptions():
            return run_batch(_jobs(arguments, options), _run_options(options))
    except Interrupted as interrupted:
        continuation = "the same command continues from here"
        advice = continuation if options.resume else f"with --resume {continuation}"
        print(f"interrupted by {interrupted}; {advice}", file=sys.stderr)
        return interrupted.exit_code
    except (OSError, SpiqError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run_options(options: flags.FlagValues) -> RunOptions:
    memory = options.worker_memory_gib
    return RunOptions(
        output_dir=Path(options.output_dir),
        report_dir=Path(options.report_dir) if options.report_dir else None,
        report_json=Path(options.report_json) if options.report_json else None,
        resume=options.resume,
        overwrite=options.overwrite,
        keep_going=options.keep_going,
        workers=options.workers,
        worker_memory=None if memory is None else memory * GIB,
    )


def _jobs(arguments: Sequence[str], options: flags.FlagValues) -> list[Job]:
    arguments_of_quantize = quantize_options(options)
    output, reports = Path(options.output_dir), options.report_dir
    return [
        Job(
            model=model,
            output=output / f"{name}.tflite",
            reports=(Path(reports, f"{name}.json"), Path(reports, f"{name}.html")) if reports else None,
            options=arguments_of_quantize,
            verify=options.verify,
            trust_code=options.trust_code_in_files,
        )
        for model, name in model_names(arguments).items()
    ]


COMMAND = Command(
    name="spiq-tf convert", description=__doc__, define_flags=define_flags, run=run, required=("output_dir",)
)

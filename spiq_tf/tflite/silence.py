"""Keeps the tools that are called from talking to the user of spiq_tf."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

from spiq_tf.process_lock import PROCESS_LOCK


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Hides progress bars and advice that the converter and the quantizer print for other ways of calling them.

    Errors are exceptions, and pass. One thread at a time: streams, logging and filters are those of the process.
    """
    with PROCESS_LOCK:
        disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            with (
                warnings.catch_warnings(),
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                warnings.simplefilter("ignore")
                yield
        finally:
            logging.disable(disabled)

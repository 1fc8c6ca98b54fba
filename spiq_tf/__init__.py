"""spiq_tf: trained Keras networks as full-integer int8 TFLite files, without data.

The public names stand in `spiq_tf/exports.py`. They are imported at their first use, since Keras and TensorFlow come
with them and take seconds: the command line answers a wrong flag, or that all is up to date, without them.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from spiq_tf.version import VERSION

__version__ = VERSION


def _bind_public_names() -> None:
    exports = import_module("spiq_tf.exports")
    globals().update({name: getattr(exports, name) for name in exports.__all__}, __all__=exports.__all__)


if TYPE_CHECKING:
    from spiq_tf.exports import *  # noqa: F403
else:  # hidden from type checkers, which would then take any name

    def __getattr__(name: str) -> Any:
        """Imports the public names when the first of them, or `__all__`, is read.

        The import system asks here for modules, too, before it looks for them: those are left to it.
        """
        if name == "__all__" or not (name.startswith("__") or find_spec(f"{__name__}.{name}")):
            _bind_public_names()
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if "keras" in sys.modules:  # the seconds are spent already: another backend is refused here, not at the first call
    _bind_public_names()

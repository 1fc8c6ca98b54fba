"""What the converted file may be made for: one module a target, each with its TARGET.

A new target is a new module of this package; nothing else lists them.
"""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

from spiq_tf.errors import InvalidArgumentError
from spiq_tf.targets.target import Target

__all__ = ["DEFAULT_TARGET", "TARGETS", "Target", "find_targets", "target_named"]


def find_targets() -> Iterator[Target]:
    """The TARGET of each module of this package."""
    for module in pkgutil.iter_modules(__path__):
        if module.name != "target":
            yield importlib.import_module(f"{__name__}.{module.name}").TARGET


DEFAULT_TARGET = "portable"

TARGETS: Mapping[str, Target] = {
    target.name: target for target in sorted(find_targets(), key=lambda t: (t.name != DEFAULT_TARGET, t.name))
}
"""By name, the default first. "portable" is LiteRT of any age, with XNNPACK or without; accelerators and
microcontrollers may have no kernel for an operator that it has."""


def target_named(name: Any) -> Target:
    """The target of a name that a user gave.

    Raises:
        InvalidArgumentError: there is none.
    """
    if not isinstance(name, str) or name not in TARGETS:
        raise InvalidArgumentError(f"target: expected one of {', '.join(map(repr, TARGETS))}, found {name!r}")
    return TARGETS[name]

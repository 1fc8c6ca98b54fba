"""The lists at the end of the page: violations by target, and fallbacks."""

from collections.abc import Iterable

from spiq_tf.conformance.violation import Violation
from spiq_tf.reporting import words
from spiq_tf.reporting.facts import ESTIMATES, Facts, why_unscaled
from spiq_tf.reporting.markup import Content, Markup, join, table, tag

_MOST_VIOLATIONS = 100  # listed of a target
_MOST_LINES = 12  # of a list that is open from the start


def targets(facts: Facts) -> Markup:
    """Violations of each target's rules."""
    return tag(
        "section",
        tag("h2", "Targets"),
        tag("p", f"The file was made for {facts.target}. {_clean(facts)}", class_="small"),
        *(_target(name, violations) for name, violations in facts.violations.items() if violations),
        id="targets",
    )


def _clean(facts: Facts) -> str:
    names = [name for name, violations in facts.violations.items() if all(v.slows for v in violations)]
    return f"It follows all rules of {', '.join(names)}." if names else "It breaks rules of all targets."


def _target(name: str, violations: tuple[Violation, ...]) -> Markup:
    head = "operator", "rule", "found", "what to do", "tensor"
    rows: list[tuple[Content, ...]] = [
        (v.operator or "file", v.rule, v.found, v.advice, v.tensor) for v in violations[:_MOST_VIOLATIONS]
    ]
    more = len(violations) - len(rows)
    rest = tag("p", f"And {more} more, which save_json lists.") if more else None
    return join(tag("h3", f"{name}: {words.violation_counts(violations)}"), table(head, rows, "violations"), rest)


def fallbacks(facts: Facts) -> Markup:
    """Fallbacks; long lists are closed."""
    ranges = (
        (f"Ranges {words.SOURCES[source]}", [f"{t.layer or t.name}: {words.interval(t.low, t.high)}" for t in tensors])
        for source in ESTIMATES
        if (tensors := [t for t in facts.estimated if t.source == source])
    )
    lists = [
        ("Operators that stay float", facts.float_operators),
        ("Opaque layers: no primitive describes them, their ranges are sampled", facts.fallback_layers),
        *ranges,
        ("Tensors that keep one scale for all channels", [f"{t.layer}: {why_unscaled(t)}" for t in facts.unscaled]),
        ("Operators without bias correction", facts.uncorrected),
        *([("Operators outside XNNPACK", facts.outside_delegate)] if facts.delegation else []),
    ]
    return tag(
        "section",
        tag("h2", "Fallbacks"),
        tag(
            "p",
            "Where the conversion had to fall back. An operator stays float if float_layers= names its layer, or if"
            " it has no int8 kernel.",
            class_="small",
        ),
        *(_titled(title, tuple(lines)) for title, lines in lists),
        id="fallbacks",
    )


def _titled(title: str, lines: tuple[str, ...]) -> Markup:
    head, items = f"{title}: {len(lines) or 'none'}", bullets(lines, "lines")
    if len(lines) > _MOST_LINES:
        return tag("details", tag("summary", tag("h3", head)), items)
    return join(tag("h3", head), items)


def bullets(lines: Iterable[str], class_: str) -> Markup | None:
    """A list; None where it has no lines."""
    items = [tag("li", line) for line in lines]
    return tag("ul", *items, class_=class_) if items else None

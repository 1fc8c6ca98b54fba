"""The report as one HTML page that needs nothing else."""

from collections.abc import Sequence
from importlib.resources import files

from spiq_tf.conformance.violation import Violation
from spiq_tf.reporting import listings, pictures, words
from spiq_tf.reporting.cards import card
from spiq_tf.reporting.facts import Facts, LayerFacts
from spiq_tf.reporting.markup import Content, Markup, table, tag
from spiq_tf.reporting.pictures import Largest
from spiq_tf.tensor_info import REPORTED_SIGMAS
from spiq_tf.verification.finding import Verification

_MOST_CHANNELS = 200  # drawn of a layer
_MOST_OF_ALL = 20_000  # drawn of all layers, some 25 bytes each: bounds the size of the page
_FEWEST_CHANNELS = 16
_COSTLIEST = 8

_READING = (
    "Each layer has two pictures of its channels, one upright line each, from the smallest to the largest value, in"
    " one order: the widest in the model first. Before: in the model's units. After: in the file's, where each channel"
    " was divided by a scale of its own that the weights around it absorbed. Shaded is the range of the tensor's 256"
    " integers: a channel that spans little of it has few of the 255 steps and is rounded coarsely, values outside are"
    f" clipped. Lines end {REPORTED_SIGMAS:.0f} standard deviations from the channel's center, or at its bound. The"
    " captions tell how wide the median channel is: the more alike channels are, the better one scale suits them."
)
_BARS = (
    "Bars show the layer's own share of the noise at the outputs; a full bar is the largest. Own is the signal over"
    " the layer's own noise, with all before over the noise of all layers up to there."
)
_REMEDY = (
    "Where one layer costs too much accuracy, float_layers=[…] keeps it float, ranges={…} replaces its range, and"
    " spiq_tf.verify measures the gain."
)


def page(facts: Facts) -> str:
    """The whole page; everything that comes from the model is escaped."""
    style = Markup(files("spiq_tf.reporting").joinpath("page.css").read_text("utf-8"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{facts.name}: conversion to int8"),
        tag("style", style),
    )
    body = tag(
        "body",
        tag(
            "main", _verdict(facts), _profile(facts), _layers(facts), listings.targets(facts), listings.fallbacks(facts)
        ),
    )
    return "<!DOCTYPE html>\n" + tag("html", head, body, lang="en") + "\n"


def _verdict(facts: Facts) -> Markup:
    verification, agreement = facts.verification, words.lowest_agreement(facts)
    tiles = [
        ("measured", words.decibels(None if verification is None else verification.sqnr_db)),
        ("agreement", words.percent(agreement)),
        ("predicted", words.decibels(facts.expected_db)),
        ("file", words.kibibytes(facts.size)),
        ("operators", str(sum(facts.operators.values()))),
        ("of them float", str(len(facts.float_operators))),
    ]
    generated = verification is not None and verification.generated
    return tag(
        "header",
        tag("p", "Conversion to an int8 TFLite file", class_="over"),
        tag("h1", facts.name),
        tag("p", words.verdict(facts), class_="verdict bad" if facts.problems else "verdict"),
        tag("p", words.predicted(facts)) if verification is not None else None,
        tag("p", "Generated inputs show what breaks; how often real classes agree, only real inputs show.")
        if generated
        else None,
        listings.bullets(facts.problems, "problems"),
        tag("dl", *(tag("div", tag("dt", title), tag("dd", value)) for title, value in tiles), class_="tiles"),
        _outputs(verification),
        tag("p", tag("strong", "Operators. "), words.operator_counts(facts)),
        tag("p", tag("strong", "Speed. "), words.delegated(facts.delegation)) if facts.delegation else None,
        tag("ul", *(_chip(name, violations) for name, violations in facts.violations.items()), class_="chips"),
        tag("nav", *(tag("a", title, href=f"#{title.lower()}") for title in ("Layers", "Targets", "Fallbacks"))),
    )


def _outputs(verification: Verification | None) -> Markup | None:
    """Each output by itself, where there are several."""
    if verification is None or len(verification.outputs) == 1:
        return None
    rows: list[tuple[Content, ...]] = [
        (o.name, words.decibels(o.sqnr_db), words.percent(o.agreement), words.decibels(o.noise.worst_channel_db))
        for o in verification.outputs
    ]
    return table(("Outputs", "signal to noise", "agreement", "worst channel"), rows, "figures")


def _profile(facts: Facts) -> Markup | None:
    largest = pictures.largest_shares(facts.layers)
    if largest.measured == largest.predicted == 0.0:
        return None
    measured = facts.has_measured_shares
    numbered = [((x.measured_share if measured else x.predicted_share) or 0.0, i) for i, x in enumerate(facts.layers)]
    costliest = [i for _, i in sorted(numbered, key=lambda each: (-each[0], each[1]))[:_COSTLIEST]]
    both = "measured upwards" + ", predicted downwards" * (largest.predicted > 0)
    how = both if measured else "as predicted"
    head = ("Costliest layers", *(("measured",) * measured), "predicted", *(("own",) * measured))
    return tag(
        "section",
        tag("h2", "Where the noise comes from"),
        tag(
            "p",
            f"All layers in order of execution: the share of the noise at the outputs that each adds, {how}."
            f" {_full(largest)}.",
        ),
        pictures.profile(facts.layers, largest),
        table(head, [_costly(i, facts.layers[i], measured) for i in costliest], "figures"),
        tag("p", _REMEDY, class_="small"),
    )


def _chip(target: str, violations: Sequence[Violation]) -> Markup:
    state = "kept" if all(violation.slows for violation in violations) else "broken"
    return tag("li", tag("strong", target), f" {words.violation_counts(violations)}", class_=state)


def _full(largest: Largest) -> str:
    each = (f"{words.percent(share)} {kind}" for kind, share in vars(largest).items() if share)
    return f"The largest: {', '.join(each) or words.NONE}"


def _costly(place: int, layer: LayerFacts, measured: bool) -> tuple[Content, ...]:
    name, own_db = tag("a", layer.name, href=f"#layer-{place}"), None if layer.finding is None else layer.finding.own_db
    if not measured:
        return name, words.percent(layer.predicted_share)
    return name, words.percent(layer.measured_share), words.percent(layer.predicted_share), words.decibels(own_db)


def _layers(facts: Facts) -> Markup:
    largest, count = pictures.largest_shares(facts.layers), len(facts.layers)
    most = min(max(_MOST_OF_ALL // max(count, 1), _FEWEST_CHANNELS), _MOST_CHANNELS)
    grouped = any(len(x.tensor.channel_ranges or ()) > most for x in facts.layers)
    text = f" Of more than {most} channels, neighbors are drawn as one." if grouped else ""
    return tag(
        "section",
        tag("h2", "Layer by layer"),
        tag("p", _READING, text, class_="small"),
        tag("p", _BARS, f" {_full(largest)}.", class_="small"),
        *(card(place, layer, largest, most) for place, layer in enumerate(facts.layers)),
        id="layers",
    )

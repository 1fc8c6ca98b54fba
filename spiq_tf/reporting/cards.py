"""One card for each layer on the HTML page."""

from spiq_tf.reporting import pictures, words
from spiq_tf.reporting.facts import LayerFacts
from spiq_tf.reporting.markup import Markup, tag
from spiq_tf.reporting.pictures import Largest, Picture


def card(place: int, layer: LayerFacts, largest: Largest, most: int) -> Markup:
    """One layer.

    Args:
        place: in the order of execution.
        layer: its facts.
        largest: the largest shares of the noise, which are drawn as full bars.
        most: how many channels are drawn apart.
    """
    known = pictures.before_and_after(layer.tensor)
    return tag(
        "article",
        tag("h3", tag("span", str(place + 1), class_="place"), tag("span", layer.name, class_="name")),
        tag("p", layer.operator or "input", class_="kind"),
        _numbers(layer),
        tag("p", "Its channel ranges are unknown.", class_="pair") if known is None else _pair(*known, most),
        _noise(layer, largest),
        *(tag("p", note, class_="note") for note in layer.notes),
        id=f"layer-{place}",
    )


def _numbers(layer: LayerFacts) -> Markup:
    tensor = layer.tensor
    rows = [("shape", " x ".join(map(str, layer.shape)))] if layer.shape else []
    rows += [("range", words.interval(tensor.low, tensor.high)), ("source", words.SOURCES[tensor.source])]
    if tensor.scale is None:
        rows.append(("type", "float32"))
    else:
        rows += [("scale", words.number(tensor.scale)), ("zero point", str(tensor.zero_point))]
    return _definitions(rows)


def _pair(before: Picture, after: Picture, most: int) -> Markup:
    return tag("div", _figure("before", before, most), _figure("after", after, most), class_="pair")


def _figure(when: str, picture: Picture, most: int) -> Markup:
    label = f"{words.counted(len(picture.bounds), 'channel')} {when} absorption"
    steps = f", {picture.steps:.0f} of 255 integer steps" if when == "after" else ""
    ends = tag("span", words.number(picture.top)), tag("span", words.number(picture.bottom))
    return tag(
        "figure",
        tag("span", *ends, class_="ends"),
        pictures.channels(picture, most, label),
        tag("figcaption", f"{when}: median {picture.median_of_widest:.0%} of the widest{steps}"),
        class_=when,
    )


def _noise(layer: LayerFacts, largest: Largest) -> Markup:
    shares = [("measured", layer.measured_share, largest.measured)] if layer.finding else []
    shares.append(("predicted", layer.predicted_share, largest.predicted))
    rows = [
        tag("dt", title) + tag("dd", pictures.bar(share, most), tag("span", words.percent(share), class_="value"))
        for title, share, most in shares
    ]
    finding = layer.finding
    if finding is not None:
        decibels = [("own", words.decibels(finding.own_db)), ("with all before", words.decibels(finding.noise.sqnr_db))]
        if finding.cut > 0.0005:
            decibels.append(("clipped", words.percent(finding.cut)))
        rows += [tag("dt", title) + tag("dd", tag("span", value, class_="value")) for title, value in decibels]
    return tag("dl", *map(Markup, rows), class_="noise")


def _definitions(rows: list[tuple[str, str]]) -> Markup:
    return tag("dl", *(Markup(tag("dt", title) + tag("dd", value)) for title, value in rows), class_="numbers")

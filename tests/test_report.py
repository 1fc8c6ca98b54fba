"""The report's numbers in each of its forms, read back and compared with the result, the file and the model."""

import collections
import dataclasses
import html.parser
import io
import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import rich.console
from ai_edge_litert import interpreter as litert
from keras import layers
from litert_quantizer import calibrator, quantizer, recipe

import spiq_tf
from spiq_tf import pipeline
from spiq_tf.options import checked_options
from spiq_tf.reporting import pictures
from spiq_tf.reporting.page import page
from spiq_tf.reporting.words import interval
from spiq_tf.targets import TARGETS
from spiq_tf.tflite.delegation import Delegation, OperatorOutside
from spiq_tf.tflite.flatbuffer import FlatModel
from tests.networks import RANGE, conv_bn, images, settle

DOCS = Path(__file__).parents[1] / "docs" / "report.md"
ODD_NAME = "<script>\"&'</p>"


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(4)
    image = keras.Input((12, 12, 3), name="image")
    x = conv_bn(image, 8, activation=layers.ReLU(6.0, name="first"))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(12, 3, use_bias=False)(x))
    x = layers.ReLU(name="second")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = settle(keras.Model(image, layers.Dense(5, name="scores")(x), name="small"))
    beta = model.get_layer("norm").beta
    beta.assign(np.where(np.arange(12) == 3, -20.0, beta.numpy()))  # a channel that the ReLU never lets pass
    return model


@pytest.fixture(scope="module")
def result(model):
    """With a float operator, so that there is something to tell."""
    return spiq_tf.quantize(model, input_range=RANGE, float_layers=["scores"])


@pytest.fixture(scope="module")
def found(model, result):
    return spiq_tf.verify(model, result, images(model, 16))


@pytest.fixture(scope="module")
def report(result, found):
    return result.report(found)


@pytest.fixture(scope="module")
def slowed(result):
    """The report, had the second layer's operator and one inside a layer been left by XNNPACK."""
    named = next(t.name for t in result.tensors if t.layer == "second")
    outside = (
        OperatorOutside(position=1, kind="CONV_2D", tensor=named, reason="expected a, found b", values=1200),
        OperatorOutside(position=2, kind="RELU", tensor="inside", reason="expected c, found d", values=50),
    )
    delegation = Delegation(operators=5, values=5000, outside=outside, pieces=2)
    return dataclasses.replace(result, delegation=delegation).report()


class Page(html.parser.HTMLParser):
    """The elements of a page, each with its attributes and its own text, and what is wrong with their nesting."""

    def __init__(self, text):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))
        self._open.append(self.elements[-1])

    def handle_startendtag(self, tag, attributes):
        assert tag in ("meta", "path", "rect")
        self.elements.append((tag, dict(attributes), []))

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        if self._open:
            self._open[-1][2].append(data)

    def texts(self, tag, class_=None):
        found = [(a, "".join(t)) for kind, a, t in self.elements if kind == tag]
        return [text for attributes, text in found if class_ is None or attributes.get("class") == class_]

    def attributes(self, tag, class_):
        return [a for kind, a, _ in self.elements if kind == tag and class_ in a.get("class", "").split()]


def lines(attributes):
    """Upper and lower ends of the lines of a picture, in its units from the top, shape (lines, 2)."""
    found = re.findall(r"M([\d.]+) (-?\d+)V(-?\d+)", attributes["d"])
    assert [float(x) for x, _, _ in found] == [i + 0.5 for i in range(len(found))]
    assert "".join(f"M{x} {a}V{b}" for x, a, b in found) == attributes["d"]
    return np.array([(int(a), int(b)) for _, a, b in found])


def test_page_is_whole_and_needs_nothing_else(report, tmp_path):
    report.save_html(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    found = Page(text)
    tags = {tag for tag, _, _ in found.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    names = {name for _, attributes, _ in found.elements for name in attributes}
    assert not any(name in ("src", "srcset", "data", "action") or name.startswith("on") for name in names)
    assert not re.search(r"https?:|//\w|url\(|@import", text)
    places = {a["id"] for _, a, _ in found.elements if "id" in a}
    links = [a["href"] for _, a, _ in found.elements if "href" in a]
    assert {link.removeprefix("#") for link in links} <= places
    assert all(link.startswith("#") for link in links)


@pytest.mark.fast
def test_verdict_has_the_numbers_of_the_result(report, result, found):
    read = Page(page(report))
    tiles = dict(zip(read.texts("dt")[:6], read.texts("dd")[:6], strict=True))
    interpreter = litert.Interpreter(
        model_content=result.content,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    kinds = collections.Counter(op["op_name"] for op in interpreter._get_ops_details())
    assert tiles == {
        "measured": f"{found.sqnr_db:.1f} dB",
        "agreement": f"{100 * found.outputs[0].agreement:.1f}%",
        "predicted": f"{result.expected_db:.1f} dB",
        "file": f"{len(result.content) / 1024:.0f} KiB",
        "operators": str(kinds.total()),
        "of them float": "1",
    }
    (verdict,) = read.texts("p", "verdict")
    assert verdict.startswith("On 16 given inputs the int8 file differs from the float model by ")
    assert f"by {100 * 10 ** (-found.sqnr_db / 20):.1f}% of the size" in verdict
    assert any(f"{result.expected_db:.1f} dB signal to noise is predicted" in p for p in read.texts("p"))
    assert ", ".join(f"{n} {kind}" for kind, n in kinds.most_common()) in " ".join(read.texts("p"))
    chips = [attributes["class"] for kind, attributes, _ in read.elements if kind == "li" and "class" in attributes]
    broken = [not all(v.slows for v in spiq_tf.check(result.content, target)) for target in TARGETS]
    assert chips == ["broken" if each else "kept" for each in broken]
    assert True in broken  # the float operator is one for the Edge TPU
    cells = read.texts("td")
    assert all(v.found in cells for target in TARGETS for v in spiq_tf.check(result.content, target))


@pytest.mark.fast
def test_every_layer_once_with_its_numbers(report, result, found):
    read = Page(page(report))
    assert read.texts("span", "name") == [t.layer for t in result.tensors if t.layer is not None]
    assert len(set(read.texts("span", "name"))) == len(read.texts("span", "name"))
    values = read.texts("span", "value")
    for layer in found.layers:
        assert f"{layer.own_db:.1f} dB" in values
        assert f"{layer.noise.sqnr_db:.1f} dB" in values
    notes = read.texts("p", "note")
    assert "stays float: FULLY_CONNECTED" in notes
    assert "one scale for all channels: is a model output" in notes


def test_page_without_a_verification_says_that_nothing_is_measured(result):
    read = Page(page(result.report()))
    (verdict,) = read.texts("p", "verdict")
    assert verdict.startswith(f"Not measured. {result.expected_db:.1f} dB signal to noise is predicted")
    assert "measured" not in read.texts("dt")[6:]


def test_names_are_escaped(result):
    tensors = tuple(dataclasses.replace(t, layer=ODD_NAME) if t.layer == "first" else t for t in result.tensors)
    odd = dataclasses.replace(result, name=ODD_NAME, tensors=tensors, uncorrected=(ODD_NAME,))
    read = Page(page(odd.report()))
    assert "script" not in {tag for tag, _, _ in read.elements}
    assert read.texts("h1") == [ODD_NAME]
    assert read.texts("span", "name").count(ODD_NAME) == 1
    assert ODD_NAME in read.texts("li")


def test_problems_are_the_verdict(result, found):
    broken = dataclasses.replace(found, problems=("output 'scores' is constant",))
    read = Page(page(result.report(broken)))
    (verdict,) = read.texts("p", "verdict bad")
    assert verdict.startswith("The file is not fit for use: 1 problem found.")
    assert "output 'scores' is constant" in read.texts("li")


def test_pictures_show_the_ranges(report, result):
    """Within half a unit of 1000, to which the ends of lines are rounded."""
    drawn = [lines(a) for a in Page(page(report)).attributes("path", "channels")]
    held = [t for t in result.tensors if t.layer is not None]
    assert len(drawn) == 2 * len(held)
    for tensor, before, after in zip(held, drawn[::2], drawn[1::2], strict=True):
        ranges = np.array(tensor.channel_ranges)
        ranges = ranges[np.argsort(-np.ptp(ranges, axis=1), kind="stable")]
        top, bottom = max(0, ranges.max()), min(0, ranges.min())
        expected = (top - ranges[:, ::-1]) / (top - bottom) * pictures.HEIGHT
        np.testing.assert_allclose(before, expected, atol=0.5 + 1e-6)
        order = np.argsort(-np.ptp(np.array(tensor.channel_ranges), axis=1), kind="stable")
        ranges /= np.array(tensor.channel_scales)[order, None]
        top, bottom = max(tensor.high, ranges.max()), min(tensor.low, ranges.min())
        expected = (top - ranges[:, ::-1]) / (top - bottom) * pictures.HEIGHT
        np.testing.assert_allclose(after, expected, atol=0.5 + 1e-6)


def test_channels_reach_what_their_batchnorm_states(model, result):
    """Behind a ReLU: beta + 4 |gamma|, or its maximum where that is less; 0 where the channel is dead."""
    (early,) = (x for x in model.layers if isinstance(x, layers.BatchNormalization) and x.name != "norm")
    for norm, name, maximum in ((early, "first", 6.0), (model.get_layer("norm"), "second", np.inf)):
        (tensor,) = (t for t in result.tensors if t.layer == name)
        beta, gamma, variance = norm.beta.numpy(), norm.gamma.numpy(), norm.moving_variance.numpy()
        reach = 4 * np.abs(gamma) * np.sqrt(variance / (variance + norm.epsilon))
        ends = np.clip(np.stack([beta - reach, beta + reach], axis=1), 0.0, maximum)
        np.testing.assert_allclose(tensor.channel_ranges, ends, rtol=1e-5, atol=1e-6)


def test_many_channels_and_layers_stay_small(result, found, random):
    low, high = -random.uniform(0, 1, 1000), random.uniform(0, 3, 1000)
    (first,) = (t for t in result.tensors if t.layer == "first")
    ranges = tuple(zip(low.tolist(), high.tolist(), strict=True))
    wide = dataclasses.replace(first, low=-1.0, high=3.0, channel_ranges=ranges, channel_scales=(1.0,) * 1000)
    (one, _) = Page(page(dataclasses.replace(result, tensors=(wide,)).report())).attributes("path", "channels")
    assert len(lines(one)) == 200
    drawn, top = lines(one) / pictures.HEIGHT, max(3.0, high.max())
    span = top - min(-1.0, low.min())
    np.testing.assert_allclose(drawn.min(), (top - high.max()) / span, atol=1e-3)
    np.testing.assert_allclose(drawn.max(), (top - low.min()) / span, atol=1e-3)
    names = [f"stage/block_{k}/convolution" for k in range(1200)]
    many = tuple(dataclasses.replace(wide, layer=name, name=name) for name in names)
    each = tuple(dataclasses.replace(found.layers[0], layer=name, tensor=name) for name in names)
    text = page(dataclasses.replace(result, tensors=many).report(dataclasses.replace(found, layers=each)))
    assert len(Page(text).attributes("path", "channels")) == 2400
    assert len(text) < 3_000_000


@pytest.mark.fast
@pytest.mark.parametrize("width", [80, 120])
def test_terminal(report, result, found, width):
    console = rich.console.Console(file=io.StringIO(), width=width, color_system=None)
    odd = dataclasses.replace(report, name="[red]net[/red]")
    console.print(odd)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.replace("│", " ").split())
    assert "[red]net[/red]" in words
    assert f"measured {found.sqnr_db:.1f} dB" in words
    assert f"predicted {result.expected_db:.1f} dB, a rough guide" in words
    assert f"{len(result.content) / 1024:.0f} KiB, 1 float operator" in words
    assert "[0, 6]" in words
    assert ("scores: stays float: FULLY_CONNECTED; one scale" in words) == (width == 80)
    assert all(
        f" {layer.name} " in text and interval(layer.tensor.low, layer.tensor.high) in text for layer in report.layers
    )
    for layer in found.layers:
        share = f"{layer.share:.1%}" if layer.share >= 0.0005 else "<0.1%"
        assert re.search(rf"^│ {layer.layer} .* {share} .* {layer.own_db:.1f} dB", text, re.MULTILINE)


def paths(value, at=""):
    """The fields of a JSON value, as docs/report.md writes them."""
    if isinstance(value, dict):
        yield from ([at] if at in ("verification", "tensors[].measured", "delegation") else [])
        for key, each in value.items():
            name = "*" if at in ("operators", "violations") else key
            yield from paths(each, f"{at}.{name}" if at else name)
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for each in value:
            yield from paths(each, f"{at}[]")
    elif not (value == [] and at == "violations.*"):
        yield at


@pytest.mark.fast
def test_json_has_the_documented_fields(report, slowed, tmp_path):
    report = dataclasses.replace(report, delegation=slowed.delegation)
    report.save_json(tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text())
    documented = re.findall(r"^\| `([^`]+)` \|", DOCS.read_text().split("## report.json")[1], re.MULTILINE)
    assert len(set(documented)) == len(documented)
    assert set(documented) == set(paths(read))
    assert read == json.loads(json.dumps(report.as_dict()))
    assert read["schema"] == "spiq_tf/report/1"


@pytest.mark.fast
def test_what_xnnpack_leaves_is_told_in_each_form(report, slowed):
    sentence = (
        "XNNPACK, LiteRT's delegate for CPUs, runs 3 of 5 operators, in 2 pieces. LiteRT's own kernels, most of which"
        " are slower, compute 25.0% of all values."
    )
    lines = ["CONV_2D (second): expected a, found b; 1,200 values", "RELU (inside): expected c, found d; 50 values"]
    read = Page(page(slowed))
    assert any(sentence in text for text in read.texts("p"))
    assert all(line in read.texts("li") for line in lines)
    printed = str(slowed).splitlines()
    place = printed.index("Operators outside XNNPACK: 2")
    assert printed[place + 1 :] == [f"  {line}" for line in (*lines, sentence)]
    assert slowed.as_dict()["delegation"]["share_outside"] == 0.25
    console = rich.console.Console(file=io.StringIO(), width=160, color_system=None)
    console.print(slowed)
    words = " ".join(console.file.getvalue().replace("│", " ").split())
    assert "in 2 pieces" in words
    assert "operators outside XNNPACK 2 CONV_2D (second): expected a" in words
    whole = f"XNNPACK, LiteRT's delegate for CPUs, runs all {report.delegation.operators} operators, in 1 piece."
    assert any(whole in text for text in Page(page(report)).texts("p"))
    assert str(report).splitlines()[-2:] == ["Operators outside XNNPACK: none", f"  {whole}"]


@pytest.mark.fast
def test_targets_without_xnnpack_say_nothing_of_it(result):
    report = dataclasses.replace(result, delegation=None).report()
    assert "XNNPACK" not in str(report)
    assert report.as_dict()["delegation"] is None
    assert "Speed. " not in Page(page(report)).texts("strong")


def test_json_has_the_numbers(report, result, found):
    read = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert (read["bytes"], read["predicted_db"]) == (len(result.content), result.expected_db)
    for written, tensor in zip(read["tensors"], result.tensors, strict=True):
        for field in dataclasses.fields(tensor):
            value = getattr(tensor, field.name)
            np.testing.assert_equal(np.array(written[field.name]), np.array(value))
    measured = {t["layer"]: t["measured"] for t in read["tensors"] if t["measured"]}
    assert {x.layer: x.share for x in found.layers} == {layer: each["share"] for layer, each in measured.items()}
    shares = [t["predicted_share"] for t in read["tensors"] if t["predicted_share"] is not None]
    assert sum(shares) == pytest.approx(1.0)


def test_json_without_noise_has_null(result, found):
    exact = dataclasses.replace(found.layers[0], own_db=float("inf"))
    report = result.report(dataclasses.replace(found, layers=(exact,)))
    (tensor,) = (t for t in report.as_dict()["tensors"] if t["measured"])
    assert tensor["measured"]["own_db"] is None


@pytest.mark.parametrize("measured", [True, False])
def test_model_explorer(result, found, measured, tmp_path):
    """Keys are names that LiteRT gives the file's tensors, values the shares in percent."""
    result.report(found if measured else None).save_model_explorer(tmp_path / "noise.json")
    ((graph, data),) = json.loads((tmp_path / "noise.json").read_text()).items()
    assert graph == FlatModel(result.content).subgraph.name.decode()
    details = litert.Interpreter(model_content=result.content).get_tensor_details()
    assert set(data["results"]) <= {d["name"] for d in details}
    values = {name: each["value"] for name, each in data["results"].items()}
    if measured:
        expected = {x.tensor: 100 * x.share for x in found.layers}
    else:
        noise = {t.name: t.noise for t in result.tensors if t.noise is not None}
        expected = {name: 100 * value / sum(noise.values()) for name, value in noise.items()}
    assert values == pytest.approx(expected, abs=1e-4)
    assert data["name"].startswith("Measured" if measured else "Predicted")
    assert [data["gradient"][k]["stop"] for k in (0, -1)] == [0, 1]
    assert all(re.fullmatch("#[0-9a-f]{6}", each["bgColor"]) for each in data["gradient"])


def test_calibration_gives_litert_quantizer_the_same_scales(model, tmp_path):
    """Its own reader, and its own quantizer on the float file that the conversion wrote."""
    whole = spiq_tf.quantize(model, input_range=RANGE)
    whole.report().save_calibration(tmp_path / "ranges.json")
    options = checked_options()
    converted = pipeline.convert_plan(pipeline.plan(model, RANGE, options))
    content = converted.state.flat.content()
    reader = calibrator.Calibrator(content)
    reader.load_model_qsvs(str(tmp_path / "ranges.json"))
    reader.save_calibration_result(str(tmp_path / "again.json"))
    first, again = (json.loads((tmp_path / name).read_text()) for name in ("ranges.json", "again.json"))
    assert first == again
    assert first["metadata"]["num_samples_calibrated"] == 0
    other = quantizer.Quantizer(content, recipe.static_wi8_ai8()).quantize(
        reader.get_model_qsvs(), enable_progress_bar=False, enable_progress_report=False
    )
    flat = FlatModel(other.quantized_model)
    place = {flat.name(index): index for index in flat.activations()}
    for tensor in whole.tensors:
        parameters = flat.quantization(place[tensor.name])
        scale, zero_point = parameters.scale, parameters.zero_point
        assert scale == pytest.approx(tensor.scale, rel=1e-6)
        assert abs(-128 - tensor.low / scale - zero_point) < 0.5 + 1e-4  # half-way, either neighbor is right


def test_a_verification_of_another_file_is_refused(model, result, found):
    other = dataclasses.replace(found.layers[0], layer="elsewhere")
    with pytest.raises(spiq_tf.InvalidArgumentError, match="found layer 'elsewhere', which is not in the file"):
        result.report(dataclasses.replace(found, layers=(other,)))
    with pytest.raises(spiq_tf.InvalidArgumentError, match=r"spiq_tf.verify\(model, result\) returns, found str"):
        result.report("report.html")
    with pytest.raises(spiq_tf.InvalidArgumentError, match="cannot write"):
        result.report(found).save_html("absent/report.html")


def test_several_outputs_are_told_apart(result, found):
    (one,) = found.outputs
    noisy = dataclasses.replace(one, name="noisy", noise=dataclasses.replace(one.noise, sqnr_db=7.25), agreement=None)
    read = Page(page(result.report(dataclasses.replace(found, outputs=(one, noisy)))))
    assert "measured" in read.texts("dt")
    assert read.texts("dd")[0] == "7.2 dB"
    cells = read.texts("td")
    place = cells.index("noisy")
    assert cells[place : place + 3] == ["noisy", "7.2 dB", "-"]
    assert cells[place - 4 : place - 1] == ["scores", f"{one.sqnr_db:.1f} dB", f"{one.agreement:.1%}"]

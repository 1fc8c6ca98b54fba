"""The table of families: one row from the command, and the figures that it is made of."""

import re
import shutil

import families
import numpy as np
import pytest
from family_networks import FAMILIES, smooth_images
from keras import Input, Model, layers
from rounded_model import rounded_outputs

from tests.networks import RANGE, images


def test_one_family_makes_one_row(tmp_path):
    """The family is converted in a process of its own."""
    output = tmp_path / "families.md"
    assert families.COMMAND.main(["--only=keyword spotter", f"--output={output}"]) == 0
    (row,) = (line for line in output.read_text().splitlines() if line.startswith("| keyword spotter"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert [*cells[1:5], cells[6]] == ["4000 x 1", "none", "1", "none", "none"]
    assert float(cells[5]) > 0, "int8 / float"
    assert float(re.match(r"[\d.]+", cells[7])[0]) > 25


def test_an_unknown_family_is_refused_with_the_names_there_are(capsys):
    assert families.COMMAND.main(["--only=LeNet"]) == 2
    message = capsys.readouterr().err
    assert "LeNet" in message
    assert "MobileNetV2" in message


def test_a_family_whose_process_fails_is_a_row_with_the_error(monkeypatch):
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    assert families.measure_in_process("MobileNetV2", images=2, timeout=120).error == "exit code 1: "


def test_ratios_for_each_part_and_without_the_mean():
    expected = np.array([[10.0, 1.0], [12.0, 3.0]])
    outputs = expected + np.array([[0.1, 0.1], [-0.1, 0.1]])
    # 244 / 0.02 and 2 / 0.02; 10 / 0.02 and 2 / 0.02
    assert families.ratios(expected, outputs, {"a": slice(0, 1), "b": slice(1, 2)}) == "a 40.9 (20.0), b 27.0 (20.0)"


def test_a_row_says_what_xnnpack_does_not_run():
    row = families.Row(size="8 x 8", float_operators="none", pieces=2, not_delegated="1: TILE", time_ratio=1.254)
    (line,) = (x for x in families.document({"toy": row}, images=2).splitlines() if x.startswith("| toy"))
    assert line.startswith("| toy | 8 x 8 | none | 2 | 1: TILE | 1.25 |")


def test_kinds_with_their_counts():
    assert families.counted({"TILE": 1, "RELU": 2}) == "3: RELU 2, TILE"
    assert families.counted({}) == "none"


def test_smooth_images_fill_their_range_and_neighbors_are_alike():
    image = Input((32, 24, 3))
    x = smooth_images(Model(image, layers.Flatten()(image)), 16, (-2.0, 3.0), seed=0)
    assert x.shape == (16, 32, 24, 3)
    assert -2 <= x.min() < -1.7
    assert 2.7 < x.max() <= 3
    centered = x - x.mean()
    assert np.mean(centered[:, 1:] * centered[:, :-1]) > 0.4 * np.mean(centered**2), "white noise has none"


def test_the_rounded_model_errs_by_the_noise_of_its_grids():
    """One convolution on a kernel that is on its grid: only the input and the output are rounded, by step^2 / 12."""
    image = Input((8, 8, 1), name="image")
    conv = layers.Conv2D(1, 1, kernel_initializer="ones", bias_initializer="zeros")
    model = Model(image, conv(image))
    x = images(model, 64)
    (found,) = rounded_outputs(model, [x], RANGE)
    expected = (2 / 255) ** 2 / 12 + ((x.max() - x.min()) / 255) ** 2 / 12
    assert np.mean((found - model.predict(x, verbose=0)) ** 2) == pytest.approx(expected, rel=0.25)


def test_every_family_has_a_name_of_its_own_and_a_range():
    assert len(FAMILIES) == 21
    assert all(low < high for low, high in (family.input_range for family in FAMILIES.values()))

"""The fitted numbers: all of them are used, and can be varied for measurements alone."""

import re
import threading
from pathlib import Path

import prior_sensitivity
import pytest

from spiq_tf import priors

PACKAGE = Path(priors.__file__).parent


def test_every_prior_is_read_somewhere_and_says_what_it_is():
    sources = [path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "priors.py"]
    used = {name for text in sources for name in re.findall(r"\bpriors\.([A-Z_]+)\b", text)}
    assert used == set(priors.PRIORS)
    for prior in priors.PRIORS.values():
        assert prior.unit
        assert prior.evidence.endswith(".")
        assert prior.held_fixed


def test_a_prior_is_varied_within_the_context_alone():
    with priors.scaled("SAMPLE_GAP", 1.2):
        assert priors.SAMPLE_GAP.value == pytest.approx(1.2 * 1.75)
        assert priors.DECODER_SAMPLE_GAP.value == priors.DECODER_SAMPLE_GAP.default
    assert priors.SAMPLE_GAP.value == 1.75


def test_another_thread_sees_the_default():
    found = []
    with priors.scaled("SAMPLE_GAP", 1.2):
        thread = threading.Thread(target=lambda: found.append(priors.SAMPLE_GAP.value))
        thread.start()
        thread.join()
    assert found == [1.75]


@pytest.mark.parametrize(("name", "factor", "value"), [("MIN_HIDDEN_RANK", 1.2, 10), ("MIN_HIDDEN_RANK", 0.8, 6)])
def test_integers_stay_integers(name, factor, value):
    with priors.scaled(name, factor):
        assert priors.PRIORS[name].value == value
        assert isinstance(priors.PRIORS[name].value, int)


def test_a_correlation_is_not_varied_beyond_1():
    with priors.scaled("IMAGE_CHANNEL_CORRELATION", 1.2):
        assert priors.IMAGE_CHANNEL_CORRELATION.value == 1.0


def test_an_unknown_prior_is_refused():
    with pytest.raises(KeyError):
        priors.scaled("SAMPLE_GAPS", 1.2)


def test_the_table_has_the_largest_effect_first():
    rows = [
        {"prior": "SAMPLE_GAP", "network": "a", "down": 0.0, "up": 0.0},
        {"prior": "SAMPLE_GAP", "network": "b", "down": 0.1, "up": -0.3},
        {"prior": "NEAR_SIGMAS", "network": "a", "down": -0.5, "up": 0.0},
    ]
    _, _, first, second = prior_sensitivity.table(rows)
    assert first == "| NEAR_SIGMAS | 4 | -0.50 +0.00 | ? |"
    assert second == "| SAMPLE_GAP | 1.75 |  | +0.10 -0.30 |"

"""The constraints file of `.ci/versions`: each dependency at its floor."""

import runpy
from pathlib import Path

import pytest

lowest_versions = runpy.run_path(str(Path(__file__).parents[1] / ".ci" / "lowest_versions.py"))["lowest_versions"]

SETUP = """
[options]
install_requires =
    # a comment
    one>=1.2,<3
    two_b>=0.dev2025; platform_system == "Linux"
[options.extras_require]
tools =
    three>=3
test =
    %(tools)s
    one>=1.2
"""


def test_every_requirement_at_its_floor():
    assert lowest_versions(SETUP) == ["one==1.2", "three==3", "two_b==0.dev2025"]


@pytest.mark.parametrize(
    ("line", "message"),
    [("four<5", "expected NAME>=FLOOR, found 'four<5'"), ("one>=2", "one has two floors, 1.2 and 2")],
)
def test_a_requirement_without_a_single_floor_is_refused(line, message):
    with pytest.raises(ValueError, match=message):
        lowest_versions(f"{SETUP}    {line}\n")

"""Trained networks keep their accuracy, size and operators: the table tests/golden/accuracy.json."""

import copy

import accuracy_table
import pytest

RENEWAL = "where that is meant: python tools/accuracy_table.py --renew, and the commit says why"


@pytest.fixture
def table():
    return copy.deepcopy(accuracy_table.read())


def test_the_table_holds(table):
    found = accuracy_table.measure()
    failed = accuracy_table.failures(table, found)
    changed = accuracy_table.changes(table, found)
    assert not failed, "\n".join([*failed, f"{RENEWAL}; all that differs:", *changed])


def test_trained_well_enough_and_together_small(table):
    assert sum(path.stat().st_size for path in accuracy_table.GOLDEN.iterdir()) < 1_000_000
    for entries in table.values():
        assert entries["portable, noise"]["accuracy"] > 0.95


@pytest.mark.parametrize(
    ("networks", "key", "change", "said"),
    [
        (["residual"], "dB", -1.1, "dB lost: "),
        (["residual", "separable", "unet"], "dB", -0.35, "portable, noise: 0.35 dB lost in the mean of 3 networks"),
        (["unet"], "dB", 1.1, "dB gained"),
        (["unet"], "agreement", -0.02, "agreement"),
        (["separable"], "bytes", 2000, "bytes, now"),
        (["separable"], "operators", {"PAD": 1}, "operators"),
    ],
)
def test_a_loss_fails(table, networks, key, change, said):
    found = copy.deepcopy(table)
    for network in networks:
        entry = found[network]["portable, noise"]
        entry[key] = {**entry[key], **change} if isinstance(change, dict) else entry[key] + change
    assert any(said in line for line in accuracy_table.failures(table, found))
    assert len(accuracy_table.changes(table, found)) == len(networks)


@pytest.mark.parametrize(("key", "change"), [("dB", -0.25), ("dB", 0.9), ("agreement", -0.009), ("bytes", -2000)])
def test_what_moves_with_the_machine_does_not_fail(table, key, change):
    found = copy.deepcopy(table)
    for network in found.values():
        network["portable, noise"][key] += change
    assert accuracy_table.failures(table, found) == []


def test_what_the_table_lacks_fails(table):
    found = copy.deepcopy(table)
    del table["unet"]["portable, noise"]
    assert accuracy_table.failures(table, found) == ["unet, portable, noise: not in the table"]
    assert accuracy_table.failures(found, table) == ["unet, portable, noise: not in what was measured"]

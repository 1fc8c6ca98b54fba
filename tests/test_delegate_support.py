"""What XNNPACK takes of each operator: the rows against LiteRT's interpreter, a small file for each row and limit."""

import dataclasses

import pytest

from spiq_tf.tflite.delegation import delegation_of
from spiq_tf.tflite.flatbuffer import FlatModel
from spiq_tf.tflite.operators.table import OPERATORS
from tests.delegate import observed, predicted
from tests.delegate_uses import USES

pytestmark = pytest.mark.fast

UNSEEN = {"existing_axis", "float_slopes", "int32_axis", "not_sparse", "positive_strides", "same_type", "target_size"}
"""Conditions that XNNPACK asks and that no file can break: LiteRT's own kernels refuse to start then."""


def name_of(use):
    return f"{use.kind} {use.name}"


@pytest.mark.parametrize("use", USES, ids=name_of)
def test_rows_say_what_the_delegate_takes(use):
    content = use.content()
    expected = ([], 1) if use.taken else ([use.kind], 0)
    assert observed(content) == expected
    assert predicted(content) == expected
    for operator in delegation_of(FlatModel(content)).outside:
        assert operator.reason.startswith("expected ")
        assert ", found " in operator.reason


def test_every_row_is_tried():
    kinds = {kind: [use.taken for use in USES if use.kind == kind] for kind in OPERATORS}
    assert {kind for kind, taken in kinds.items() if not taken} == set()
    assert {kind for kind, taken in kinds.items() if True in taken} == {
        kind for kind, row in OPERATORS.items() if row.xnnpack is not None
    }


def conditions_of(support):
    return {condition.__qualname__.partition(".")[0]: condition for condition in support.conditions}


def test_every_condition_is_tried():
    """Where a use is left, the condition that says so is the row's own."""
    asked = {name for row in OPERATORS.values() if row.xnnpack is not None for name in conditions_of(row.xnnpack)}
    broken = set()
    for use in USES:
        support = OPERATORS[use.kind].xnnpack
        if support is not None and not use.taken:
            flat = FlatModel(use.content())
            found = flat.use(flat.operators[0])
            text = support.breach(found)
            if not dataclasses.replace(support, conditions=()).breach(found):
                broken |= {name for name, condition in conditions_of(support).items() if condition(found) == text}
    assert broken == asked - UNSEEN


def test_uses_have_names_of_their_own():
    assert len({name_of(use) for use in USES}) == len(USES)

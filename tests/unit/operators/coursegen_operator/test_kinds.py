"""The kinds, one of each."""

from __future__ import annotations

from operators.coursegen_operator.kinds import all_kinds
from operators.coursegen_operator.resources import CRON_JOB, JOB, OWN_TYPES, PROMETHEUS_RULE


def test_there_is_one_of_each() -> None:
    """With all that they may own."""
    kinds = all_kinds(["here"])
    assert [kind.type for kind in kinds] == list(OWN_TYPES)
    assert {child for kind in kinds for child in kind.child_types} == {JOB, CRON_JOB, PROMETHEUS_RULE}

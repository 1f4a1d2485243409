"""The verdict over messages of a cluster's load finds every seeded fault."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.kube.conversations import Row, compare

ROWS: list[Row] = [("one", "m-1", "a"), ("two", "m-1", "b"), ("one", "m-2", "c")]
REPORT: dict[str, Any] = {"messages": [list(row) for row in ROWS], "read": {"one": ["a", "c"], "two": ["b"]}}


def test_an_honest_run_passes() -> None:
    """Also with a row of which no client was told, which the conversation shows, too."""
    untold: Row = ("one", "m-3", "d")
    talk = compare([{**REPORT, "read": {"one": ["a", "d", "c"]}}], [*ROWS, untold])

    assert talk.passed
    assert (talk.accepted, talk.conversations) == (3, 2)
    assert str(talk) == "3 messages accepted in 2 conversations: lost 0, double 0, out of order 0, misread 0"


@pytest.mark.parametrize(
    ("fault", "rows", "read"),
    [
        ("lost", ROWS[:2], {}),
        ("double", [*ROWS, ("one", "m-2", "e")], {}),
        ("double", [*ROWS, ROWS[0]], {}),
        ("disordered", ROWS[::-1], {}),
        ("misread", ROWS, {"one": ["c", "a"]}),
        ("misread", ROWS, {"one": ["a"]}),
        ("misread", ROWS, {"two": ["b", "b"]}),
        ("misread", ROWS, {"two": None}),
    ],
)
def test_every_fault_is_found(fault: str, rows: list[Row], read: dict[str, Any]) -> None:
    """One that is lost, double, out of order, or shown wrongly."""
    talk = compare([{**REPORT, "read": read}], rows)

    assert getattr(talk, fault), talk
    assert not talk.passed

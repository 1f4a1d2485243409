"""The display as it is computed without the database's function."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.progress import STEP_NAMES, Step, fresh_progress, open_step, with_step
from tests.support.progress import CHANGES, Change, check_display

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def changed(progress: dict[str, Any], change: Change, seconds: int = 0) -> dict[str, Any]:
    """After one change, some time later."""
    now = _NOW + timedelta(seconds=seconds)
    return with_step(progress, Step(change.step), change.status, change.message, change.error, now=now)


@given(CHANGES)
def test_the_percentage_never_falls(changes: list[Change]) -> None:
    """Whatever steps are set back, repeated or completed out of turn; and the display keeps its form."""
    progress = fresh_progress()
    for seconds, change in enumerate(changes):
        before, progress = progress, changed(progress, change, seconds)

        check_display(progress)
        assert progress["percentage"] >= before["percentage"]
        assert changed(progress, change, seconds + 1) == progress


@given(CHANGES, st.integers(-5, 5))
def test_a_step_never_ends_before_it_began(changes: list[Change], drift: int) -> None:
    """Even when the clock is set back."""
    progress = fresh_progress()
    for seconds, change in enumerate(changes):
        progress = changed(progress, change, seconds * drift)
        for step in progress["steps"]:
            assert step["completed_at"] is None or step["started_at"] <= step["completed_at"]


@pytest.mark.parametrize("odd", [{}, {"steps": []}, {"steps": None}, {"steps": [1, 2]}, {"percentage": 40}])
def test_a_display_that_lost_its_form_is_begun_anew(odd: dict[str, Any]) -> None:
    """A row from before, or written by hand."""
    progress = changed(odd, Change(1, "completed", None, None))

    check_display(progress)
    assert progress["percentage"] == 20
    assert open_step(odd) is Step.ACCEPTED


@pytest.mark.parametrize(("shown", "expected"), [(7, 20), (60, 60), (400, 100), ("x", 20), (None, 20), (True, 20)])
def test_a_percentage_that_is_none_does_not_count(shown: Any, expected: int) -> None:
    """What stands there is kept if it is a number up to a hundred."""
    odd = {**fresh_progress(), "percentage": shown}

    assert changed(odd, Change(1, "completed", None, None))["percentage"] == expected


def test_the_names_are_five() -> None:
    """In Russian, chosen once (GAP22)."""
    assert len(STEP_NAMES) == len(set(STEP_NAMES)) == 5

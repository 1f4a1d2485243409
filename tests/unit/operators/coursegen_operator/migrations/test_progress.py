"""What a report makes of a memory, where a whole look shows it too late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from operators.coursegen_operator.migrations import progress
from operators.coursegen_operator.migrations.report import Report
from operators.coursegen_operator.migrations.status import Memory

GoingOn = Callable[[Memory, Report, datetime, datetime | None], Memory]
NOW = datetime(2025, 11, 23, tzinfo=UTC)
OLDER, NEWEST = "20251122160000", "20251122170000"


@pytest.mark.parametrize("going_on", [progress.applied, progress.contracted], ids=["apply", "contract"])
def test_a_gap_that_is_filled_leaves_the_newest_the_current_one(going_on: GoingOn) -> None:
    """After a rollback script older files are applied again: the last of them is not where the database stands."""
    memory = replace(Memory(), current=NEWEST)
    told = Report(task="apply", outcome="succeeded", current_revision=NEWEST, revision=OLDER, applied=(OLDER,))
    of_old = Report(task="apply", outcome="succeeded", revision=OLDER)

    assert going_on(memory, told, NOW, NOW).current == NEWEST
    assert going_on(memory, of_old, NOW, NOW).current == OLDER

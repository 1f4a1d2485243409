"""The window that the health verdict looks at, and whose numbers stand beside those of all time."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from services.api.recent_figures import WINDOW_SECONDS, Outcomes, RecentFigures
from services.kernel.counters import Counters, Snapshot
from services.kernel.errors import DatabaseUnavailable
from tests.support.clocks import StandingClock


def sums(success: int, failed: int) -> Snapshot:
    """Counters of all time."""
    return Snapshot({("fsm_total", "success", 0): success, ("fsm_total", "failed", 0): failed})


def test_failures_leave_the_window() -> None:
    """Ten failures weigh for fifteen minutes, and not for ever."""
    clock = StandingClock()
    recent = RecentFigures(clock)
    recent.remember(sums(0, 0))
    young = recent.until(sums(0, 10)).initiations
    for _ in range(16):
        clock.pass_by(60)
        recent.remember(sums(1, 10))

    assert young == Outcomes(0, 10)
    assert recent.until(sums(3, 10)).initiations == Outcomes(2, 0)


def test_what_is_within_the_window_counts() -> None:
    """From the last sums that are as old as the window; sums in between change nothing."""
    clock = StandingClock()
    recent = RecentFigures(clock)
    for age, failed in ((WINDOW_SECONDS + 60, 1), (WINDOW_SECONDS, 2), (60, 7)):
        clock.seconds = 10_000 - age
        recent.remember(sums(0, failed))
    clock.seconds = 10_000
    lately = recent.until(sums(0, 8))

    assert (lately.initiations, lately.seconds) == (Outcomes(0, 6), WINDOW_SECONDS)


def test_nothing_is_known_before_anything_was_remembered() -> None:
    """Then there was no traffic; nor is there any after someone emptied the counters."""
    recent = RecentFigures(StandingClock())
    first = recent.until(sums(0, 10)).initiations
    recent.remember(sums(5, 10))

    assert first == Outcomes()
    assert recent.until(sums(0, 0)).initiations == Outcomes()


async def test_an_outage_is_left_out() -> None:
    """A minute in which PostgreSQL does not answer ends nothing."""
    stopping = asyncio.Event()

    class Away:
        async def read(self) -> Any:
            stopping.set()
            raise DatabaseUnavailable("away")

    recent = RecentFigures(StandingClock())
    await recent.watch(cast(Counters, Away()), stopping)

    assert recent.until(sums(0, 1)).initiations == Outcomes()

"""Collects what the ledger check compares: the database's tables and the outside file, once the dust has settled."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from services.kernel.database import Database
from tests.support.driver import Journal
from tests.support.ledger import (
    Arrival,
    Call,
    Course,
    Effect,
    Evidence,
    OutboxRow,
    Verdict,
    check,
    counted,
)
from tests.support.stack import Stack
from tests.support.waiting import eventually

QUIET_SECONDS = 60.0
"""How long the system may take to come to rest after the last fault (reliability.md section 3)."""

ROWS = """
SELECT outbox_id::text AS effect_id, entity_id::text AS course_id, coalesce(run_number, 0) AS run_number,
       coalesce(job_type, '') AS job_type, coalesce(job_data ->> 'documentId', job_data ->> 'attempt') AS document_id,
       (processed_at IS NULL AND retry_count >= max_retries) AS dead, (processed_at IS NOT NULL) AS processed
  FROM job_outbox
"""
EFFECTS = "SELECT effect_id::text AS effect_id, course_id::text AS course_id, outcome FROM effect_ledger"
COURSES = """
SELECT c.id::text AS course_id, c.generation_status::text AS state, c.run_number,
       EXISTS (SELECT FROM course_results AS r WHERE r.course_id = c.id AND r.run_number = c.run_number) AS has_result
  FROM courses AS c
 WHERE c.generation_status IS NOT NULL OR c.run_number > 1
"""
ARRIVALS = """
SELECT entity_id::text AS course_id, coalesce(run_number, 0) AS run_number, new_state AS state, count(*)::int AS times
  FROM fsm_events
 WHERE new_state IS NOT NULL
 GROUP BY entity_id, run_number, new_state
"""
_UNSETTLED = """
SELECT (SELECT count(*) FROM courses WHERE generation_status NOT IN ('completed', 'error', 'cancelled'))
     + (SELECT count(*) FROM job_outbox AS o
         WHERE NOT EXISTS (SELECT FROM effect_ledger AS l WHERE l.effect_id = o.outbox_id)
           AND NOT (o.processed_at IS NULL AND o.retry_count >= o.max_retries))
"""


async def come_to_rest(db: Database, *, within: float = QUIET_SECONDS) -> float:
    """Wait until nothing is under way any more, or the time is up; the seconds it took.

    Does not fail: what is left over is the check's to report.
    """

    async def settled() -> bool:
        return not await db.fetchval(_UNSETTLED)

    started = time.monotonic()
    with contextlib.suppress(AssertionError):
        await eventually(settled, within=within, every=0.1)
    return time.monotonic() - started


async def collect(
    db: Database,
    journal: Journal,
    *,
    sink: Path | None,
    fired: Mapping[str, int],
    wanted: Mapping[str, int],
    set_aside: Collection[str] = (),
) -> Evidence:
    """What the three parties say now.

    Args:
        db: the database, read as its owner.
        journal: what the driver wrote down.
        sink: the outside file; None when none was kept.
        fired: how often each fault is proved to have fired.
        wanted: how often it was to fire.
        set_aside: jobs that the test has seen among those a worker set aside: dead letters.
    """
    rows, effects = await db.fetch(ROWS), await db.fetch(EFFECTS)
    courses, arrivals = await db.fetch(COURSES), await db.fetch(ARRIVALS)
    return Evidence(
        attempts=tuple(journal.attempts),
        answers=tuple(journal.answers),
        rows=tuple(_row(dict(row), set_aside) for row in rows),
        effects=tuple(Effect(**dict(row)) for row in effects),
        calls=None if sink is None else read_calls(sink),
        courses=tuple(Course(**dict(row)) for row in courses),
        arrivals=tuple(Arrival(**dict(row)) for row in arrivals),
        faults=counted([name for name, times in fired.items() for _ in range(times)], wanted),
    )


def _row(fields: dict[str, Any], set_aside: Collection[str]) -> OutboxRow:
    return OutboxRow(**{**fields, "dead": fields["dead"] or fields["effect_id"] in set_aside})


def read_calls(sink: Path) -> tuple[Call, ...]:
    """The lines of the outside file."""
    if not sink.exists():
        return ()
    lines: list[dict[str, Any]] = [msgspec.json.decode(line) for line in sink.read_bytes().splitlines()]
    return tuple(Call(line["effectId"]) for line in lines)


async def judge(
    db: Database,
    journal: Journal,
    stack: Stack,
    wanted: Mapping[str, int],
    *,
    also_fired: Mapping[str, int] | None = None,
    set_aside: Collection[str] = (),
    within: float = QUIET_SECONDS,
) -> Verdict:
    """Wait for rest, then check a run of `stack`.

    Args:
        db: the run's database, as its owner.
        journal: what the driver wrote down.
        stack: has the outside file and the log of fired faults.
        wanted: how often each fault was to fire.
        also_fired: faults that the test injected with its own hands, proved by the test.
        set_aside: jobs that the test has seen among those a worker set aside.
        within: longest time to come to rest.
    """
    await come_to_rest(db, within=within)
    fired = {**stack.fired(), **(also_fired or {})}
    return check(await collect(db, journal, sink=stack.sink, fired=fired, wanted=wanted, set_aside=set_aside))


def assert_passed(verdict: Verdict, stack: Stack, *, may_fail: Collection[str] = ()) -> None:
    """Fail with the verdict in words and the ends of the logs unless it is a pass and only courses of `may_fail` failed."""
    assert verdict.passed, f"{verdict}\n{stack.logs()}"
    assert set(verdict.failed) == set(may_fail), f"{verdict}\n{stack.logs()}"

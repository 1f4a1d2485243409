"""The ledger's verdict over a load in a cluster: what its clients were told against what PostgreSQL holds.

There is no outside file in a cluster; an effect that was done twice shows as a state entered twice or as work done under two
identifiers. Only the courses of the load's own user are judged, so that several tests may share an installation.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from tests.support import evidence
from tests.support.kube.clients import Journal
from tests.support.kube.installation import Installation
from tests.support.ledger import Answer, Arrival, Attempt, Course, Effect, Evidence, Fault, OutboxRow, Verdict, check
from tests.support.waiting import eventually_sync

_ATTEMPTS = """
local found = {}
for _, name in ipairs(redis.call('KEYS', 'saq:job:*')) do
  local body = redis.call('GET', name)
  local ok, job = pcall(cjson.decode, body or '')
  if ok and (job.attempts or 0) > 1 then found[#found + 1] = name .. ' ' .. job.attempts end
end
return found
"""


def judge(
    installation: Installation,
    journals: Sequence[Journal],
    user: UUID,
    faults: Sequence[Fault],
    *,
    within: float = evidence.QUIET_SECONDS,
) -> Verdict:
    """Wait until nothing of the user's is under way, or the time is up; then compare."""
    with contextlib.suppress(AssertionError):
        eventually_sync(lambda: not unsettled(installation, user), within=within, every=1)
    return check(collect(installation, journals, user, faults))


def collect(
    installation: Installation, journals: Sequence[Journal], user: UUID, faults: Sequence[Fault] = ()
) -> Evidence:
    """What clients and database say now."""
    attempts, answers = _told(journals)
    return Evidence(
        attempts=attempts,
        answers=answers,
        rows=tuple(OutboxRow(**each) for each in _of_user(installation, evidence.ROWS, user)),
        effects=tuple(Effect(**each) for each in _of_user(installation, evidence.EFFECTS, user)),
        courses=tuple(Course(**each) for each in _of_user(installation, evidence.COURSES, user)),
        arrivals=tuple(Arrival(**each) for each in _of_user(installation, evidence.ARRIVALS, user)),
        faults=tuple(faults),
    )


def unsettled(installation: Installation, user: UUID) -> int:
    """How many of the user's courses and jobs are under way."""
    found = installation.sql(
        f"""
        WITH mine AS (SELECT id, generation_status FROM courses WHERE user_id = '{user}')
        SELECT (SELECT count(*) FROM mine WHERE generation_status NOT IN ('completed', 'error', 'cancelled'))
             + (SELECT count(*) FROM job_outbox AS o JOIN mine ON mine.id = o.entity_id
                 WHERE NOT EXISTS (SELECT FROM effect_ledger AS l WHERE l.effect_id = o.outbox_id)
                   AND NOT (o.processed_at IS NULL AND o.retry_count >= o.max_retries))
        """
    )
    return int(found)


def charged(installation: Installation, user: UUID) -> list[str]:
    """The user's rows and jobs that have lost an attempt; the count of a finished job is known for its `ttl`."""
    rows = f"SELECT outbox_id FROM job_outbox AS o JOIN courses AS c ON c.id = o.entity_id WHERE c.user_id = '{user}'"
    mine = set(installation.sql(rows).split())
    charged = installation.sql(f"{rows} AND (o.retry_count > 0 OR o.last_error IS NOT NULL)").split()
    for line in installation.redis("EVAL", _ATTEMPTS, "0").splitlines():
        name, _, attempts = line.partition(" ")
        if name.rpartition(":")[2] in mine:
            charged.append(f"{name}: {attempts} attempts")
    return charged


def _told(journals: Sequence[Journal]) -> tuple[tuple[Attempt, ...], tuple[Answer, ...]]:
    attempts: list[Attempt] = []
    answers: list[Answer] = []
    for course, status, job in (line for journal in journals for line in journal):
        attempt = Attempt(len(attempts), course, course)  # a course has one request, whose repeats are the same
        attempts.append(attempt)
        if status is not None:
            answers.append(Answer(attempt.number, status, job))
    return tuple(attempts), tuple(answers)


def _of_user(installation: Installation, query: str, user: UUID) -> list[dict[str, Any]]:
    mine = f"SELECT id::text FROM courses WHERE user_id = '{user}'"
    found: list[dict[str, Any]] = json.loads(
        installation.sql(f"SELECT coalesce(json_agg(t), '[]') FROM ({query}) AS t WHERE course_id IN ({mine})")
    )
    return found

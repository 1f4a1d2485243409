"""What a caller is told who meets a limit, and what is written down of it (contract.md e, GAP2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

from services.kernel import metrics
from services.kernel.batching import Batcher
from services.kernel.commands import InitiationRequest
from services.kernel.database import Database
from services.kernel.errors import CoursegenError, LimitReached, RetryableError
from services.kernel.logs import get_logger
from services.kernel.queries import Queries

if TYPE_CHECKING:
    from prometheus_client import Counter

RETRY_AFTER_SECONDS: Final = 10
"""What a caller is asked to wait: a slot is free when a course is finished, which nobody can foretell."""

_MOST_REMEMBERED: Final = 1000
_QUERIES = Queries.load("services.kernel", "concurrency.sql")
_log = get_logger(__name__)

LimitType = Literal["user", "global"]


class ConcurrencyLimitReached(LimitReached):
    """As many courses as allowed are in generation; try again when one of them is finished."""

    code = "concurrency_limit"

    @classmethod
    def of(cls, limit_type: LimitType, *, tier: str, limit: int, current: int) -> ConcurrencyLimitReached:
        """The refusal, in words that say which limit it was."""
        courses = "course" if limit == 1 else "courses"
        if limit_type == "user":
            message = (
                f"Tier {tier} may have {limit} {courses} in generation at once, and you have {current}. "
                "Try again when one is finished, or cancel one."
            )
        else:
            message = (
                f"{limit} {courses} may be in generation at once, of all users together, and there are {current}. "
                "Try again in a moment."
            )
        return cls(
            message,
            limitType=limit_type,
            tier=tier,
            limit=limit,
            current=current,
            retryAfterSeconds=RETRY_AFTER_SECONDS,
        )


@cache
def _hits() -> Counter:
    """Made once, when first needed: a process has one registry."""
    return metrics.counter(
        "concurrency_limit_hits", "Requests that were refused for a limit of courses at once", ["limit_type", "tier"]
    )


class Refusals:
    """Counts refusals and writes an event for each into `system_metrics`."""

    def __init__(self, db: Database) -> None:
        """Write to `db`."""
        self._db = db
        self._writes: Batcher[dict[str, Any], None] = Batcher(self._write_together, largest=256)
        self._unwritten: deque[dict[str, Any]] = deque(maxlen=_MOST_REMEMBERED)
        _hits()

    async def note(self, request: InitiationRequest, refusal: ConcurrencyLimitReached) -> None:
        """Write the refusal down before the caller hears of it; if the database is away, as soon as it is back."""
        facts = refusal.details
        _hits().labels(facts["limitType"], facts["tier"]).inc()
        _log.debug(  # the api's own line about the refusal says the same
            "initiation refused, limit reached",
            courseId=str(request.course_id),
            **{name: facts[name] for name in ("limitType", "tier", "limit", "current")},
        )
        event = {
            "userId": request.user_id,
            "courseId": request.course_id,
            "metadata": {
                **{name: facts[name] for name in ("limitType", "tier", "limit", "current")},
                "requestId": request.request_id,
            },
        }
        try:
            await self._writes.submit(event)
        except CoursegenError as error:
            _log.warning("refusal not written down yet", error=error.message)
            self._unwritten.append(event)

    async def retry(self) -> None:
        """Write what could not be written before, if the database answers."""
        while self._unwritten:
            try:
                await self._write_together([self._unwritten[0]])
            except RetryableError:
                return
            except CoursegenError as refused:
                _log.error("refusal left no event", error=refused.message)
            self._unwritten.popleft()

    async def _write_together(self, events: Sequence[dict[str, Any]]) -> Sequence[None]:
        await self._db.execute(_QUERIES["record_refusals"], list(events))
        return [None] * len(events)

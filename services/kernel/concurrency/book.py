"""The slots compared with the truth: PostgreSQL's running courses (contract.md e, TRAP42).

Promises: after `rebuild` every counter equals the number of running courses, except for what was reserved or freed while
PostgreSQL answered; `verify` frees reservations that no run came of; neither takes a slot from a course that runs, nor
brings one back to a course that has ended. Both may be called by several processes at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from services.kernel.concurrency.scripts import PREFIX, Scripts
from services.kernel.database import Database, Row
from services.kernel.queries import Queries
from services.kernel.redis_connection import translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

UNVERIFIED_SECONDS: Final = 15.0
"""Age at which a reservation is looked at: longer than an initiation takes with all its retries."""
GRACE_SECONDS: Final = 30.0
"""How long a rebuild lets a reservation be for which no course runs."""
_OLDEST_ANSWER_SECONDS: Final = 20.0
_PAGE: Final = 1000
_MOST_PAGES: Final = 20

_QUERIES = Queries.load("services.kernel", "concurrency.sql")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild has changed."""

    added: int
    removed: int
    corrected: int
    """Counters that did not say how many slots there are."""
    slots: int
    """Slots after it."""

    @property
    def is_change(self) -> bool:
        """Whether anything was wrong."""
        return bool(self.added or self.removed or self.corrected)


@dataclass(frozen=True, slots=True)
class UserSlots:
    """One user's counter beside the truth."""

    user_id: UUID
    tier: str | None
    """Of the user's running courses; None when none runs."""
    counter: int
    truth: int

    @property
    def drift(self) -> int:
        """How far the counter is off; a course that begins or ends just now is off by one for a moment."""
        return self.counter - self.truth


@dataclass(frozen=True, slots=True)
class ConcurrencyView:
    """All counters beside the truth."""

    global_limit: int | None
    """None when the caller has not named it."""
    global_counter: int
    global_truth: int
    users: tuple[UserSlots, ...] = field(default=())
    """Users with a counter or a running course, the busiest first."""
    ready: bool = True
    """False while Redis' counters are not believed and PostgreSQL counts."""

    @property
    def drift(self) -> int:
        """How far the global counter is off."""
        return self.global_counter - self.global_truth


class Book:
    """Compares, shows and repairs the counters."""

    def __init__(self, db: Database, redis: Redis, *, grace_seconds: float = GRACE_SECONDS) -> None:
        self._db = db
        self._redis = redis
        self._scripts = Scripts(redis)
        self._grace_seconds = grace_seconds

    async def is_ready(self) -> bool:
        """Whether the counters are believed.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        with translated():
            return bool(await self._redis.exists(f"{PREFIX}ready"))

    async def distrust(self) -> None:
        """Have nobody believe the counters until they are rebuilt.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        with translated():
            await self._redis.delete(f"{PREFIX}ready")

    async def rebuild(self) -> Rebuilt | None:
        """Count everything anew, and believe the counters from then on; None when PostgreSQL took too long to be believed.

        Raises:
            BrokerUnavailable, DatabaseUnavailable: nothing was changed, or all of it.
        """
        asked = await self._scripts.run("clock")
        running = await self._db.fetch(_QUERIES["running_courses"])
        answer = await self._scripts.run(
            "rebuild",
            asked,
            int(self._grace_seconds * 1000),
            int(_OLDEST_ANSWER_SECONDS * 1000),
            *(f"{row['id']}{row['user_id']}{row['run_number']}" for row in running),
        )
        return None if answer[0] < 0 else Rebuilt(*answer)

    async def verify(self, older_than_seconds: float = UNVERIFIED_SECONDS) -> int:
        """Look once at every reservation older than that; how many no run had come of, and are free now.

        Raises:
            BrokerUnavailable, DatabaseUnavailable: the rest waits for the next time.
        """
        freed = 0
        for _ in range(_MOST_PAGES):
            due = await self._scripts.run("due", int(older_than_seconds * 1000), _PAGE)
            scores = {course: int(float(score)) for name, score in _pairs(due) if (course := _identifier(name))}
            if scores:
                rows = await self._db.fetch(_QUERIES["runs"], list(scores))
                running = {row["id"]: row["run_number"] for row in rows}
                items = (f"{course}{score}:{running.get(course, 0)}" for course, score in scores.items())
                freed += await self._scripts.run("settle", *items)
            if len(due) < 2 * _PAGE:
                break
        return freed

    async def snapshot(self, global_limit: int | None = None) -> ConcurrencyView:
        """The counters beside the truth, which is read a moment earlier.

        Raises:
            BrokerUnavailable, DatabaseUnavailable: one of the two does not answer.
        """
        running = await self._db.fetch(_QUERIES["running_courses"])
        ready, total, *flat = await self._scripts.run("view")
        counters = {user: count for name, count in _pairs(flat) if (user := _identifier(name))}
        return ConcurrencyView(
            global_limit=global_limit,
            global_counter=total,
            global_truth=len(running),
            users=_beside(counters, running),
            ready=bool(ready),
        )


def _pairs(flat: Sequence[Any]) -> Iterable[tuple[bytes, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _identifier(name: bytes) -> UUID | None:
    """The UUID in a member of a key; None for what was put there by hand."""
    try:
        return UUID(name.decode())
    except ValueError:
        return None


def _beside(counters: dict[UUID, int], running: Sequence[Row]) -> tuple[UserSlots, ...]:
    truth: Counter[Any] = Counter(row["user_id"] for row in running)
    tiers = {row["user_id"]: row["tier"] for row in running}
    users = [
        UserSlots(user, tiers.get(user), counters.get(user, 0), truth[user]) for user in counters.keys() | truth.keys()
    ]
    return tuple(sorted(users, key=lambda user: (-max(user.counter, user.truth), str(user.user_id))))

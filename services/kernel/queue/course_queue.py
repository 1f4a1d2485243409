"""saq's Redis queue with the parts replaced that lose, double or starve jobs.

Replaced: taking (by priority, with an owner, atomically), ending and repeating (only by the owner), sweeping (one atomic
pass), scheduling (back into the priority list) and counting. Kept: saq's job, its keys and its JSON, so that saq's own page
and a plain saq producer go on working.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import orjson
from saq.job import Job, Status
from saq.queue.redis import RedisQueue

from services.kernel.queue.jobs import DeadReason
from services.kernel.queue.keys import QueueKeys, clamp_priority
from services.kernel.queue.scripts import QueueDamaged, Scripts, damage_seen, texts
from services.kernel.redis_connection import translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

LEASE_SECONDS: Final = 10
"""A worker not heard of for so long counts as dead; its jobs go back at the next sweep."""
RENEW_SECONDS: Final = 3.0
"""How often a worker renews its lease, and sweeps: a killed worker's jobs wait 13 s at the worst."""
UNOWNED_SECONDS: Final = 10
"""How long a job may be active without an owner before it goes back."""
MOST_CRASHES: Final = 3
"""Workers that may die with a job before it is set aside."""
DEAF_SECONDS: Final = 1.0
"""How long a worker waits before it looks again, when the key that should wake it is damaged."""
PROMOTED_AT_ONCE: Final = 200
"""Jobs whose delay is over that one call moves."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A value that was taken from the queue: a job, or the reason why it is none."""

    id: str
    job: Job | None
    reason: DeadReason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Swept:
    """What one pass of the sweeper has found."""

    put_back: list[str]
    set_aside: list[str]
    dropped: list[str]


class CourseQueue(RedisQueue):
    """One queue as a worker sees it."""

    def __init__(self, redis: Redis, name: str, *, worker_id: str | None = None) -> None:
        """Prepare the queue; nothing is sent until it is used.

        Args:
            redis: a client that answers in bytes.
            name: the saq queue's name.
            worker_id: under which jobs are taken; must be new for each start of a process.
        """
        super().__init__(redis, name=name, dump=orjson.dumps, load=orjson.loads)
        self.worker_id = worker_id or uuid4().hex
        self.keys = QueueKeys(name)
        self._scripts = Scripts(redis)
        self._claims: dict[str, str] = {}
        self._claims_made = 0
        self._claims_answered = 0

    # --- taking -----------------------------------------------------------------------------------------------------

    async def take(self, most: int) -> list[Taken]:
        """Up to `most` values, the most urgent first; each is now active and this worker's. Never waits.

        One call at a time.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        self._claims_made += 1
        number = self._claims_made
        claim = f"{self.worker_id}/{number}"
        try:
            found = await self._scripts.run("dequeue", self.keys, self.worker_id, claim, most, LEASE_SECONDS)
            return [self._taken(claim, *entry) for entry in found]
        finally:
            self._claims_answered = number

    def _taken(self, claim: str, raw_id: bytes, body: bytes | None, error: bytes) -> Taken:
        job_id = _text(raw_id)
        if body is None:
            return Taken(job_id, None)
        self._claims[job_id] = claim
        if error:
            return Taken(job_id, None, DeadReason.UNDECODABLE, error.decode("utf-8", "replace"))
        try:
            job = self._read(body)
        except Exception as failure:  # noqa: BLE001 - whatever a stranger put there must not stop the worker
            return Taken(job_id, None, DeadReason.UNDECODABLE, f"{type(failure).__name__}: {failure}"[:500])
        if job is None or job.id != job_id:
            return Taken(job_id, None, DeadReason.WRONG_QUEUE, "its body names another queue or key")
        return Taken(job_id, job)

    def _read(self, body: bytes) -> Job | None:
        fields = orjson.loads(body)
        if fields.get("queue") != self.name:
            return None
        fields.pop("queue")
        job = Job(**fields, queue=self)
        if not isinstance(job.function, str) or not isinstance(job.key, str):
            raise TypeError("function and key must be texts")
        float(job.timeout), int(job.retries), int(job.attempts), int(job.ttl), int(job.priority)
        return job

    async def wait(self, seconds: float) -> bool:
        """Wait until a job may be there; False when nothing came within `seconds`.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        return await wait_for_any(self.redis, [self], seconds)

    async def dequeue(self, timeout: float = 0.0, poll_interval: float = 0.0) -> Job | None:  # noqa: ASYNC109
        """For saq: the most urgent job; what is no job is set aside on the way."""
        while True:
            for taken in await self.take(1):
                if taken.job is not None:
                    return taken.job
                if taken.reason is not None:
                    await self.set_aside(taken.id, taken.reason, taken.detail)
            if not await self.wait(timeout or 1.0) and timeout:
                return None

    # --- ending -----------------------------------------------------------------------------------------------------

    def claim(self, job: Job) -> str:
        """The proof that the job is ours; empty when it was never taken here."""
        return self._claims.get(job.id, "")

    async def touch(self, job: Job) -> bool:
        """Write the running job's body; False when the job is no longer ours."""
        return bool(await self._scripts.run("touch", self.keys, job.id, self.claim(job), self.serialize(job)))

    async def give_back(self, job: Job, *, delay: float = 0.0, first: bool = False) -> bool:
        """Put the job back into its priority list; False when it is no longer ours."""
        job.status = Status.QUEUED
        job.started = 0
        priority = clamp_priority(job.priority)
        done = await self._scripts.run(
            "requeue", self.keys, job.id, self.claim(job), self.serialize(job), priority, delay, "1" if first else "0"
        )
        self._claims.pop(job.id, None)
        return bool(done)

    async def set_aside(self, job_id: str, reason: DeadReason, detail: str) -> bool:
        """Put a job that must not run beside the queue; False when it is no longer ours."""
        why = orjson.dumps({"reason": reason, "detail": detail, "at": time.time()})
        report = "0" if reason.from_storage else "1"
        claim = self._claims.get(job_id, "")
        done = await self._scripts.run("quarantine", self.keys, _bytes(job_id), claim, why, report)
        self._claims.pop(job_id, None)
        return bool(done)

    async def _finish(
        self, job: Job, status: Status, *, result: Any = None, error: str | None = None
    ) -> None:  # saq's hook; `result` and `error` are in the job already
        await self._scripts.run(
            "finish", self.keys, job.id, self.claim(job), int(job.ttl), self.serialize(job), status.value
        )
        self._claims.pop(job.id, None)

    async def _retry(self, job: Job, error: str | None) -> None:
        await self.give_back(job, delay=job.next_retry_delay())

    async def _update(self, job: Job, status: Status | None = None, **_: Any) -> None:
        job.status = status or job.status
        if not self.claim(job):
            await super()._update(job, status)
        elif await self.touch(job):
            await self.notify(job)

    # --- upkeep -----------------------------------------------------------------------------------------------------

    async def renew(self) -> None:
        """Say that this worker lives and serves the queue."""
        await self._scripts.run("renew", self.keys, self.worker_id, LEASE_SECONDS)

    async def resign(self) -> None:
        """Say that this worker is gone; what it may have left behind goes back at the next sweep."""
        with translated():
            pipe = self.redis.pipeline(transaction=False)
            pipe.delete(self.keys.lease(self.worker_id))
            pipe.zrem(self.keys.workers, self.worker_id)
            await pipe.execute(raise_on_error=False)

    async def rescue(self, *, most_crashes: int = MOST_CRASHES, every: float = RENEW_SECONDS) -> Swept | None:
        """Put the jobs of dead workers back, all in one step; None when another worker has just done it."""
        found = await self._scripts.run("sweep", self.keys, int(every * 900), most_crashes, UNOWNED_SECONDS)
        return None if found is None else Swept(*map(texts, found))

    async def reclaim(self) -> list[str]:
        """Put back what was taken in this worker's name without its knowledge: an answer was lost on the way."""
        known = map(_bytes, self._claims)
        found = await self._scripts.run("reclaim", self.keys, self.worker_id, self._claims_answered, *known)
        return texts(found)

    async def sweep(self, lock: int = 60, abort: float = 5.0) -> list[str]:
        """For saq: ids of jobs put back."""
        swept = await self.rescue()
        return swept.put_back if swept else []

    async def promote(self) -> int:
        """Move jobs whose delay is over into their lists; how many."""
        return int(await self._scripts.run("promote", self.keys, PROMOTED_AT_ONCE))

    async def schedule(self, lock: int = 1) -> list[str]:
        """For saq: nothing is said about which jobs were moved."""
        await self.promote()
        return []

    # --- looking and putting in, saq's interface --------------------------------------------------------------------

    async def count(self, kind: Any) -> int:
        """Jobs of one kind; `queued` is the sum of all lists."""
        if kind != "queued":
            return int(await super().count(kind))
        pipe = self.redis.pipeline(transaction=False)
        for name in self.keys.lists:
            pipe.llen(name)
        return sum(await pipe.execute())

    async def _enqueue(self, job: Job) -> Job | None:
        if job.scheduled:
            return await super()._enqueue(job)
        priority = clamp_priority(job.priority)
        answer: Sequence[int] = await self._scripts.run(
            "enqueue", self.keys, "", "", "", 1, priority, 0, job.id, self.serialize(job)
        )
        return job if answer[0] else None

    async def abort(self, job: Job, error: str, ttl: float = 5) -> None:
        """For saq: a waiting job is forgotten, a running one is left to its worker."""
        await self._scripts.run("discard", self.keys, job.id)


def _text(job_id: bytes) -> str:
    """An id as text; bytes that are no UTF-8 survive, for such an id must be found again to be set aside."""
    return job_id.decode("utf-8", "surrogateescape")


def _bytes(job_id: str) -> bytes:
    return job_id.encode("utf-8", "surrogateescape")


async def wait_for_any(redis: Any, queues: Sequence[CourseQueue], seconds: float) -> bool:
    """Wait until one of `queues` may have a job; False when nothing came within `seconds`, or nothing can be heard.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    try:
        with damage_seen(queues[0].keys), translated():
            return await redis.blpop([queue.keys.wake for queue in queues], timeout=seconds) is not None
    except QueueDamaged:
        await asyncio.sleep(min(seconds, DEAF_SECONDS))
        return False

"""Looks into queues from outside: for the reconciler, for metrics, for people with dead jobs to judge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from services.kernel.queue.jobs import DeadJob, JobState
from services.kernel.queue.keys import KNOWN_QUEUES, PIPELINE_QUEUES, QueueKeys, by_priority
from services.kernel.queue.scripts import Scripts, damage_seen
from services.kernel.queue.views import (
    MOST_LISTED,
    JobView,
    Place,
    QueueOverview,
    name_of,
    overview_of,
    parsed,
    reason_of,
    view_of,
)
from services.kernel.redis_connection import translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

_CHUNK = 1000
_BODY_BYTES = 64 * 1024
"""Larger bodies are not read for a list: two hundred of them would hold Redis up."""
_STATES = {0: JobState.MISSING, 1: JobState.ALIVE, 2: JobState.DEAD, 3: JobState.FINISHED}


class Inspector:
    """Questions about queues; every one may raise `BrokerUnavailable`, and of a damaged queue `QueueDamaged`."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py types every answer as "perhaps not awaitable"
        self._scripts = Scripts(redis)

    async def known_queues(self) -> list[str]:
        """The pipeline's queues, then every other one that was served or filled in the last thirty days, by name.

        What Redis has forgotten comes back with the next worker or job.
        """
        try:
            with translated():
                found: list[bytes] = await self._redis.zrange(KNOWN_QUEUES, 0, -1)
        except ResponseError:  # a stranger has put something else there
            found = []
        others = {each.decode("utf-8", "replace") for each in found}
        return [*PIPELINE_QUEUES, *sorted(others - set(PIPELINE_QUEUES))]

    async def overview(self, queues: Iterable[str]) -> list[QueueOverview]:
        """Each of `queues` in figures, in the given order; a queue that nobody knows is empty."""
        return [overview_of(each, await self._scripts.run("overview", QueueKeys(each))) for each in queues]

    async def jobs(self, queue: str, state: Place | str, limit: int = 50, offset: int = 0) -> list[JobView]:
        """One page of the jobs in one place, in the order in which they will be served; dead ones the latest first.

        Args:
            queue: the saq queue.
            state: `waiting`, `scheduled`, `running` or `dead`.
            limit: most jobs; `MOST_LISTED` when it is more.
            offset: jobs to pass over; between two calls jobs come and go.
        """
        names, place = QueueKeys(queue), Place(state)
        page = (max(0, offset), max(0, min(limit, MOST_LISTED)))
        found = await self._scripts.run("jobs", names, place.value, *page, _BODY_BYTES)
        return [view_of(names, place, entry) for entry in found]

    async def pause(self, queue: str) -> bool:
        """Have workers take nothing more from the queue; whether that is new. What runs goes on.

        Redis may forget it: `QueueControls` is the truth and the relay's leader applies it again.
        """
        return bool(await self._scripts.run("pause", QueueKeys(queue), "1"))

    async def resume(self, queue: str) -> bool:
        """Let workers take from the queue again, at once; whether that is new."""
        return bool(await self._scripts.run("pause", QueueKeys(queue), "0"))

    async def paused(self, queues: Sequence[str]) -> set[str]:
        """Those of `queues` from which workers take nothing."""
        return await self._having(queues, lambda names: names.paused)

    async def served(self, queues: Sequence[str]) -> set[str]:
        """Those of `queues` that a worker of ours serves; it was heard of in the last ten seconds."""
        return await self._having(queues, lambda names: names.workers)

    async def _having(self, queues: Sequence[str], key: Callable[[QueueKeys], str]) -> set[str]:
        if not queues:
            return set()
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for queue in queues:
                pipe.exists(key(QueueKeys(queue)))
            answers: list[int] = await pipe.execute()
        return {queue for queue, there in zip(queues, answers, strict=True) if there}

    async def states(self, queue: str, keys: Sequence[str]) -> dict[str, JobState]:
        """Where each job of `keys` is."""
        names = QueueKeys(queue)
        found: dict[str, JobState] = {}
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            answer = await self._scripts.run("states", names, *map(names.job_id, chunk))
            found |= {key: _STATES[code] for key, code in zip(chunk, answer, strict=True)}
        return found

    async def depths(self, queues: Iterable[str]) -> dict[str, int]:
        """How many jobs wait in each queue, all priorities together; scheduled and running ones are not counted."""
        return {queue: sum(waiting) for queue, waiting in (await self.waiting(queues)).items()}

    async def waiting(self, queues: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """How many jobs wait in each queue, by priority from 0."""
        names = [QueueKeys(queue) for queue in queues]
        if not names:
            return {}
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for each in names:
                for waiting in each.lists:
                    pipe.llen(waiting)
            answers = await pipe.execute(raise_on_error=False)
        lengths = [answer if isinstance(answer, int) else 0 for answer in answers]
        size = len(names[0].lists)
        return {each.queue: by_priority(lengths[i * size : (i + 1) * size]) for i, each in enumerate(names)}

    async def dead_jobs(self, queue: str) -> list[DeadJob]:
        """Every job set aside, the latest first."""
        names = QueueKeys(queue)
        with damage_seen(names), translated():
            reasons: dict[bytes, bytes] = await self._redis.hgetall(names.poison)
        found = [await self._dead(names, job_id, reason) for job_id, reason in reasons.items()]
        return sorted(found, key=lambda dead: -dead.at)

    async def dead_among(self, queue: str, keys: Sequence[str]) -> dict[str, DeadJob]:
        """Those of `keys` that were set aside, by key and without what they were: only why."""
        names = QueueKeys(queue)
        with damage_seen(names), translated():
            reasons = await self._redis.hmget(names.poison, [*map(names.job_id, keys)]) if keys else []
        found = zip(keys, reasons, strict=True)
        return {key: _dead_job(names, key, reason, None) for key, reason in found if reason is not None}

    async def unreported(self, queue: str, most: int) -> list[DeadJob]:
        """Jobs set aside that no dead-letter function has taken note of, the longest waiting first."""
        names = QueueKeys(queue)
        with translated():
            ids: list[bytes] = await self._redis.lrange(names.unreported, 0, most - 1)
            return [await self._dead(names, each, await self._redis.hget(names.poison, each)) for each in ids]

    async def reported(self, queue: str, key: str) -> None:
        """Remember that a dead job has been taken note of."""
        names = QueueKeys(queue)
        with translated():
            await self._redis.lrem(names.unreported, 0, names.job_id(key))

    async def discard(self, queue: str, keys: Sequence[str]) -> int:
        """Forget jobs that are not running, waiting ones included; how many bodies went."""
        names = QueueKeys(queue)
        gone = 0
        for start in range(0, len(keys), _CHUNK):
            ids = map(names.job_id, keys[start : start + _CHUNK])
            gone += int(await self._scripts.run("discard", names, *ids))
        return gone

    async def forget(self, queue: str, keys: Sequence[str]) -> None:
        """Discard jobs that were set aside, by their names in `jobs` and `dead_jobs`, whatever their ids in Redis are."""
        names = QueueKeys(queue)
        ids: list[str | bytes] = [names.job_id(key) for key in keys]
        with translated():
            known = await self._redis.hmget(names.poison, ids) if ids else []
            odd = {key for key, reason in zip(keys, known, strict=True) if reason is None}
            strange: list[bytes] = await self._redis.hkeys(names.poison) if odd else []
        ids += [each for each in strange if name_of(names, each) in odd]
        for start in range(0, len(ids), _CHUNK):
            await self._scripts.run("discard", names, *ids[start : start + _CHUNK])

    async def replay(self, queue: str, key: str) -> bool:
        """Put a job that was set aside back into its queue; False when there is no such job."""
        names = QueueKeys(queue)
        return bool(await self._scripts.run("replay", names, names.job_id(key)))

    async def _dead(self, names: QueueKeys, job_id: bytes, reason: bytes | None) -> DeadJob:
        with damage_seen(names), translated():
            body: bytes | None = await self._redis.hget(names.poison_bodies, job_id)
        return _dead_job(names, name_of(names, job_id), reason, body)


def _dead_job(names: QueueKeys, key: str, reason: bytes | None, body: bytes | None) -> DeadJob:
    why = parsed(reason)
    job = parsed(body)
    kwargs = job.get("kwargs")
    payload = kwargs.get("payload") if isinstance(kwargs, dict) else None
    function = job.get("function")
    return DeadJob(
        queue=names.queue,
        key=key,
        reason=reason_of(why.get("reason")),
        detail=str(why.get("detail", "")),
        at=float(at) if isinstance(at := why.get("at"), int | float) else 0.0,
        function=function if isinstance(function, str) else None,
        payload=payload if isinstance(payload, dict) else None,
        body=body,
    )

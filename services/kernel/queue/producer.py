"""Puts jobs into queues: in batches, each job at most once, never for a leader that has been replaced."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final

from services.kernel.errors import StaleLeader
from services.kernel.queue.jobs import EnqueueOutcome, QueuedRow
from services.kernel.queue.keys import QueueKeys, clamp_priority
from services.kernel.queue.scripts import Scripts

if TYPE_CHECKING:
    from redis.asyncio import Redis

LARGEST_CHUNK: Final = 500
"""Rows of one script call: Lua unpacks at most 8,000 values, and 500 hold Redis up for 10 ms at the worst."""


class Producer:
    """The relay's side of the queues."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._keys: dict[str, QueueKeys] = {}

    def keys(self, queue: str) -> QueueKeys:
        """The key names of a queue, remembered."""
        if queue not in self._keys:
            self._keys[queue] = QueueKeys(queue)
        return self._keys[queue]

    async def enqueue_batch(
        self,
        queue: str,
        rows: Sequence[QueuedRow],
        epoch: int | None,
        announcement: bytes = b"",
    ) -> EnqueueOutcome:
        """Put `rows` into `queue`; all or none of each 500 of them.

        A key whose body is still in Redis (waiting, running, or done less than its `ttl` ago) is counted as a duplicate
        and left as it is. Order is kept within a priority.

        Args:
            queue: the saq queue, as the bodies name it.
            rows: jobs whose body says the same key and queue.
            epoch: the leader's epoch; None puts without the fence.
            announcement: published with the first 500 on the queue's channel of new jobs; empty for none.

        Raises:
            StaleLeader: a higher epoch has been here (`details["seen"]`); nothing was put.
            BrokerUnavailable: Redis does not answer; the same call may be repeated.
            redis.exceptions.ResponseError: Redis refused the chunk; see `queue_fault`.
        """
        total = EnqueueOutcome(0, 0, 0)
        ordered = sorted(rows, key=lambda row: -clamp_priority(row.priority))
        for start in range(0, len(ordered), LARGEST_CHUNK):
            chunk = ordered[start : start + LARGEST_CHUNK]
            one = await self._put(self.keys(queue), chunk, epoch, b"" if start else announcement)
            total = EnqueueOutcome(total.accepted + one.accepted, total.duplicates + one.duplicates, one.depth)
        return total

    async def _put(
        self, keys: QueueKeys, rows: Sequence[QueuedRow], epoch: int | None, announcement: bytes
    ) -> EnqueueOutcome:
        arguments = _arguments(keys, rows, epoch, announcement)
        answer = await self._scripts.run("enqueue", keys, *arguments)
        return _outcome(answer, epoch)

    async def revive(self, queue: str, row: QueuedRow, epoch: int) -> bool:
        """Put a lost job back with the body of `row`; False when it is alive after all.

        Raises:
            StaleLeader: a higher epoch has been here.
            BrokerUnavailable: Redis does not answer.
        """
        keys = self.keys(queue)
        priority = clamp_priority(row.priority)
        answer = await self._scripts.run("revive", keys, epoch, keys.job_id(row.key), row.body, priority)
        if answer < 0:
            raise StaleLeader(f"the queue {queue} has seen a higher epoch than {epoch}")
        return bool(answer)


def _arguments(keys: QueueKeys, rows: Sequence[QueuedRow], epoch: int | None, announcement: bytes) -> list[Any]:
    arguments: list[Any] = ["" if epoch is None else epoch, keys.announcements, announcement]
    for priority, group in groupby(clamp_priority(row.priority) for row in rows):
        arguments += (sum(1 for _ in group), priority)
    arguments.append(0)
    prefix = keys.job_prefix
    for key, body, _ in islice(rows, LARGEST_CHUNK):
        arguments += (prefix + key, body)
    return arguments


def _outcome(answer: Sequence[int], epoch: int | None) -> EnqueueOutcome:
    if answer[0] < 0:
        raise StaleLeader(f"the queue has seen epoch {answer[1]}, this leader has {epoch}", seen=answer[1])
    return EnqueueOutcome(*answer)

"""Puts jobs into queues: in batches, each job at most once, never for a leader that has been replaced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoScriptError, RedisError, ResponseError

from services.kernel.errors import BrokerUnavailable, PermanentError, RetryableError, StaleLeader
from services.kernel.queue.jobs import EnqueueOutcome, QueuedRow
from services.kernel.queue.keys import QueueKeys, by_priority, clamp_priority
from services.kernel.queue.scripts import Scripts
from services.kernel.queue.wire import converse, pack
from services.kernel.redis_connection import is_unavailable, translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

LARGEST_CHUNK: Final = 500
"""Rows of one script call: Lua unpacks at most 8,000 values, and 500 hold Redis up for 10 ms at the worst."""


class EnqueueRefused(PermanentError):
    """Redis refused to take these jobs; another try would end the same way."""

    code = "enqueue_refused"


class EnqueueInterrupted(RetryableError):
    """The connection broke while these jobs were sent, though Redis is well."""

    code = "enqueue_interrupted"


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs for one queue, at most `LARGEST_CHUNK` of them, the most urgent first, no key twice."""

    queue: str
    rows: Sequence[QueuedRow]
    announcement: bytes = b""
    """Published on the queue's channel of new jobs; empty for none."""


class Producer:
    """The relay's side of the queues."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis
        self._scripts = Scripts(redis)
        self._keys: dict[str, QueueKeys] = {}

    async def enqueue_batch(
        self, queue: str, rows: Sequence[QueuedRow], epoch: int | None, announcement: bytes = b""
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
            BrokerUnavailable: nothing is wrong with the rows; the same call may be repeated.
            EnqueueInterrupted: the connection broke though Redis is well; perhaps a row is too large for it.
            EnqueueRefused: Redis will not take these rows.
        """
        ordered = sorted({row.key: row for row in rows}.values(), key=lambda row: -row.priority)
        total = EnqueueOutcome(0, 0, ())
        for start in range(0, len(ordered), LARGEST_CHUNK):
            chunk = Batch(queue, ordered[start : start + LARGEST_CHUNK], b"" if start else announcement)
            (outcome,) = await self.enqueue([chunk], epoch)
            if not isinstance(outcome, EnqueueOutcome):
                raise outcome
            total = EnqueueOutcome(
                total.accepted + outcome.accepted, total.duplicates + outcome.duplicates, outcome.waiting
            )
        return total

    async def enqueue(
        self, batches: Sequence[Batch], epoch: int | None
    ) -> list[EnqueueOutcome | EnqueueRefused | EnqueueInterrupted]:
        """Put several batches in one round trip; each succeeds or fails by itself.

        Raises:
            StaleLeader: a higher epoch has been in one of the queues.
            BrokerUnavailable: nothing is wrong with the rows.
        """
        commands = [self._command(batch, epoch) for batch in batches]
        try:
            answers = await self._send(commands)
            if any(isinstance(answer, NoScriptError) for answer in answers):
                await self._scripts.load(["enqueue"])
                answers = await self._send(commands)  # what was put already is a duplicate now
        except BrokerUnavailable as error:
            await self._hang_up()
            await self.ping()
            return [_interrupted(error) for _ in batches]
        outcomes = [_outcome(answer, epoch) for answer in answers]
        if not all(isinstance(outcome, EnqueueOutcome) for outcome in outcomes):
            await self._hang_up()
        return outcomes

    async def ping(self) -> None:
        """Return when Redis answers.

        Raises:
            BrokerUnavailable: it does not.
        """
        with translated():
            await self._redis.ping()

    async def prepare(self) -> None:
        """Make Redis know the scripts.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        await self._scripts.load()

    async def fault(self, queue: str) -> str | None:
        """What is wrong with the queue itself, so that no row can enter it: a key of the wrong type; else None.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        keys = self._names(queue)
        expected = {keys.incomplete: b"zset", keys.active: b"list", keys.wake: b"list", keys.owners: b"hash"}
        expected[keys.epoch] = b"string"
        expected |= dict.fromkeys(keys.lists, b"list")
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for name in expected:
                pipe.type(name)
            found: Iterable[bytes] = await pipe.execute()
        for (name, kind), actual in zip(expected.items(), found, strict=True):
            if actual not in {kind, b"none"}:
                return f"the key {name} is a {actual.decode()}, not a {kind.decode()}"
        return None

    async def revive(self, queue: str, rows: Sequence[QueuedRow], epoch: int) -> list[str]:
        """Put lost jobs back with the bodies of `rows`; the keys of those that were put, for others are alive after all.

        All of each 500 of them in one step.

        Raises:
            StaleLeader: a higher epoch has been here.
            BrokerUnavailable: Redis does not answer; some may have been put.
            QueueDamaged: the queue takes nothing at present.
        """
        keys = self._names(queue)
        revived: list[str] = []
        for start in range(0, len(rows), LARGEST_CHUNK):
            chunk = rows[start : start + LARGEST_CHUNK]
            jobs = ((keys.job_id(row.key), row.body, clamp_priority(row.priority)) for row in chunk)
            answer = await self._scripts.run("revive", keys, epoch, *chain.from_iterable(jobs))
            if answer == -1:
                raise StaleLeader(f"the queue {queue} has seen a higher epoch than {epoch}")
            revived += [row.key for row, is_revived in zip(chunk, answer, strict=True) if is_revived]
        return revived

    async def _hang_up(self) -> None:
        """Have the next call open a connection of its own: Redis closes one on which it was sent too much."""
        with translated():
            await self._redis.connection_pool.disconnect(inuse_connections=False)

    def _names(self, queue: str) -> QueueKeys:
        if queue not in self._keys:
            self._keys[queue] = QueueKeys(queue)
        return self._keys[queue]

    def _command(self, batch: Batch, epoch: int | None) -> bytes:
        keys = self._names(batch.queue)
        head = ["EVALSHA", self._scripts.script("enqueue").sha, "2", keys.prefix, keys.job_prefix]
        head += ["" if epoch is None else str(epoch), keys.announcements]
        runs: list[str] = []
        for priority, group in groupby(row.priority for row in batch.rows):
            runs += (str(len(list(group))), str(clamp_priority(priority)))
        prefix = keys.job_prefix.encode()
        return pack(
            [*(each.encode() for each in head), batch.announcement, *(each.encode() for each in runs), b"0"],
            (
                (prefix + key.encode(), body if isinstance(body, bytes) else body.encode())
                for key, body, _ in batch.rows
            ),
            len(batch.rows),
        )

    async def _send(self, commands: Sequence[bytes]) -> list[Any]:
        return await converse(self._redis, commands)


def _outcome(answer: Any, epoch: int | None) -> EnqueueOutcome | EnqueueRefused | EnqueueInterrupted:
    if isinstance(answer, ResponseError) and str(answer).startswith("Protocol error"):
        return _interrupted(answer)  # what Redis says before it hangs up; often nobody gets to read it
    if isinstance(answer, ResponseError) and not is_unavailable(answer):
        return EnqueueRefused(f"Redis refused the jobs: {answer}")
    if isinstance(answer, RedisError | OSError):
        raise BrokerUnavailable(f"Redis takes no jobs at present: {answer}") from answer
    if answer[0] < 0:
        raise StaleLeader(f"the queue has seen epoch {answer[1]}, this leader has {epoch}", seen=answer[1])
    accepted, duplicates, lengths = answer
    return EnqueueOutcome(accepted, duplicates, by_priority(lengths))


def _interrupted(error: BaseException) -> EnqueueInterrupted:
    return EnqueueInterrupted(f"the connection to Redis broke while jobs were sent ({error.__cause__ or error})")

"""Puts claimed rows into Redis and says, row by row, what became of them.

Rows travel as bytes: the body was built when the row was written. A batch that Redis does not take is halved until the row at
fault stands alone; the others go in on the way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import orjson

from services.kernel.envelopes import DOCUMENT_PROCESSING, STRUCTURE_ANALYSIS, STRUCTURE_GENERATION
from services.kernel.logs import get_logger
from services.kernel.queue import Batch, EnqueueInterrupted, EnqueueOutcome, EnqueueRefused, Producer, QueuedRow
from services.kernel.queue.producer import LARGEST_CHUNK
from services.outbox_relay.outbox import Failure, OutboxRow

_log = get_logger(__name__)
_Error: TypeAlias = EnqueueRefused | EnqueueInterrupted
_Chunk: TypeAlias = tuple[str, Sequence[OutboxRow]]

_PIPELINE: Final = "course-generation"
_PIPELINE_TYPES: Final = (DOCUMENT_PROCESSING, STRUCTURE_ANALYSIS, STRUCTURE_GENERATION)

PARK_SECONDS: Final = 2.0
"""How long a queue is left alone whose own keys in Redis are damaged."""


@dataclass(slots=True)
class Dispatched:
    """What became of a batch."""

    delivered: list[OutboxRow] = field(default_factory=list)
    """In Redis, now or already before."""
    failures: list[Failure] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)
    """Queues that take nothing at present; their rows stay pending, nothing is charged."""
    waiting: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Jobs that wait in each queue now, by priority from 0."""
    duplicates: int = 0


class Dispatcher:
    """Sends rows to their queues."""

    def __init__(self, producer: Producer, body_bytes: int) -> None:
        self._producer = producer
        self._body_bytes = body_bytes

    async def dispatch(self, rows: Sequence[OutboxRow], epoch: int) -> Dispatched:
        """Put `rows` into their queues.

        Raises:
            StaleLeader: Redis has seen a higher epoch.
            BrokerUnavailable: Redis takes nothing at present; some of the rows may be in it, none is charged.
        """
        result = Dispatched()
        sound = list(self._sound(rows, result))
        chunks = list(_chunks(sound))
        if not chunks:
            return result
        answers = await self._producer.enqueue([_batch(chunk) for chunk in chunks], epoch)
        for chunk, answer in zip(chunks, answers, strict=True):
            if isinstance(answer, EnqueueOutcome):
                _accept(result, chunk, answer)
            else:
                await self._look_closer(chunk, answer, epoch, result)
        return result

    def _sound(self, rows: Iterable[OutboxRow], result: Dispatched) -> Iterator[OutboxRow]:
        for row in rows:
            if row.job_body is None:
                reason = f"the job body has {row.size} bytes, more than RELAY_BODY_BYTES = {self._body_bytes} allows"
                result.failures.append(Failure(row, reason, is_transient=False))
            elif row.saq_queue == _PIPELINE and row.job_type is not None:
                result.failures.append(Failure(row, _unknown_type(row.job_type), is_transient=False))
            else:
                yield row

    async def _look_closer(self, chunk: _Chunk, error: _Error, epoch: int, result: Dispatched) -> None:
        queue, rows = chunk
        if queue in result.parked:
            return
        if isinstance(error, EnqueueRefused) and (fault := await self._producer.fault(queue)):
            _log.error("a queue takes no jobs, its keys in Redis are damaged", queue=queue, fault=fault)
            result.parked.append(queue)
            return
        if isinstance(error, EnqueueInterrupted):  # the connection may have broken by chance: once more, as it was
            await self._put(chunk, epoch, result)
        else:
            await self._halve(queue, rows, error, epoch, result)

    async def _halve(
        self, queue: str, rows: Sequence[OutboxRow], error: _Error, epoch: int, result: Dispatched
    ) -> None:
        if len(rows) == 1:
            is_transient = isinstance(error, EnqueueInterrupted)
            result.failures.append(Failure(rows[0], error.message, is_transient))
            return
        middle = len(rows) // 2
        await self._put((queue, rows[:middle]), epoch, result)
        await self._put((queue, rows[middle:]), epoch, result)

    async def _put(self, chunk: _Chunk, epoch: int, result: Dispatched) -> None:
        (answer,) = await self._producer.enqueue([_batch(chunk)], epoch)
        if isinstance(answer, EnqueueOutcome):
            _accept(result, chunk, answer)
        else:
            await self._halve(*chunk, answer, epoch, result)


def _unknown_type(job_type: str) -> str:
    """Why a row of the pipeline that was routed to none of its three queues is dead: nobody serves what is left."""
    return (
        f"the queue {_PIPELINE} has no jobs of type {job_type!r}; it takes {', '.join(_PIPELINE_TYPES)}."
        " Other job types go to a queue of their own"
    )


def _chunks(rows: Sequence[OutboxRow]) -> Iterator[_Chunk]:
    """Rows by queue, the most urgent first, at most `LARGEST_CHUNK` together; claimed rows come in order of priority."""
    by_queue: defaultdict[str, list[OutboxRow]] = defaultdict(list)
    for row in rows:
        by_queue[row.saq_queue].append(row)
    for queue, members in by_queue.items():
        for start in range(0, len(members), LARGEST_CHUNK):
            yield queue, members[start : start + LARGEST_CHUNK]


def _batch(chunk: _Chunk) -> Batch:
    queue, rows = chunk
    queued = [QueuedRow(str(row.outbox_id), row.job_body or "", row.priority) for row in rows]
    return Batch(queue, queued, announcement(queue, rows))


def announcement(queue: str, rows: Sequence[OutboxRow]) -> bytes:
    """What Layer 2 hears of these rows (contract.md g): a JSON array, written by hand since there is one for every job."""
    types = {row.job_type for row in rows}
    tails = {each: f'","jobType":{_json(each)},"queue":{_json(queue)}}}' for each in types}
    jobs = [f'{{"outboxId":"{row.outbox_id}","courseId":"{row.entity_id}{tails[row.job_type]}' for row in rows]
    return f"[{','.join(jobs)}]".encode()


def _json(value: str | None) -> str:
    return orjson.dumps(value).decode()


def _accept(result: Dispatched, chunk: _Chunk, outcome: EnqueueOutcome) -> None:
    queue, rows = chunk
    result.delivered += rows
    result.duplicates += outcome.duplicates
    result.waiting[queue] = outcome.waiting

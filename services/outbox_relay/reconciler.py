"""Puts back what Redis has lost: rows that are processed, have had no effect, and are in no queue.

A row is missing when two looks in a row do not find its job: between the first look at PostgreSQL and the one at Redis a job
may simply have finished. What is put back has the body that PostgreSQL holds; should the job have run after all, the effect
ledger makes the second delivery change nothing. Jobs that were set aside for a damaged body are put back with the true one; any
other job set aside, which no dead-letter function has dealt with, becomes a dead row that people can see.

Where to look: the pipeline's jobs are found through their courses, which are running. All others (webhooks, jobs of plugins, jobs
written by hand) stand in `open_jobs` from the moment their row is written until their effect is. Of these only queues with a
live worker of ours are compared: what a foreign consumer has taken leaves no trace, and must not be given to it twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import orjson

from services.kernel.database import Database, Row
from services.kernel.logs import get_logger
from services.kernel.queries import Queries
from services.kernel.queue import Inspector, JobState, Producer, QueueDamaged, QueuedRow
from services.outbox_relay.figures import Figures
from services.outbox_relay.leadership import Term
from services.outbox_relay.outbox import fenced_change

_QUERIES = Queries.load("services.outbox_relay", "reconciler.sql")
_log = get_logger(__name__)

SETTLED_SECONDS: Final = 2.0
"""Rows processed less than so long ago are left alone."""
MOST_NAMED: Final = 20
"""Jobs that one line names."""
PAGE: Final = 500
"""Courses, open jobs or lost jobs looked at together."""
PAGE_BYTES: Final = 2 * 1024 * 1024
"""Bodies put back together; a larger one goes by itself."""
_FIRST = UUID(int=0)


class Reconciler:
    """Compares PostgreSQL with Redis, for the leader."""

    def __init__(self, db: Database, inspector: Inspector, producer: Producer, figures: Figures) -> None:
        self._db = db
        self._inspector = inspector
        self._producer = producer
        self._figures = figures
        self._suspects: set[UUID] = set()
        self._idle: dict[str, UUID] = {}
        """How far the open jobs of queues without a worker were looked at: a page in each look."""

    async def look(self, term: Term) -> int:
        """Compare once; how many jobs were put back.

        Raises:
            StaleLeader: another leader is at work.
            BrokerUnavailable, DatabaseUnavailable: the look is not complete; nothing is lost by that.
        """
        absent = await self._absent_from_courses() | await self._absent_beside()
        confirmed = [outbox_id for outbox_id in absent if outbox_id in self._suspects]
        self._suspects = set(absent) - set(confirmed)
        return await self._put_back({outbox_id: absent[outbox_id] for outbox_id in confirmed}, term)

    async def _absent_from_courses(self) -> dict[UUID, JobState]:
        """Jobs of the pipeline that are in no queue; done or not, for there is no ledger row."""
        absent: dict[UUID, JobState] = {}
        last = _FIRST
        while courses := await self._db.fetch(_QUERIES["running_courses"], last, PAGE):
            ids = [course["id"] for course in courses]
            last = ids[-1]
            rows = await self._db.fetch(_QUERIES["unfinished_rows"], ids, SETTLED_SECONDS)
            for queue, members in by_queue(rows).items():
                absent |= await self._not_alive(queue, [row["outbox_id"] for row in members])
        return absent

    async def _absent_beside(self) -> dict[UUID, JobState]:
        """Jobs beside the pipeline that are in no queue and not done; those that are done are closed."""
        absent: dict[UUID, JobState] = {}
        queues = [row["saq_queue"] for row in await self._db.fetch(_QUERIES["open_queues"])]
        served = await self._inspector.served(queues)
        for queue in queues:
            if queue in served:
                last = _FIRST
                while page := await self._open_page(queue, last):
                    last = page[-1]["outbox_id"]
                    absent |= await self._absent_in(queue, page)
            else:
                page = await self._open_page(queue, self._idle.get(queue, _FIRST))
                self._idle[queue] = page[-1]["outbox_id"] if page else _FIRST
        return absent

    async def _open_page(self, queue: str, last: UUID) -> list[Row]:
        """The next open jobs of a queue; those with a ledger row are closed."""
        page = await self._db.fetch(_QUERIES["open_rows"], queue, last, PAGE, SETTLED_SECONDS)
        await self._close([row["outbox_id"] for row in page if row["is_done"]])
        return page

    async def _absent_in(self, queue: str, page: Sequence[Row]) -> dict[UUID, JobState]:
        due = [row["outbox_id"] for row in page if row["is_due"] and not row["is_done"]]
        found = await self._not_alive(queue, due)
        await self._close([outbox_id for outbox_id, state in found.items() if state is JobState.FINISHED])
        return {outbox_id: state for outbox_id, state in found.items() if state is not JobState.FINISHED}

    async def _close(self, done: list[UUID]) -> None:
        if done:
            await self._db.execute(_QUERIES["close_jobs"], done)

    async def _not_alive(self, queue: str, ids: Sequence[UUID]) -> dict[UUID, JobState]:
        try:
            states = await self._inspector.states(queue, [str(each) for each in ids])
        except QueueDamaged as error:
            _log.error("a queue cannot be compared", queue=queue, reason=error.message)
            return {}
        return {each: states[str(each)] for each in ids if states[str(each)] is not JobState.ALIVE}

    async def _put_back(self, absent: dict[UUID, JobState], term: Term) -> int:
        """Put jobs back, page by page: so many bodies as fit into `PAGE_BYTES` are in hand, however many jobs are lost."""
        left = sorted(absent, reverse=True)
        revived = 0
        try:
            while left:
                page = [left.pop() for _ in range(min(PAGE, len(left)))]
                rows = await self._db.fetch(_QUERIES["bodies"], page, PAGE_BYTES)
                left += [row["outbox_id"] for row in reversed(rows) if row["job_body"] is None]
                at_hand = [row for row in rows if row["job_body"] is not None]
                hopeless = await self._hopeless([row for row in at_hand if absent[row["outbox_id"]] is JobState.DEAD])
                revived += await self._revive([row for row in at_hand if row["outbox_id"] not in hopeless], term)
                await self._return_dead(hopeless, term)
        finally:
            if revived:
                _log.warning("jobs put back that Redis had lost", jobs=revived)
                self._figures.revived(revived)
        return revived

    async def _revive(self, rows: Iterable[Row], term: Term) -> int:
        revived = 0
        for queue, members in by_queue(rows).items():
            jobs = [QueuedRow(str(row["outbox_id"]), row["job_body"], row["priority"]) for row in members]
            try:
                put = await self._producer.revive(queue, jobs, term.epoch)
            except QueueDamaged as error:
                _log.error("jobs cannot be put back yet", queue=queue, reason=error.message)
                continue
            revived += len(put)
            for key in put:
                _log.debug("job put back", jobId=key, queue=queue)
        return revived

    async def _hopeless(self, rows: Iterable[Row]) -> dict[UUID, str]:
        """Which of these jobs, all set aside, must not run again as they are, and why."""
        hopeless: dict[UUID, str] = {}
        for queue, members in by_queue(rows).items():
            dead = await self._inspector.dead_among(queue, [str(row["outbox_id"]) for row in members])
            for row in members:
                job = dead.get(str(row["outbox_id"]))
                if job is not None and not (job.reason.from_storage and is_sound(row)):
                    hopeless[row["outbox_id"]] = f"set aside by a worker: {job.reason}: {job.detail}"
        return hopeless

    async def _return_dead(self, hopeless: dict[UUID, str], term: Term) -> None:
        if not hopeless:
            return
        answer = await self._db.fetchrow(
            _QUERIES["return_dead"], list(hopeless), term.epoch, [reason[:2000] for reason in hopeless.values()]
        )
        if returned := fenced_change(answer, term.epoch):
            named = [str(each) for each in hopeless][:MOST_NAMED]
            _log.error("jobs that no worker can run are dead rows now", jobs=returned, jobIds=named)
            self._figures.returned_dead(returned)


def by_queue(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each queue."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["saq_queue"]].append(row)
    return found


def is_sound(row: Row) -> bool:
    """Whether the body in PostgreSQL is a job of this row's queue and key."""
    try:
        job = orjson.loads(row["job_body"])
    except orjson.JSONDecodeError:
        return False
    return isinstance(job, dict) and job.get("queue") == row["saq_queue"] and job.get("key") == str(row["outbox_id"])

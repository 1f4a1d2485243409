"""The life of one job, the same for every stage.

Promises:

- A job's effect, the course's state, its events and the next outbox rows are one transaction, keyed by the outbox row's
  identifier: a second delivery, at whatever moment the first one died, changes nothing.
- A job of an earlier run, of a cancelled or deleted course, or of a stage the course has left, changes nothing either.
- What may pass (PostgreSQL, Redis, an engine's service out of reach) never ends a course: `RetryableError` leaves here and
  the queue brings the job back. What will not pass is written down once, with a reason that the course's owner
  understands. What nobody foresaw is tried as often as the queue allows; what the queue then sets aside comes back
  through `give_up`, so that no course hangs.
- The slot of a run is given back once the run has ended, however the delivery that ended it ends itself; and again by a
  delivery that finds it ended, should the first have died in between.

Fault points: `worker.before_commit`, `worker.inside_transaction`, `worker.after_commit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from uuid import UUID

from services.kernel.concurrency import ANY_RUN, Releases
from services.kernel.counters import Counters
from services.kernel.database import Connection, Database, DatabaseRefused
from services.kernel.envelopes import Job, decode_job, salvage_job
from services.kernel.errors import (
    CoursegenError,
    DatabaseUnavailable,
    OperatorError,
    PermanentError,
    RetryableError,
    TransitionRefused,
)
from services.kernel.faults import reach
from services.kernel.ledger import Effect, Ledger, Outcome
from services.kernel.logs import get_logger
from services.kernel.progress import ProgressBoard, Step
from services.kernel.queries import Queries
from services.kernel.wakeup import WakeUp
from services.stage_worker.layer3 import Layer3
from services.stage_worker.sink import EffectSink
from services.stage_worker.stages.course_run import Admission, CourseRun, judge
from services.stage_worker.stages.stage import NothingToDo, Stage
from services.stage_worker.stages.transaction import StageTransaction

Ending = Literal["applied", "skipped", "failed", "repeated", "course_deleted"]
"""How a delivery ended. `repeated`: the job had been decided before; `course_deleted`: while it was worked on."""

_DATABASE_PAUSES: Final = (0.2, 1.0, 3.0)
"""Seconds between the tries to commit what has been computed, before the queue's own, longer back-off takes over."""

_log = get_logger(__name__)

Write = Callable[[StageTransaction], Awaitable[None]]


class CourseMissing(PermanentError):
    """The job's course does not exist: it was deleted before the job began, or nobody ever made it."""

    code = "course_missing"


class EffectRefused(CoursegenError):
    """The database refused an effect: a fault of ours or of its present state, not of the material; worth another try."""

    code = "effect_refused"


_OURS: Final = (DatabaseRefused, TransitionRefused)


@dataclass(frozen=True, slots=True)
class Follower:
    """A job to write in the transaction of another stage's effect, once that is applied."""

    queue: str
    job_type: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """What is about to become the job's outcome."""

    outcome: Outcome
    write: Write
    detail: dict[str, Any] = field(default_factory=dict)
    followers: tuple[Follower, ...] = ()


async def _write_nothing(_: StageTransaction) -> None:
    return


class StageRunner:
    """Takes deliveries of jobs to their end."""

    def __init__(
        self,
        db: Database,
        counters: Counters,
        wakeup: WakeUp,
        sink: EffectSink,
        releases: Releases | None = None,
    ) -> None:
        self._db = db
        self._releases = releases
        self._ended: dict[UUID, tuple[UUID, int]] = {}
        self._wakeup = wakeup
        self._sink = sink
        self._ledger = Ledger()
        self._board = ProgressBoard()
        self._layer3 = Layer3(counters)
        self._sql = Queries.load("services.stage_worker", "courses.sql")

    async def run(
        self,
        stage: Stage[Any, Any],
        payload: Mapping[str, Any],
        followers: tuple[Follower, ...] = (),
    ) -> Ending:
        """Take one delivery to its end.

        Args:
            stage: who does the work.
            payload: the job's body as the queue gave it.
            followers: jobs to write together with the effect.

        Raises:
            RetryableError: nothing was decided; deliver it again later.
            PermanentError: the payload cannot be read and names no job to settle, or its course is missing; set it aside.
            Exception: unforeseen; deliver it again, and `give_up` when it has been delivered often enough.
        """
        try:
            job = decode_job(payload, stage.model)
        except PermanentError as error:
            if (ending := await self.give_up(stage, identify(payload, stage, error), error)) == "course_deleted":
                raise  # nobody to tell; the queue keeps it in sight
            return ending
        try:
            return await self._deliver(stage, job, followers)
        except OperatorError as error:
            raise RetryableError(error.message) from error  # someone must mend it; the course can wait
        except _OURS as error:
            raise EffectRefused(error.message) from error
        finally:
            await self._give_back(job)

    async def _deliver(self, stage: Stage[Any, Any], job: Job, followers: tuple[Follower, ...]) -> Ending:
        course = await self._begin(stage, job)
        if not isinstance(course, CourseRun):
            return course
        try:
            return await self._work(stage, job, course, followers)
        except _OURS:
            raise
        except PermanentError as error:
            return await self.give_up(stage, job, error)

    async def give_up(self, stage: Stage[Any, Any], job: Job, error: CoursegenError) -> Ending:
        """Settle `job` as failed, with what follows from that for the course."""
        _log.warning("job failed for good", job_type=stage.job_type, code=error.code, error=error.message)

        async def write(tx: StageTransaction) -> None:
            await stage.reject(tx, error)

        detail = {"code": error.code, "message": error.message}
        try:
            return await self._settle(stage, job, Resolution("failed", write, detail))
        finally:
            await self._give_back(job)

    async def _work(
        self, stage: Stage[Any, Any], job: Job, course: CourseRun, followers: tuple[Follower, ...]
    ) -> Ending:
        try:
            prepared = await stage.compute(job, course)
        except NothingToDo as nothing:
            return await self._settle(stage, job, Resolution("skipped", _write_nothing, {"reason": nothing.message}))

        async def write(tx: StageTransaction) -> None:
            await stage.commit(tx, prepared)

        return await self._settle(stage, job, Resolution("applied", write, followers=followers))

    async def _begin(self, stage: Stage[Any, Any], job: Job) -> CourseRun | Ending:
        """Layer 3, orphan recovery and the signs of work, in one short transaction; or how the job had ended already."""
        async with self._db.transaction() as connection:
            course = await self._lock(connection, job)
            begun = None if course is None else await self._begin_locked(connection, stage, job, course)
        if course is None or begun is None:
            self._note_end(job, job.run_number or ANY_RUN)
            raise CourseMissing(courseId=str(job.course_id))  # nobody to tell; the queue keeps it in sight
        self._note_end(job, course.ended_run)
        return begun

    async def _begin_locked(
        self, connection: Connection, stage: Stage[Any, Any], job: Job, course: CourseRun
    ) -> CourseRun | Ending:
        if await self._ledger.outcome_of(connection, job.outbox_id) is not None:
            return "repeated"
        verdict = judge(course, job, stage.position, any_run=stage.any_run)
        if verdict.admission is Admission.SKIP:
            return await self._skip(connection, course, job, verdict.reason)
        tx = self._open(connection, course, job)
        await self._recover(tx, stage, verdict.admission)
        await stage.begin(tx)
        return replace(course, state=tx.state)

    async def _recover(self, tx: StageTransaction, stage: Stage[Any, Any], admission: Admission) -> None:
        if stage.position is None:
            return
        if admission is Admission.INITIALISE:
            await self._layer3.initialise(tx, stage.position)
        if tx.course.is_orphan:
            _log.warning("orphaned job recovered", state=tx.state)
            await tx.mark(Step.ACCEPTED, "completed")
            await tx.record_orphan()

    async def _settle(self, stage: Stage[Any, Any], job: Job, resolution: Resolution) -> Ending:
        await reach("worker.before_commit")
        ending = await self._settle_patiently(stage, job, resolution)
        await reach("worker.after_commit")
        self._wakeup.notify()
        return ending

    async def _settle_patiently(self, stage: Stage[Any, Any], job: Job, resolution: Resolution) -> Ending:
        """A short outage of PostgreSQL must not cost a computation; repeating is safe because the ledger decides."""
        for pause in _DATABASE_PAUSES:
            try:
                return await self._settle_once(stage, job, resolution)
            except DatabaseUnavailable as error:
                _log.warning("effect not committed, trying again", error=error.message, pause_seconds=pause)
                await asyncio.sleep(pause)
        return await self._settle_once(stage, job, resolution)

    async def _settle_once(self, stage: Stage[Any, Any], job: Job, resolution: Resolution) -> Ending:
        async with self._db.transaction() as connection:
            course = await self._lock(connection, job)
            if course is None:
                ending, left = _deleted(job), None
            else:
                ending, left = await self._settle_locked(connection, stage, job, resolution, course)
        self._note_end(job, job.run_number or ANY_RUN if left is None else left.ended_run)
        return ending

    async def _settle_locked(
        self, connection: Connection, stage: Stage[Any, Any], job: Job, resolution: Resolution, course: CourseRun
    ) -> tuple[Ending, CourseRun]:
        """How the delivery ends, and the course as it leaves it."""
        verdict = judge(course, job, stage.position, any_run=stage.any_run)
        if verdict.admission is Admission.SKIP:
            return await self._skip(connection, course, job, verdict.reason), course
        if not await self._record(connection, course, job, resolution.outcome, resolution.detail):
            return "repeated", course
        tx = self._open(connection, course, job)
        await resolution.write(tx)
        for follower in resolution.followers:
            await tx.enqueue(follower.queue, follower.job_type)
        await stage.settle(tx)
        self._sink.record(job, course.run_number)
        await reach("worker.inside_transaction")
        return resolution.outcome, course.left_in(tx.state)

    def _note_end(self, job: Job, run_number: int | None) -> None:
        """The run has ended, and that is committed."""
        if run_number is not None:
            self._ended[job.outbox_id] = (job.course_id, run_number)

    async def _give_back(self, job: Job) -> None:
        ended = self._ended.pop(job.outbox_id, None)
        if ended is not None and self._releases is not None:
            await self._releases.release(*ended)

    async def _skip(self, connection: Connection, course: CourseRun, job: Job, reason: str) -> Ending:
        _log.info("job skipped", reason=reason)
        first = await self._record(connection, course, job, "skipped", {"reason": reason})
        return "skipped" if first else "repeated"

    async def _record(
        self, connection: Connection, course: CourseRun, job: Job, outcome: Outcome, detail: dict[str, Any]
    ) -> bool:
        run_number = job.run_number if job.run_number is not None else course.run_number
        effect = Effect(job.outbox_id, course.id, job.job_type, run_number, outcome, detail)
        return await self._ledger.apply_once(connection, effect)

    async def _lock(self, connection: Connection, job: Job) -> CourseRun | None:
        row = await connection.fetchrow(self._sql["lock_course"], job.course_id)
        return None if row is None else CourseRun.of(row)

    def _open(self, connection: Connection, course: CourseRun, job: Job) -> StageTransaction:
        return StageTransaction(connection, course, job, sql=self._sql, board=self._board)


def _deleted(job: Job) -> Ending:
    _log.info("job dropped, its course was deleted", courseId=str(job.course_id))
    return "course_deleted"


def identify(payload: object, stage: Stage[Any, Any], error: PermanentError) -> Job:
    """The job in `payload` if it can be read, else as much of it as is needed to settle it.

    Raises:
        PermanentError: `error` itself, when it names no job at all.
    """
    try:
        job: Job = decode_job(payload, stage.model)
    except PermanentError:
        return salvage_job(payload, stage.job_type, error)
    return job

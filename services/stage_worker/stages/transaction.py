"""The verbs a stage has inside its transaction: move the course, show progress, hand over, fail.

Everything done through one `StageTransaction` becomes visible at once or not at all. The course's row is locked, so the
stages of one course never act at the same time.
"""

from __future__ import annotations

from typing import Any

from services.kernel import tracing
from services.kernel.clock import Clock, SystemClock
from services.kernel.database import Connection
from services.kernel.envelopes import Job, JobData, encode_job_data
from services.kernel.owner_errors import told
from services.kernel.progress import ProgressBoard, Step, StepStatus
from services.kernel.queries import Queries
from services.kernel.webhooks.events import EndedRun, Failure, announce
from services.stage_worker.stages.course_run import CourseRun, Position

PIPELINE_QUEUE = "course-generation"
"""The `queue_name` of all pipeline jobs; the database routes them to one saq queue per stage (D12)."""

STARTED_BY = "WORKER_STAGE_STARTED"
COMPLETED_BY = "WORKER_STAGE_COMPLETE"
FAILED_BY = "WORKER_STAGE_FAILED"


class StageTransaction:
    """One open transaction over one locked course, on behalf of one job."""

    def __init__(
        self,
        connection: Connection,
        course: CourseRun,
        job: Job,
        *,
        sql: Queries,
        board: ProgressBoard,
        clock: Clock | None = None,
    ) -> None:
        self.connection = connection
        """For a stage's own statements."""
        self.course = course
        """As read under the lock; `state` follows the course's moves below."""
        self.job = job
        self._sql = sql
        self._board = board
        self._clock = clock or SystemClock()
        self.state = course.state

    async def walk_to(self, position: Position, target: str, *, by: str) -> bool:
        """Move the course forward along `position`'s states up to `target`, an event for each; False if it is there.

        A course that is not in the stage yet begins at its first state, so no illegal move can arise.
        """
        path = position.states[: position.states.index(target) + 1]
        done = position.states.index(self.state) + 1 if self.state in position.states else 0
        steps = path[done:]
        for state in steps:
            await self.move(state, by=by)
        return bool(steps)

    async def enter(self, position: Position, step: Step, message: str) -> None:
        """Put the course to work in `position` and show its step, unless another job of the stage has done so."""
        if await self.walk_to(position, position.busy, by=STARTED_BY):
            await self.mark(step, "in_progress", message)

    async def move(self, state: str, *, by: str) -> None:
        """Put the course into `state` and write the event."""
        await self.connection.execute(
            self._sql["move_course"],
            self.course.id,
            state,
            self.state,
            self.course.run_number,
            by,
            self._event_metadata(),
        )
        self.state = state
        if state == "completed":
            await self._announce()

    async def mark(
        self, step: Step, status: StepStatus, message: str | None = None, *, error: dict[str, Any] | None = None
    ) -> None:
        """Show one of the five steps in the course's progress."""
        await self._board.mark(self.connection, self.course.id, step, status, message, error=error)

    async def complete(self, step: Step, message: str) -> None:
        """Show `step` as completed, and before it every earlier one that a short cut has left open."""
        for earlier in self.course.open_steps:
            if earlier < step:
                await self.mark(Step(earlier), "completed")
        await self.mark(step, "completed", message)

    async def start_stage(self, position: Position, job_type: str) -> None:
        """Hand the course to the next stage through the command handler: state, event, outbox row, key (b.10)."""
        element = {
            "queue": PIPELINE_QUEUE,
            "job_type": job_type,
            "data": encode_job_data(self._order(job_type)),
            "priority": self.course.priority,
        }
        key = f"run:{self.course.id}:{self.course.run_number}:{position.number}"
        if not await self.initialise(position.initial, key=key, by=COMPLETED_BY, jobs=[element]):
            await self.move(position.initial, by=COMPLETED_BY)  # the job exists; only the state had been set back

    async def initialise(self, state: str, *, key: str, by: str, jobs: list[dict[str, Any]]) -> bool:
        """Call the command handler in this transaction; False when `key` had been used, so that it wrote nothing."""
        await self.connection.fetchval(
            self._sql["initialize_stage"],
            self.course.id,
            self.course.user_id,
            self.course.organization_id,
            key,
            by,
            state,
            jobs,
            self._event_metadata(),
        )
        self.state = await self.connection.fetchval(self._sql["state_of"], self.course.id)
        return self.state == state

    async def enqueue(self, queue: str, job_type: str, fields: dict[str, Any] | None = None) -> None:
        """Write an outbox row for a stage outside the pipeline; it leaves when this transaction commits."""
        await self.connection.execute(
            self._sql["enqueue_follower"],
            self.course.id,
            self.course.run_number,
            queue,
            job_type,
            {**encode_job_data(self._order(job_type)), **(fields or {})},
            self.course.priority,
            self._event_metadata(),
        )

    async def fail_course(self, step: Step, message: str, *, code: str) -> None:
        """End the run: state `error` with its event, the step failed, the reason for the owner."""
        error = told(code, message)
        await self.mark(step, "failed", error["message"], error=error)
        metadata = {**self._event_metadata(), "error": message, "code": code}
        await self.connection.execute(
            self._sql["fail_course"], self.course.id, message, self.state, self.course.run_number, FAILED_BY, metadata
        )
        self.state = "error"
        await self._announce(Failure(**error))

    async def _announce(self, failure: Failure | None = None) -> None:
        """Have the end of the run told to the address that was given for it, if one was."""
        course = self.course
        if course.webhook_url is None:
            return
        run = EndedRun(
            course_id=course.id,
            slug=course.slug,
            title=course.title,
            organization_id=course.organization_id,
            run_number=course.run_number,
            priority=course.priority,
            url=course.webhook_url,
        )
        await announce(self.connection, run, at=self._clock.now(), metadata=self._event_metadata(), failure=failure)

    async def record_orphan(self) -> None:
        """Note that this job's initiation had not marked step 1 (contract.md h, TRAP17)."""
        facts = {"jobType": self.job.job_type, "runNumber": self.course.run_number}
        await self.connection.execute(
            self._sql["record_orphan"], self.course.user_id, self.course.id, self.job.outbox_id, facts
        )

    def _order(self, job_type: str) -> JobData:
        return JobData(
            course_id=self.course.id,
            job_type=job_type,
            user_id=self.course.user_id,
            organization_id=self.course.organization_id,
            created_at=self._clock.now().isoformat(timespec="milliseconds"),
            title=self.course.title,
            style=self.course.style,
            language=self.course.language,
        )

    def _event_metadata(self) -> dict[str, Any]:
        """What follows the request from this job's events and outbox rows on; the trace goes on from this job's span."""
        facts = {
            "jobId": str(self.job.outbox_id),
            "jobType": self.job.job_type,
            "requestId": self.job.request_id,
            "tier": self.job.tier,
            tracing.HEADER: tracing.current_header(),
        }
        return {key: value for key, value in facts.items() if value is not None}

"""What a stage is: computation outside, effects inside one transaction.

::

    begin(tx) ── compute(job, course) ──┬── commit(tx, prepared) ──┐
     short tx     no transaction        ├── reject(tx, error) ─────┤── settle(tx) ── committed together
                                        └── (nothing to do) ───────┘      with the ledger row

`StageRunner` drives it. A stage says what to do; delivery, repetition, ordering and failure are not its business.
"""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from services.kernel.envelopes import Job
from services.kernel.errors import CoursegenError
from services.stage_worker.stages.course_run import CourseRun, Position
from services.stage_worker.stages.transaction import StageTransaction

J = TypeVar("J", bound=Job)
P = TypeVar("P")


class NothingToDo(CoursegenError):
    """There is nothing to do any more; the job is settled as skipped, which is no failure."""

    code = "nothing_to_do"


class Stage(Generic[J, P]):
    """One job type. Subclasses set the class attributes and write `compute` and `commit`."""

    job_type: ClassVar[str]
    """The `job_type` of its outbox rows."""
    queue: ClassVar[str]
    """The saq queue its jobs arrive in."""
    position: ClassVar[Position | None] = None
    """Its place in the pipeline; None for work beside it, which moves no state."""
    any_run: ClassVar[bool] = False
    """Whether its jobs still stand when the run that wrote them is over; only for work beside the pipeline."""
    model: type[J]
    """The message type its payload is decoded into."""

    async def begin(self, tx: StageTransaction) -> None:
        """Show that work has begun; may run again for the same job."""

    async def compute(self, job: J, course: CourseRun) -> P:
        """Do the work, outside any transaction, changing nothing that lasts.

        Raises:
            NothingToDo: settle the job as skipped.
            RetryableError: try again later; never ends a course.
            PermanentError: give up; `reject` follows.
        """
        raise NotImplementedError

    async def commit(self, tx: StageTransaction, prepared: P) -> None:
        """Write the effect. Called exactly once per job over all deliveries (that commit)."""
        raise NotImplementedError

    async def reject(self, tx: StageTransaction, error: CoursegenError) -> None:
        """Write what follows from a failure that is final. Default: the ledger row alone."""

    async def settle(self, tx: StageTransaction) -> None:
        """Run last in the same transaction, however the job ended: the place for joins."""

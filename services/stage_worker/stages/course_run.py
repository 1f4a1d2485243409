"""What a stage knows of a course and its run, and the decision whether a job may touch it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final
from uuid import UUID

from services.kernel.database import Row
from services.kernel.envelopes import Job
from services.kernel.states import STAGES, TERMINAL, Status


@dataclass(frozen=True, slots=True)
class CourseRun:
    """A course as it was while its row was locked."""

    id: UUID
    user_id: UUID
    organization_id: UUID
    title: str
    style: str
    language: str | None
    priority: int
    run_number: int
    state: str | None
    open_steps: tuple[int, ...]
    """Steps of the progress display that are not completed, ascending."""
    slug: str = ""
    webhook_url: str | None = None
    """Where the end of the run is told; None for nowhere."""

    @classmethod
    def of(cls, row: Row) -> CourseRun:
        """The course in a row of `lock_course`."""
        return cls(**{**dict(row), "open_steps": tuple(row["open_steps"])})

    @property
    def ended_run(self) -> int | None:
        """The number of the run that has ended, None while one is under way or none has begun.

        An error or a cancellation gives the course the number of the next run at once, a success does not (GAP8).
        """
        if self.state not in TERMINAL:
            return None
        return self.run_number if self.state == Status.COMPLETED else self.run_number - 1

    def left_in(self, state: str | None) -> CourseRun:
        """The same course after this run has taken it to `state`."""
        bumped = state in TERMINAL and state != Status.COMPLETED and self.state not in TERMINAL
        return replace(self, state=state, run_number=self.run_number + bumped)

    @property
    def is_orphan(self) -> bool:
        """Whether nobody has marked step 1: the initiation was cut short, or was none (contract.md h, TRAP17)."""
        return 1 in self.open_steps


@dataclass(frozen=True, slots=True)
class Position:
    """A stage's place in the pipeline: its number, its three states and the progress step it advances."""

    number: int
    initial: str
    busy: str
    complete: str
    step: int

    @property
    def states(self) -> tuple[str, str, str]:
        """The stage's states in the order in which a course passes them."""
        return (self.initial, self.busy, self.complete)


DOCUMENTS: Final = Position(2, *STAGES[2], step=2)
ANALYSIS: Final = Position(4, *STAGES[4], step=3)
GENERATION: Final = Position(5, *STAGES[5], step=4)
POSITIONS: Final = (DOCUMENTS, ANALYSIS, GENERATION)


class Admission(Enum):
    """What may be done with a job."""

    WORK = "work"
    INITIALISE = "initialise"
    """Work, but nobody has put the course into this stage yet: Layer 3 has to (contract.md g)."""
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision and, for a skip, its reason in words."""

    admission: Admission
    reason: str = ""


def judge(course: CourseRun, job: Job, position: Position | None, *, any_run: bool = False) -> Verdict:
    """Decide whether `job` may touch `course`; the caller holds the course's lock.

    A job of an earlier run, of a course that has ended, or of a stage that the course has left changes nothing: a course
    never steps back (TRAP11). A job whose stage has not begun is let in through Layer 3. A stage outside the pipeline
    (`position` None) asks only for the run, and not even for that when its jobs outlive it (`any_run`).
    """
    if not any_run and job.run_number is not None and job.run_number != course.run_number:
        return Verdict(Admission.SKIP, f"run {job.run_number} is over; the course is in run {course.run_number}")
    if position is None:
        return Verdict(Admission.WORK)
    if course.state in TERMINAL:
        return Verdict(Admission.SKIP, f"the course is {course.state} already")
    return _by_stage(course.state, position)


def _by_stage(state: str | None, position: Position) -> Verdict:
    present = stage_number(state)
    if present > position.number:
        return Verdict(Admission.SKIP, f"the course has left stage {position.number}: it is in {state}")
    if present < position.number:
        return Verdict(Admission.INITIALISE)
    return Verdict(Admission.WORK)


def stage_number(state: str | None) -> int:
    """The stage that `state` belongs to; 0 for a course that nobody has initialised."""
    for position in POSITIONS:
        if state in position.states:
            return position.number
    return 0

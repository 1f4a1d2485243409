"""What becomes of one dead letter."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from services.kernel.dead_letters.decisions import Decision, JobFacts, Step
from services.kernel.dead_letters.letters import Letter


@dataclass(slots=True)
class Result:
    """One letter, what was decided about it, and what came of that."""

    letter: Letter
    decision: Decision
    facts: JobFacts | None = None
    new_job_id: UUID | None = None
    """The job that does the work again, when it is a new one."""
    failure: str | None = None
    """Why it was not done after all."""

    @property
    def step(self) -> Step:
        """What is to be done."""
        return self.decision.step

    @property
    def is_done(self) -> bool:
        """Whether it was, or would be, done."""
        return self.decision.is_done and self.failure is None

    @property
    def is_gone(self) -> bool:
        """Whether there is no such dead letter any more."""
        return self.step is Step.GONE

    @property
    def message(self) -> str | None:
        """Why not, or with what consequence."""
        return self.failure or self.decision.message


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that was cancelled because a job of it was discarded."""

    course_id: UUID
    run_number: int

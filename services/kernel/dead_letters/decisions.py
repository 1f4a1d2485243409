"""What replaying or discarding a dead job means, given what PostgreSQL knows of it. Decides; reads and writes nothing.

Replaying must really do the work again, and once:

==============================================  =====================================================================
the job                                         is replayed by
==============================================  =====================================================================
has not been decided (no ledger row)            sending its row again: the ledger makes two deliveries one effect
has failed, and its course's run with it        a new run of the course, under a key made from the job's identifier
has failed, outside the pipeline                a copy of its row under an identifier made from its own
is not known to PostgreSQL                      putting what the queue has kept back into it
has had its effect, or its run is over          nothing: refused with the reason, for a delivery would change nothing
==============================================  =====================================================================

Discarding a job that its course waits for ends the course's run: a course must not wait for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from services.kernel.states import INITIAL, RUNNING, TERMINAL
from services.kernel.webhooks.deliveries import JOB_TYPE as WEBHOOK

_COMPLETED: Final = "completed"


class Step(StrEnum):
    """What is to be done with one dead letter."""

    REVIVE = "revive"
    """Its outbox row leaves once more."""
    NEW_RUN = "new_run"
    COPY = "copy"
    REQUEUE = "requeue"
    RESEND = "resend"
    """A webhook's delivery begins anew."""
    SETTLE = "settle"
    """It is decided that nothing will be done."""
    END_RUN = "end_run"
    """The same, and its course waits no longer."""
    DROP = "drop"
    """It is forgotten where it lies; nobody waits for it."""
    REFUSE = "refuse"
    GONE = "gone"
    """It is no dead letter any more."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A step, and why or with what consequence."""

    step: Step
    message: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether anything is to be done at all."""
        return self.step not in {Step.REFUSE, Step.GONE}


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A job's outbox row, its outcome, and its course, all of one moment."""

    outbox_id: UUID
    queue: str
    job_type: str | None
    run_number: int | None
    course_id: UUID
    is_unsent: bool
    is_spent: bool
    """Whether the row has no tries left."""
    course_run: int
    state: str
    outcome: str | None
    is_begun_anew: bool
    """Whether an earlier replay of it has begun a run, and could not forget it."""
    user_id: UUID
    organization_id: UUID
    has_files: bool | None
    tier: str
    priority: int

    @property
    def is_dead_row(self) -> bool:
        """Whether the row is a dead letter itself."""
        return self.is_unsent and self.is_spent

    @property
    def is_of_pipeline(self) -> bool:
        """Whether the course's run depends on it."""
        return self.job_type in INITIAL

    @property
    def is_running(self) -> bool:
        """Whether a run of the course is under way."""
        return self.state in RUNNING

    @property
    def is_waited_for(self) -> bool:
        """Whether a run under way cannot end without this job."""
        return self.is_of_pipeline and self.is_running and self.run_number == self.course_run

    @property
    def ended_run(self) -> str | None:
        """Which run the job belongs to, when that is over."""
        if self.run_number is None or self.run_number == self.course_run:
            return None
        return f"its run {self.run_number} is over; the course is in run {self.course_run}"

    @property
    def over(self) -> str | None:
        """Why a delivery would change nothing, if it certainly would not."""
        if not self.is_of_pipeline:
            return None  # a stage beside the pipeline decides for itself what the end of a run means to it
        if self.ended_run is None and self.state in TERMINAL:
            return f"the course is {self.state} already"
        return self.ended_run

    @property
    def doubt(self) -> str | None:
        """What to expect of a delivery that may change nothing."""
        if self.ended_run is None or self.job_type == WEBHOOK:
            return None
        return f"{self.ended_run}: its stage may skip it"

    @property
    def is_latest_failure(self) -> bool:
        """Whether no run has begun since the one this job failed in."""
        if self.run_number is None:
            return True
        bumped = 0 if self.state == _COMPLETED else 1  # a run that ends in an error passes its number on at once
        return self.course_run == self.run_number + bumped


def replay_row(facts: JobFacts | None) -> Decision:
    """How to replay a dead outbox row."""
    if facts is None or not facts.is_dead_row:
        return Decision(Step.GONE, "it is not dead any more")
    return _send_again(facts)


def replay_job(facts: JobFacts | None, *, is_readable: bool, is_course_gone: bool, is_being_settled: bool) -> Decision:
    """How to replay a job that its queue has set aside.

    Args:
        facts: what PostgreSQL knows; None when it has no row for it.
        is_readable: whether the body that the queue has kept is a job of this queue.
        is_course_gone: whether it names a course that does not exist.
        is_being_settled: whether a worker is about to write down how it ended.
    """
    if facts is None:
        return _put_back(is_readable=is_readable, is_course_gone=is_course_gone)
    if facts.is_unsent:
        return replay_row(facts)
    if facts.outcome is not None:
        return _do_again(facts)
    if is_being_settled:
        return Decision(Step.REFUSE, "a worker is about to settle it; try again in a few seconds")
    return _send_again(facts)


def discard_row(facts: JobFacts | None) -> Decision:
    """How to discard a dead outbox row."""
    if facts is None or not facts.is_dead_row:
        return Decision(Step.GONE, "it is not dead any more")
    return _give_up(facts)


def discard_job(facts: JobFacts | None) -> Decision:
    """How to discard a job that its queue has set aside."""
    if facts is None:
        return Decision(Step.DROP)
    if facts.is_unsent and not facts.is_spent:
        return Decision(Step.GONE, "it waits in the outbox again")
    return _give_up(facts)


def _send_again(facts: JobFacts) -> Decision:
    if facts.outcome is not None:
        return Decision(Step.REFUSE, f"it has had its outcome ({facts.outcome}); discard it")
    if facts.over is not None:
        return Decision(Step.REFUSE, f"{facts.over}; discard it")
    return Decision(Step.REVIVE, facts.doubt)


def _do_again(facts: JobFacts) -> Decision:
    if facts.job_type == WEBHOOK:
        return Decision(Step.REFUSE, "its webhook has gone on without it; discard it")
    if facts.outcome != "failed":
        return Decision(Step.REFUSE, f"it has had its outcome ({facts.outcome}); discard it")
    if facts.is_of_pipeline:
        return _begin_anew(facts)
    return Decision(Step.COPY, facts.doubt or "a new job does the same work")


def _put_back(*, is_readable: bool, is_course_gone: bool) -> Decision:
    if is_course_gone:
        return Decision(Step.REFUSE, "its course was deleted; discard it")
    if not is_readable:
        return Decision(Step.REFUSE, "its body cannot be read and the outbox has no other; discard it")
    return Decision(Step.REQUEUE)


def _begin_anew(facts: JobFacts) -> Decision:
    if facts.is_begun_anew:
        return Decision(Step.NEW_RUN, "its new run has begun already")
    if facts.is_running:
        return Decision(Step.REFUSE, f"the course is being generated (run {facts.course_run}); wait for that to end")
    if not facts.is_latest_failure:
        return Decision(Step.REFUSE, f"the course was run again since and is {facts.state}; discard it")
    return Decision(Step.NEW_RUN, "a new run of the course")


def _give_up(facts: JobFacts) -> Decision:
    if facts.outcome is not None:
        return Decision(Step.DROP)
    if facts.is_waited_for:
        return Decision(Step.END_RUN, f"cancels run {facts.course_run} of the course, which waits for it")
    return Decision(Step.SETTLE)

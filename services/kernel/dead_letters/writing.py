"""What dealing with dead letters writes in PostgreSQL, always in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID, uuid5

from services.kernel.clock import SystemClock
from services.kernel.database import Connection
from services.kernel.dead_letters.decisions import Decision, JobFacts, Step
from services.kernel.dead_letters.results import EndedRun, Result
from services.kernel.owner_errors import told
from services.kernel.progress import ProgressBoard
from services.kernel.queries import Queries
from services.kernel.webhooks import deliveries
from services.kernel.webhooks.events import EndedRun as RunToTell
from services.kernel.webhooks.events import Failure, announce

DISCARDED: Final = "discarded by an administrator"
"""The reason in whatever a discarded job leaves behind."""

_COPIES: Final = UUID("8f0b7a52-6a0c-4f0e-9c55-2f6d0f2b8e11")
_SQL = Queries.load("services.kernel", "dead_letters.sql")


def copy_name(outbox_id: UUID) -> UUID:
    """The identifier of the job that repeats the job `outbox_id`: however often it is asked for, it is one."""
    return uuid5(_COPIES, outbox_id.hex)


async def lock_courses(session: Connection, jobs: Sequence[UUID]) -> None:
    """Hold the courses of `jobs` still: workers and initiations wait until the transaction ends."""
    if jobs:
        await session.fetch(_SQL["lock_courses"], list(jobs))


async def facts_of(session: Connection, jobs: Sequence[UUID]) -> dict[UUID, JobFacts]:
    """What PostgreSQL knows of `jobs`."""
    if not jobs:
        return {}
    rows = await session.fetch(_SQL["facts"], list(jobs))
    return {row["outbox_id"]: JobFacts(**dict(row.items())) for row in rows}


async def missing_courses(session: Connection, courses: Iterable[UUID]) -> set[UUID]:
    """Those of `courses` that do not exist any more."""
    asked = list(set(courses))
    if not asked:
        return set()
    return {row["id"] for row in await session.fetch(_SQL["missing_courses"], asked)}


async def carry_out(session: Connection, results: Sequence[Result], request_id: str | None) -> list[EndedRun]:
    """Write what was decided; returns the runs that this has ended."""
    await _revive(session, _jobs(results, Step.REVIVE))
    await _copy(session, [result for result in results if result.step is Step.COPY])
    await _webhooks(session, results)
    ended = await _end_runs(session, [result for result in results if result.step is Step.END_RUN], request_id)
    await _settle(session, _jobs(results, Step.SETTLE, Step.END_RUN))
    await _flush(session, _jobs(results, Step.SETTLE, Step.END_RUN, Step.DROP))
    return ended


async def _revive(session: Connection, jobs: list[UUID]) -> None:
    if jobs:
        await session.execute(_SQL["revive_rows"], jobs)


async def _copy(session: Connection, results: Sequence[Result]) -> None:
    if not results:
        return
    originals = [result.facts.outbox_id for result in results if result.facts]
    copies = [copy_name(each) for each in originals]
    await session.execute(_SQL["copy_rows"], originals, copies)
    for result, copy in zip(results, copies, strict=True):
        result.new_job_id = copy


async def _webhooks(session: Connection, results: Sequence[Result]) -> None:
    mine = [result for result in results if result.letter.kind == "webhook" and result.letter.uuid]
    for step, write in ((Step.RESEND, deliveries.replay), (Step.DROP, deliveries.discard)):
        wanted = [result for result in mine if result.step is step]
        if not wanted:
            continue
        done = await write(session, [result.letter.uuid for result in wanted if result.letter.uuid])
        for result in wanted:
            if result.letter.uuid not in done:
                result.decision = Decision(Step.GONE, "it is not dead any more")


async def _end_runs(session: Connection, results: Sequence[Result], request_id: str | None) -> list[EndedRun]:
    waiting = {result.facts.course_id: result.facts for result in results if result.facts}
    for facts in waiting.values():
        context = {"reason": DISCARDED, "jobId": str(facts.outbox_id), "requestId": request_id}
        event = {key: value for key, value in context.items() if value is not None}
        await session.execute(_SQL["end_run"], facts.course_id, facts.state, event, facts.course_run)
        await session.execute(_SQL["release_documents"], facts.course_id)
        error = told("discarded", f"The run was ended: its job {facts.job_type} was {DISCARDED}.")
        await ProgressBoard().close(session, facts.course_id, error)
        await _announce(session, facts, Failure(**error))
    return [EndedRun(course_id, facts.course_run) for course_id, facts in waiting.items()]


async def _announce(session: Connection, facts: JobFacts, failure: Failure) -> None:
    """Have the end of the run told to the address that was given for it, if one was."""
    row = await session.fetchrow(_SQL["to_be_told"], facts.course_id, facts.outbox_id)
    if row is not None:
        fields = dict(row.items())
        metadata = fields.pop("metadata") or {}
        await announce(session, RunToTell(**fields), at=SystemClock().now(), metadata=metadata, failure=failure)


async def _settle(session: Connection, jobs: list[UUID]) -> None:
    if jobs:
        await session.execute(_SQL["settle_rows"], jobs, {"reason": DISCARDED})
        await session.execute(_SQL["discard_attempts"], jobs, DISCARDED)


async def _flush(session: Connection, jobs: list[UUID]) -> None:
    if jobs:
        await session.execute(_SQL["flush_rows"], jobs, DISCARDED)


def _jobs(results: Iterable[Result], *steps: Step) -> list[UUID]:
    return [result.facts.outbox_id for result in results if result.step in steps and result.facts]

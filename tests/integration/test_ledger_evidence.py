"""The ledger check on a real database: what is seeded there is found there.

`tests/unit/support/test_ledger.py` proves the comparison; this proves that the statements bring everything to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from services.kernel.database import Database
from tests.support.courses import add_course
from tests.support.driver import Journal
from tests.support.evidence import collect, come_to_rest
from tests.support.ledger import Verdict, check

FAULT = {"relay.after_enqueue kill": 1}


@dataclass(frozen=True, slots=True)
class Run:
    """One course that was asked for, acknowledged and made."""

    db: Database
    journal: Journal
    sink: Path
    course_id: UUID
    outbox_id: UUID

    async def verdict(self, fired: dict[str, int] | None = None) -> Verdict:
        """What the checker says now."""
        fired = FAULT if fired is None else fired
        return check(await collect(self.db, self.journal, sink=self.sink, fired=fired, wanted=FAULT))

    async def row(self, job_type: str = "STRUCTURE_ANALYSIS") -> UUID:
        """One more outbox row of the course."""
        statement = (
            "INSERT INTO job_outbox (entity_id, queue_name, job_type, processed_at)"
            " VALUES ($1, 'course-generation', $2, now()) RETURNING outbox_id"
        )
        return UUID(str(await self.db.fetchval(statement, self.course_id, job_type)))

    async def effect(self, outbox_id: UUID) -> None:
        """One row in the ledger, and its line in the outside file."""
        await self.db.execute(
            "INSERT INTO effect_ledger (effect_id, course_id, job_type, run_number, outcome)"
            " VALUES ($1, $2, 'STRUCTURE_ANALYSIS', 1, 'applied')",
            outbox_id,
            self.course_id,
        )
        with self.sink.open("a") as file:
            file.write(json.dumps({"effectId": str(outbox_id)}) + "\n")

    async def event(self) -> None:
        """One event of the course's end."""
        await self.db.execute(
            "INSERT INTO fsm_events (entity_id, run_number, event_type, new_state, created_by)"
            " VALUES ($1, 1, 'STATE_CHANGED', 'completed', 'WORKER')",
            self.course_id,
        )


@pytest.fixture
async def run(db: Database, tmp_path: Path) -> Run:
    """An honest one."""
    journal = Journal()
    course_id = await add_course(db, state="completed")
    made = Run(db, journal, tmp_path / "sink", course_id, UUID(int=0))
    made = Run(db, journal, made.sink, course_id, await made.row())
    await made.effect(made.outbox_id)
    await made.event()
    await db.execute(
        "INSERT INTO course_results (course_id, run_number, result, markdown) VALUES ($1, 1, '{}', '')", course_id
    )
    journal.hear(journal.ask("request", course_id), 200, str(made.outbox_id), 0.1)
    return made


async def test_an_honest_run_passes(run: Run) -> None:
    """Nothing is found where nothing is wrong."""
    assert (await run.verdict()).passed
    assert await come_to_rest(run.db, within=5) < 5


async def test_a_run_whose_fault_did_not_fire_is_void(run: Run) -> None:
    """The same run without its fault proves nothing."""
    verdict = await run.verdict(fired={})

    assert verdict.void
    assert not verdict.passed


async def test_a_seeded_loss_is_reported(run: Run) -> None:
    """The effect's row is gone."""
    await run.db.execute("DELETE FROM effect_ledger")
    verdict = await run.verdict()

    assert set(verdict.lost) == set(verdict.stuck) == {str(run.outbox_id)}


async def test_a_seeded_loss_of_the_course_is_reported(run: Run) -> None:
    """The acknowledged course itself is gone."""
    await run.db.execute("DELETE FROM courses")

    assert set((await run.verdict()).lost) == {str(run.outbox_id)}


async def test_a_seeded_loss_of_the_result_is_reported(run: Run) -> None:
    """Completed, and nothing to show."""
    await run.db.execute("DELETE FROM course_results")

    assert set((await run.verdict()).lost) == {str(run.outbox_id)}


async def test_a_seeded_duplicate_is_reported(run: Run) -> None:
    """The same piece of work under a second identifier."""
    await run.effect(await run.row())

    assert len((await run.verdict()).duplicate) == 1


async def test_a_seeded_second_arrival_is_reported(run: Run) -> None:
    """The same state entered twice in one run."""
    await run.event()

    assert len((await run.verdict()).duplicate) == 1


async def test_a_seeded_phantom_is_reported(run: Run) -> None:
    """A course that nobody asked for has an effect."""
    run.journal.attempts.clear()
    run.journal.answers.clear()

    assert set((await run.verdict()).phantom) == {str(run.outbox_id)}


async def test_an_effect_without_its_outside_call_is_reported(run: Run) -> None:
    """The outside file does not know of it."""
    run.sink.write_text("")

    assert set((await run.verdict()).phantom) == {str(run.outbox_id)}


async def test_a_seeded_standstill_is_reported(run: Run) -> None:
    """A course in the middle, and a row that nobody has taken."""
    waiting = await run.row("STRUCTURE_GENERATION")
    await run.db.execute("UPDATE job_outbox SET processed_at = NULL WHERE outbox_id = $1", waiting)
    await run.db.execute("ALTER TABLE courses DISABLE TRIGGER USER")
    await run.db.execute("UPDATE courses SET generation_status = 'stage_5_init'")

    assert set((await run.verdict()).stuck) == {str(run.course_id), str(waiting)}
    assert await come_to_rest(run.db, within=0.3) >= 0.3


async def test_a_seeded_divergence_is_reported(run: Run) -> None:
    """A repeat that was told another job."""
    other = await run.row("STRUCTURE_GENERATION")
    await run.effect(other)
    run.journal.hear(run.journal.ask("request", run.course_id), 200, str(other), 0.1)

    assert set((await run.verdict()).divergent) == {"request"}


async def test_a_dead_row_is_in_sight(run: Run) -> None:
    """Neither lost nor stuck: an operator sees it."""
    dead = await run.row("STRUCTURE_GENERATION")
    await run.db.execute(
        "UPDATE job_outbox SET processed_at = NULL, retry_count = max_retries WHERE outbox_id = $1", dead
    )
    verdict = await run.verdict()

    assert set(verdict.dead) == {str(dead)}
    assert verdict.passed

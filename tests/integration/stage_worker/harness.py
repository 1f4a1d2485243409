"""The pipeline without its queue: outbox rows go straight into the stages, in whatever order and as often as a test likes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson

from services.kernel.counters import Counters
from services.kernel.database import Database, Row
from services.kernel.objects import DocumentStore, PostgresShelf
from services.kernel.settings import load
from services.kernel.wakeup import WakeUp
from services.stage_worker import builtin
from services.stage_worker.parsing import ParsedDocument, parse
from services.stage_worker.registry import Registry, Workbench
from services.stage_worker.runner import Ending, StageRunner
from services.stage_worker.sink import EffectSink
from services.stage_worker.stages.stage import Stage
from services.stage_worker.webhooks.settings import DeliverySettings
from tests.integration.stage_worker.tiny_engine import TinyEngine
from tests.support.receiver import LOCAL_RECEIVERS


@dataclass
class Pipeline:
    """A worker's inside, over a test's database."""

    db: Database
    runner: StageRunner
    registry: Registry
    stages: dict[str, Stage[Any, Any]]
    engine: TinyEngine
    counters: Counters
    endings: list[tuple[str, Ending]] = field(default_factory=list)

    async def deliver(self, row: Row) -> Ending:
        """Deliver one outbox row, as the queue would."""
        return await self.deliver_payload(row["job_type"], payload_of(row))

    async def deliver_payload(self, job_type: str, payload: dict[str, Any]) -> Ending:
        """Deliver a payload to the stage of a job type."""
        ending = await self.runner.run(self.stages[job_type], payload, self.registry.followers_of(job_type))
        self.endings.append((job_type, ending))
        return ending

    async def rows(self, course_id: UUID, job_type: str | None = None) -> list[Row]:
        """The course's outbox rows in the order of writing."""
        rows = await self.db.fetch("SELECT * FROM job_outbox WHERE entity_id = $1 ORDER BY position", course_id)
        return [row for row in rows if job_type in {None, row["job_type"]}]

    async def finish(self, course_id: UUID) -> None:
        """Deliver rows until there are none left that nobody has settled."""
        while undecided := await self.undecided(course_id):
            for row in undecided:
                await self.deliver(row)

    async def undecided(self, course_id: UUID) -> list[Row]:
        """The course's rows without an outcome."""
        return await self.db.fetch(
            "SELECT * FROM job_outbox AS o WHERE entity_id = $1 AND job_type = ANY($2)"
            " AND NOT EXISTS (SELECT 1 FROM effect_ledger AS l WHERE l.effect_id = o.outbox_id) ORDER BY position",
            course_id,
            list(self.stages),
        )

    async def initiate(self, course_id: UUID, state: str, jobs: list[dict[str, Any]], key: str | None = None) -> Any:
        """What the API's command handler does, with any state and jobs."""
        course = await self.db.fetchrow("SELECT user_id, organization_id FROM courses WHERE id = $1", course_id)
        assert course is not None
        return await self.db.fetchval(
            "SELECT initialize_fsm_with_outbox($1, $2, $3, $4, 'API_INITIATE', $5, $6::jsonb)",
            course_id,
            course["user_id"],
            course["organization_id"],
            key or f"test:{uuid4()}",
            state,
            jobs,
        )

    async def start(self, course_id: UUID, documents: Sequence[UUID]) -> list[Row]:
        """Initiate stage 2 with one job per document; the rows of this run."""
        before = len(await self.rows(course_id, "DOCUMENT_PROCESSING"))
        await self.initiate(course_id, "stage_2_init", [document_job(each) for each in documents])
        return (await self.rows(course_id, "DOCUMENT_PROCESSING"))[before:]


def payload_of(row: Row) -> dict[str, Any]:
    """The payload in a row's job body."""
    payload: dict[str, Any] = orjson.loads(row["job_body"])["kwargs"]["payload"]
    return payload


def document_job(document_id: UUID | None = None) -> dict[str, Any]:
    """A job element of the command handler for one document."""
    fields = {} if document_id is None else {"documentId": str(document_id)}
    return {"queue": "course-generation", "job_type": "DOCUMENT_PROCESSING", "data": fields}


def stage_job(job_type: str) -> dict[str, Any]:
    """A job element for a later stage."""
    return {"queue": "course-generation", "job_type": job_type, "data": {}}


@asynccontextmanager
async def open_pipeline(
    db: Database,
    *,
    sink: Path | None = None,
    register: Callable[[Registry], None] = lambda _: None,
    webhooks: Mapping[str, str] = LOCAL_RECEIVERS,
) -> AsyncIterator[Pipeline]:
    """A pipeline with the small engine and the real parsers, all in this process."""

    async def parse_here(path: Path, media_type: str, filename: str) -> ParsedDocument:
        return parse(path, media_type, filename)

    engine = TinyEngine()
    async with builtin.webhook_outlet(load(DeliverySettings, webhooks)) as outlet:
        bench = Workbench(db, engine, builtin.fetching(DocumentStore(db, PostgresShelf(db))), parse_here, outlet)
        registry = Registry()
        builtin.register(registry)
        register(registry)
        counters, wakeup = Counters(db), WakeUp(db)
        stages = {job_type: stage for takers in registry.stages(bench).values() for job_type, stage in takers.items()}
        runner = StageRunner(db, counters, wakeup, EffectSink(sink))
        yield Pipeline(db, runner, registry, stages, engine, counters)
        await wakeup.drain()


async def state(db: Database, course_id: UUID) -> str | None:
    """The course's state."""
    found: str | None = await db.fetchval("SELECT generation_status::text FROM courses WHERE id = $1", course_id)
    return found


async def moves(db: Database, course_id: UUID) -> list[tuple[str | None, str | None]]:
    """The course's moves by its events, in order."""
    rows = await db.fetch(
        "SELECT old_state, new_state FROM fsm_events WHERE entity_id = $1 ORDER BY position", course_id
    )
    return [(row["old_state"], row["new_state"]) for row in rows]


async def steps(db: Database, course_id: UUID) -> list[str]:
    """The statuses of the five progress steps."""
    progress = await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course_id)
    return [step["status"] for step in progress["steps"]]


async def outcomes(db: Database, course_id: UUID) -> list[str]:
    """The ledger's outcomes of the course's jobs, sorted."""
    rows = await db.fetch("SELECT outcome FROM effect_ledger WHERE course_id = $1 ORDER BY 1", course_id)
    return [row["outcome"] for row in rows]


async def footprint_of(db: Database, course_id: UUID) -> dict[str, Any]:
    """Everything of a course that a repeated delivery could change."""
    tables = {
        "courses": "id",
        "documents": "course_id",
        "fsm_events": "entity_id",
        "job_outbox": "entity_id",
        "effect_ledger": "course_id",
        "course_structures": "course_id",
        "course_results": "course_id",
    }
    return {
        table: [dict(row) for row in await db.fetch(f"SELECT * FROM {table} WHERE {key} = $1 ORDER BY 1", course_id)]
        for table, key in tables.items()
    }

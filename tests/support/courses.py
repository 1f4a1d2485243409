"""Courses for tests: made without the code under test, and looked at from another connection than its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from services.kernel.database import Database, Row
from tests.support.tokens import ORGANIZATION, USER


async def add_course(
    db: Database,
    *,
    title: str = "Test Course",
    user: UUID = USER,
    organization: UUID = ORGANIZATION,
    state: str | None = "pending",
    style: str = "academic",
) -> UUID:
    """A course as somebody would write it by hand."""
    course_id = uuid4()
    async with db.transaction() as connection:
        await connection.execute("INSERT INTO auth.users (id) VALUES ($1) ON CONFLICT DO NOTHING", user)
        await connection.execute(
            "INSERT INTO courses (id, title, slug, user_id, organization_id, generation_status, style)"
            " VALUES ($1, $2, $3, $4, $5, $6::generation_status_enum, $7)",
            course_id, title, f"course-{course_id}", user, organization, state, style,
        )  # fmt: skip
    return course_id


async def add_documents(db: Database, course_id: UUID, texts: Sequence[str]) -> list[UUID]:
    """Markdown documents of a course, stored in the database as an upload would leave them."""
    documents = []
    for position, text in enumerate(texts):
        document, key, content = uuid4(), uuid4(), text.encode()
        async with db.transaction() as connection:
            await connection.execute(
                "INSERT INTO stored_objects (object_key, course_id, size_bytes, completed_at) VALUES ($1, $2, $3, now())",
                key, course_id, len(content),
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO stored_object_chunks (object_key, chunk_index, content) VALUES ($1, 0, $2)", key, content
            )
            await connection.execute(
                "INSERT INTO documents (id, course_id, filename, media_type, size_bytes, sha256, object_key, position)"
                " VALUES ($1, $2, $3, 'text/markdown', $4, 'unknown', $5, $6)",
                document, course_id, f"chapter-{position + 1}.md", len(content), key, position,
            )  # fmt: skip
        documents.append(document)
    return documents


@dataclass(frozen=True, slots=True)
class Footprint:
    """Everything that initiations have left of one course."""

    state: str | None
    rows: list[Row]
    """Of `job_outbox`, in the order of writing."""
    events: list[Row]
    keys: list[Row]

    @property
    def size(self) -> tuple[int, int, int]:
        """Outbox rows, events, keys."""
        return len(self.rows), len(self.events), len(self.keys)

    @property
    def job_types(self) -> list[Any]:
        """The job types of the rows."""
        return [row["job_type"] for row in self.rows]


async def footprint(db: Database, course_id: UUID) -> Footprint:
    """What another connection sees of a course."""
    state = await db.fetchval("SELECT generation_status::text FROM courses WHERE id = $1", course_id)
    rows = await db.fetch("SELECT * FROM job_outbox WHERE entity_id = $1 ORDER BY position", course_id)
    events = await db.fetch("SELECT * FROM fsm_events WHERE entity_id = $1 ORDER BY position", course_id)
    keys = await db.fetch("SELECT * FROM idempotency_keys WHERE entity_id = $1 ORDER BY created_at", course_id)
    return Footprint(state, rows, events, keys)


async def totals(db: Database) -> dict[str, int]:
    """How many rows there are of everything that an initiation may write."""
    tables = ("courses", "job_outbox", "fsm_events", "idempotency_keys", "system_metrics")
    counts = await db.fetchrow(f"SELECT {', '.join(f'(SELECT count(*) FROM {each}) AS {each}' for each in tables)}")
    return dict(counts or {})


async def add_result(db: Database, course_id: UUID, *, title: str = "Курс", run: int = 1) -> dict[str, Any]:
    """A finished course as a stage worker would leave it, in the short; answers its document."""
    document: dict[str, Any] = {
        "formatVersion": "1.0", "title": title, "language": "ru", "style": "academic", "draft": True, "engine": "offline",
        "notes": [], "objectives": [], "summary": f"Прогон {run}.", "keyTerms": [], "citations": [], "sources": [],
        "sections": [],
    }  # fmt: skip
    await db.execute(
        "INSERT INTO course_results (course_id, run_number, result, markdown) VALUES ($1, $2, $3, $4)",
        course_id, run, document, f"# {title} {run}",
    )  # fmt: skip
    return document


async def finish(db: Database, course_id: UUID) -> None:
    """Take a pending course to `completed` by the states it passes."""
    for state in ("stage_5_init", "stage_5_generating", "stage_5_complete", "completed"):
        await db.execute(
            "UPDATE courses SET generation_status = $2::generation_status_enum WHERE id = $1", course_id, state
        )

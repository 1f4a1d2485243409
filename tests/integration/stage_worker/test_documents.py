"""Stage 2: several documents fan out, each succeeds or fails alone, and exactly one of them hands the course on."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from services.kernel.database import Database
from services.kernel.objects import DocumentStore, PostgresShelf
from services.kernel.settings import CommonSettings, Secret
from services.stage_worker import builtin
from services.stage_worker.parsing import ParsedDocument, parse
from services.stage_worker.stages.document_processing import DocumentProcessing
from tests.integration.stage_worker.harness import (
    Pipeline,
    document_job,
    moves,
    open_pipeline,
    outcomes,
    payload_of,
    state,
    steps,
)
from tests.support.courses import add_course, add_documents

TEXTS = [f"# Chapter {n}\n\nText of chapter {n}.\n" for n in range(1, 5)]


async def statuses(db: Database, course_id: UUID) -> list[tuple[str, str | None]]:
    """Status and reason of the course's documents, in order."""
    rows = await db.fetch(
        "SELECT status, failure_reason FROM documents WHERE course_id = $1 ORDER BY position", course_id
    )
    return [(row["status"], row["failure_reason"]) for row in rows]


async def test_parallel_workers_join_once(app_database_url: str, db: Database) -> None:
    """Four documents read at once by four workers with pools of their own, five times over: one hand-over each time."""
    settings = CommonSettings(database_url=Secret(app_database_url))
    pools = [await Database.open(settings) for _ in range(4)]
    try:
        for _ in range(5):
            course = await add_course(db)
            documents = await add_documents(db, course, TEXTS)
            async with contextlib.AsyncExitStack() as stack:
                workers = [await stack.enter_async_context(open_pipeline(pool)) for pool in pools]
                rows = await workers[0].start(course, documents)
                deliveries = [worker.deliver(row) for worker, row in zip(workers, rows, strict=True)]
                endings = await asyncio.gather(*deliveries)

                assert endings == ["applied"] * 4
                assert len(await workers[0].rows(course, "STRUCTURE_ANALYSIS")) == 1
            assert await state(db, course) == "stage_4_init"
            assert (await moves(db, course)).count(("stage_2_processing", "stage_2_complete")) == 1
    finally:
        await asyncio.gather(*(pool.close() for pool in pools))


async def test_progress_counts_documents(pipeline: Pipeline, db: Database) -> None:
    """After each document its owner sees how many are through."""
    course = await add_course(db)
    rows = await pipeline.start(course, await add_documents(db, course, TEXTS))
    await pipeline.deliver(rows[2])
    progress = await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course)

    assert progress["steps"][1]["status"] == "in_progress"
    assert progress["steps"][1]["message"] == "Обработано документов: 1 из 4"
    assert [status for status, _ in await statuses(db, course)] == ["uploaded", "uploaded", "processed", "uploaded"]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1)])
async def test_an_unreadable_document_fails_alone(pipeline: Pipeline, db: Database, order: tuple[int, ...]) -> None:
    """Whichever comes last: the course goes on with what could be read, and the reason stands at the document."""
    course = await add_course(db)
    rows = await pipeline.start(course, await add_documents(db, course, [TEXTS[0], "", TEXTS[2]]))
    endings = {n: await pipeline.deliver(rows[n]) for n in order}
    found = await statuses(db, course)
    await pipeline.finish(course)

    assert endings == {0: "applied", 1: "failed", 2: "applied"}
    assert [status for status, _ in found] == ["processed", "failed", "processed"]
    assert "empty" in (found[1][1] or "")
    assert await state(db, course) == "completed"
    assert await steps(db, course) == ["completed"] * 5


async def test_no_readable_document_ends_the_course(pipeline: Pipeline, db: Database) -> None:
    """All failed: state error, one failure event, the step failed, and a reason for each document."""
    course = await add_course(db)
    rows = await pipeline.start(course, await add_documents(db, course, ["", ""]))
    for row in rows:
        await pipeline.deliver(row)
    found = await db.fetchrow(
        "SELECT error_message, run_number, generation_progress FROM courses WHERE id = $1", course
    )
    events = await db.fetch("SELECT * FROM fsm_events WHERE entity_id = $1 AND event_type = 'FSM_FAILED'", course)
    assert found is not None
    step = found["generation_progress"]["steps"][1]

    assert await state(db, course) == "error"
    assert "chapter-1.md" in found["error_message"]
    assert "chapter-2.md" in found["error_message"]
    assert found["run_number"] == 2
    assert step["status"] == "failed"
    assert step["error"]["code"] == "nothing_readable"
    assert step["error"]["detail"] == found["error_message"]
    assert [event["run_number"] for event in events] == [1]
    assert events[0]["metadata"]["error"] == found["error_message"]
    assert (events[0]["old_state"], events[0]["new_state"]) == ("stage_2_processing", "error")
    assert events[0]["created_by"] == "WORKER"
    assert await outcomes(db, course) == ["failed", "failed"]


async def test_a_deleted_document_is_not_missed(pipeline: Pipeline, db: Database) -> None:
    """A document deleted before its turn is skipped and the rest become the course."""
    course = await add_course(db)
    documents = await add_documents(db, course, TEXTS[:2])
    rows = await pipeline.start(course, documents)
    await pipeline.deliver(rows[0])
    await db.execute("DELETE FROM documents WHERE id = $1", documents[1])

    assert await pipeline.deliver(rows[1]) == "skipped"
    assert await state(db, course) == "stage_4_init"
    assert await outcomes(db, course) == ["applied", "skipped"]


async def test_all_documents_deleted_gives_an_outline(pipeline: Pipeline, db: Database) -> None:
    """With nothing left to read the title is what the course is made from."""
    course = await add_course(db)
    documents = await add_documents(db, course, TEXTS[:1])
    await pipeline.start(course, documents)
    await db.execute("DELETE FROM documents WHERE course_id = $1", course)
    await pipeline.finish(course)

    assert await db.fetchval("SELECT draft FROM course_results WHERE course_id = $1", course) is True


async def test_a_document_whose_bytes_are_gone(pipeline: Pipeline, db: Database) -> None:
    """The owner is told to upload it again."""
    course = await add_course(db)
    await pipeline.start(course, await add_documents(db, course, TEXTS[:1]))
    await db.execute("DELETE FROM stored_objects")
    await pipeline.finish(course)
    [(status, reason)] = await statuses(db, course)

    assert status == "failed"
    assert "upload it again" in (reason or "")


async def test_a_job_that_names_no_document_reads_all(pipeline: Pipeline, db: Database) -> None:
    """A row written by hand through the SQL function stands for the whole course."""
    course = await add_course(db)
    await add_documents(db, course, [*TEXTS[:2], ""])
    await pipeline.initiate(course, "stage_2_init", [document_job()])
    await pipeline.finish(course)

    assert [status for status, _ in await statuses(db, course)] == ["processed", "processed", "failed"]
    assert await state(db, course) == "completed"


async def test_a_foreign_document_is_not_read(pipeline: Pipeline, db: Database) -> None:
    """A job may name only documents of its own course."""
    course, other = await add_course(db), await add_course(db)
    [foreign] = await add_documents(db, other, TEXTS[:1])
    await pipeline.start(course, [foreign, uuid4()])
    await pipeline.finish(course)

    assert await db.fetchval("SELECT count(*) FROM document_texts") == 0
    assert await statuses(db, other) == [("uploaded", None)]


async def test_a_document_deleted_while_it_is_read(pipeline: Pipeline, db: Database, app_db: Database) -> None:
    """What was read of it is thrown away; the course goes on."""
    course = await add_course(db)
    documents = await add_documents(db, course, TEXTS[:2])
    rows = await pipeline.start(course, documents)

    async def parse_and_delete(path: Path, media_type: str, filename: str) -> ParsedDocument:
        await db.execute("DELETE FROM documents WHERE id = $1", documents[0])
        return parse(path, media_type, filename)

    store = DocumentStore(app_db, PostgresShelf(app_db))
    stage = DocumentProcessing(app_db, builtin.fetching(store), parse_and_delete)
    ending = await pipeline.runner.run(stage, payload_of(rows[0]))
    await pipeline.finish(course)

    assert ending == "applied"
    assert await db.fetchval("SELECT count(*) FROM document_texts") == 1
    assert await state(db, course) == "completed"


async def test_an_unreadable_job_counts_as_a_failed_document(pipeline: Pipeline, db: Database) -> None:
    """A job that cannot say which document it means is settled, and the join still comes about."""
    course = await add_course(db)
    rows = await pipeline.start(course, await add_documents(db, course, TEXTS[:2]))
    await pipeline.deliver(rows[0])
    damaged = {**payload_of(rows[1]), "documentId": "damaged"}

    assert await pipeline.deliver_payload("DOCUMENT_PROCESSING", damaged) == "failed"
    assert await state(db, course) == "stage_4_init"

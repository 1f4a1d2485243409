"""The state machine from documents to a finished course, stage by stage, as other connections see it."""

from __future__ import annotations

import pytest

from services.kernel.database import Database
from tests.integration.stage_worker.harness import Pipeline, moves, stage_job, state, steps
from tests.support.courses import add_course, add_documents

TEXTS = [
    f"# Chapter {n}\n\nWater boils at {n} degrees somewhere.\n\n## Details\n\nMore about {n}.\n" for n in range(1, 5)
]

FULL_PATH = [
    (None, "stage_2_init"),
    ("stage_2_init", "stage_2_processing"),
    ("stage_2_processing", "stage_2_complete"),
    ("stage_2_complete", "stage_4_init"),
    ("stage_4_init", "stage_4_analyzing"),
    ("stage_4_analyzing", "stage_4_complete"),
    ("stage_4_complete", "stage_5_init"),
    ("stage_5_init", "stage_5_generating"),
    ("stage_5_generating", "stage_5_complete"),
    ("stage_5_complete", "completed"),
]


async def test_documents_become_a_course(pipeline: Pipeline, db: Database) -> None:
    """2 → 4 → 5 → completed, an event for each move, one job per stage after the fan-out, every step completed."""
    course = await add_course(db, state=None)
    documents = await add_documents(db, course, TEXTS)
    await pipeline.start(course, documents)
    await pipeline.finish(course)
    result = await db.fetchrow("SELECT result, markdown, draft FROM course_results WHERE course_id = $1", course)
    progress = await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course)
    types = [row["job_type"] for row in await pipeline.rows(course)]

    assert await moves(db, course) == FULL_PATH
    assert types == ["DOCUMENT_PROCESSING"] * 4 + ["STRUCTURE_ANALYSIS", "STRUCTURE_GENERATION"]
    assert result is not None
    assert not result["draft"]
    assert len(result["result"]["sections"]) == 4
    assert "Chapter 1" in result["markdown"]
    assert await steps(db, course) == ["completed"] * 5
    assert progress["percentage"] == 100
    assert progress["message"] == "Курс готов"


async def test_completion_is_one_transaction_with_two_events(pipeline: Pipeline, db: Database) -> None:
    """`stage_5_complete` and `completed` become visible together, with the result (GAP6)."""
    course = await add_course(db)
    await pipeline.initiate(course, "stage_5_init", [stage_job("STRUCTURE_GENERATION")])
    await pipeline.finish(course)
    writers = await db.fetch(
        "SELECT DISTINCT xmin::text FROM fsm_events WHERE entity_id = $1 AND new_state IN ('stage_5_complete', 'completed')"
        " UNION SELECT xmin::text FROM course_results WHERE course_id = $1"
        " UNION SELECT xmin::text FROM effect_ledger WHERE course_id = $1",
        course,
    )

    assert len(writers) == 1
    assert await state(db, course) == "completed"


async def test_a_title_alone_gives_a_draft(pipeline: Pipeline, db: Database) -> None:
    """Without documents the run starts at stage 4 and ends with a draft outline."""
    course = await add_course(db, title="Tea")
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    await pipeline.finish(course)

    assert await db.fetchval("SELECT draft FROM course_results WHERE course_id = $1", course) is True
    assert await steps(db, course) == ["completed"] * 5


async def test_stage_5_directly(pipeline: Pipeline, db: Database) -> None:
    """A generation job for a course that was never read or planned plans it itself (T053, title only)."""
    course = await add_course(db)
    await pipeline.initiate(course, "stage_5_init", [stage_job("STRUCTURE_GENERATION")])
    await pipeline.finish(course)

    assert pipeline.engine.calls == ["analyse", "generate"]
    assert await state(db, course) == "completed"
    assert await steps(db, course) == ["completed"] * 5
    assert await db.fetchval("SELECT count(*) FROM course_structures WHERE course_id = $1", course) == 1


async def test_the_next_stage_gets_the_run_its_priority_and_the_request(pipeline: Pipeline, db: Database) -> None:
    """Rows written by a worker carry what the first row carried, so that order and logs hold to the end."""
    course = await add_course(db)
    await db.execute("UPDATE courses SET priority = 10, style = 'concise', language = 'ru' WHERE id = $1", course)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    [row] = await pipeline.rows(course)
    await pipeline.deliver_payload(
        "STRUCTURE_ANALYSIS",
        {
            "outboxId": str(row["outbox_id"]),
            "courseId": str(course),
            "jobType": "STRUCTURE_ANALYSIS",
            "requestId": "req-1",
        },
    )
    [follower] = await pipeline.rows(course, "STRUCTURE_GENERATION")

    assert follower["priority"] == 10
    assert follower["run_number"] == 1
    assert follower["metadata"]["requestId"] == "req-1"
    assert follower["queue_name"] == "course-generation"
    assert follower["saq_queue"] == "course-generation:generation"
    assert follower["job_data"]["courseId"] == str(course)
    assert follower["job_data"]["style"] == "concise"
    assert follower["job_data"]["language"] == "ru"
    assert "createdAt" in follower["job_data"]


async def test_citations_point_into_the_stored_text(pipeline: Pipeline, db: Database) -> None:
    """Offsets are character positions in the text that was stored, beyond ASCII too."""
    course = await add_course(db)
    [document] = await add_documents(db, course, ["# Чай 🍵\n\nВода кипит — при ста градусах.\n"])
    await pipeline.start(course, [document])
    await pipeline.finish(course)
    text = await db.fetchval("SELECT content FROM document_texts WHERE document_id = $1", document)
    result = await db.fetchval("SELECT result FROM course_results WHERE course_id = $1", course)
    sections = await db.fetch("SELECT * FROM document_sections WHERE document_id = $1 ORDER BY position", document)
    cited = [each for section in result["sections"] for lesson in section["lessons"] for each in lesson["citations"]]

    assert cited
    assert all(text[each["start"] : each["end"]] == each["quote"] for each in cited)
    assert [section["body"] for section in sections] == [
        text[section["start_offset"] : section["end_offset"]] for section in sections
    ]


@pytest.mark.parametrize("style", ["academic", "practical", "conversational", "concise"])
async def test_the_style_reaches_the_engine(pipeline: Pipeline, db: Database, style: str) -> None:
    """The course's style is the result's."""
    course = await add_course(db, style=style)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    await pipeline.finish(course)

    assert await db.fetchval("SELECT result ->> 'style' FROM course_results WHERE course_id = $1", course) == style


async def test_a_second_run_starts_over(pipeline: Pipeline, db: Database) -> None:
    """A finished course may be generated again: its own sections, structure and result, beside those of the first run."""
    course = await add_course(db)
    documents = await add_documents(db, course, TEXTS[:2])
    await pipeline.start(course, documents)
    await pipeline.finish(course)
    await pipeline.start(course, documents)
    await pipeline.finish(course)
    runs = await db.fetch("SELECT run_number FROM course_results WHERE course_id = $1 ORDER BY 1", course)

    assert [row["run_number"] for row in runs] == [1, 2]
    assert await state(db, course) == "completed"
    assert {ending for _, ending in pipeline.endings} == {"applied"}


async def test_a_run_without_files_ignores_stored_documents(pipeline: Pipeline, db: Database) -> None:
    """`hasFiles: false` on a course with documents, even read ones, gives an outline from the title."""
    course = await add_course(db)
    documents = await add_documents(db, course, TEXTS[:1])
    await pipeline.start(course, documents)
    await pipeline.finish(course)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    await pipeline.finish(course)
    drafts = await db.fetch("SELECT draft FROM course_results WHERE course_id = $1 ORDER BY run_number", course)

    assert [row["draft"] for row in drafts] == [False, True]

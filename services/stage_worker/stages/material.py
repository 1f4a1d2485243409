"""What the engines read: the documents of a run as stage 2 left them, or the title alone."""

from __future__ import annotations

from collections import defaultdict
from uuid import UUID

from services.kernel.database import Connection, Database, Row
from services.kernel.queries import Queries
from services.stage_worker.engines.interface import Material, SourceDocument
from services.stage_worker.parsing.model import Section
from services.stage_worker.stages.course_run import CourseRun


async def read_material(db: Database, sql: Queries, course: CourseRun) -> Material:
    """The material of the course's present run.

    Only documents read in this run count: a run that was asked to ignore the stored documents (`hasFiles: false`) has
    read none and gets an outline from its title.
    """
    async with db.transaction("repeatable_read") as connection:
        documents = await connection.fetch(sql["documents_read"], course.id, course.run_number)
        sections = await _sections(connection, sql, [row["id"] for row in documents], course.run_number)
    return Material(
        title=course.title,
        style=course.style,
        language=course.language,
        documents=tuple(_document(row, sections[row["id"]]) for row in documents),
    )


async def _sections(
    connection: Connection, sql: Queries, document_ids: list[UUID], run_number: int
) -> defaultdict[UUID, list[Section]]:
    found: defaultdict[UUID, list[Section]] = defaultdict(list)
    for row in await connection.fetch(sql["sections_read"], document_ids, run_number):
        section = Section(
            level=row["level"],
            heading=row["heading"],
            start=row["start_offset"],
            end=row["end_offset"],
            page=row["page"],
        )
        found[row["document_id"]].append(section)
    return found


def _document(row: Row, sections: list[Section]) -> SourceDocument:
    return SourceDocument(
        document_id=str(row["id"]),
        filename=row["filename"],
        title=row["title"] or row["filename"],
        language=row["language"] or "und",
        text=row["content"],
        sections=tuple(sections),
    )

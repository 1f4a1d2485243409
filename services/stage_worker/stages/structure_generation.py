"""Stage 5: the plan becomes the course, exported as JSON and as Markdown."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from services.kernel.database import Database
from services.kernel.envelopes import STRUCTURE_GENERATION, Job
from services.kernel.errors import CoursegenError, PermanentError
from services.kernel.logs import get_logger
from services.kernel.progress import FINISHED, WRITING, WRITTEN, Step
from services.kernel.queries import Queries
from services.stage_worker.course import Course, CourseStructure, to_json, to_markdown, validate
from services.stage_worker.course.checks import lessons_of
from services.stage_worker.engines.interface import Engine, Material
from services.stage_worker.stages.course_run import GENERATION, CourseRun, Position
from services.stage_worker.stages.material import read_material
from services.stage_worker.stages.stage import Stage
from services.stage_worker.stages.transaction import COMPLETED_BY, StageTransaction

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WrittenCourse:
    """A course ready to be kept, with the plan it was written from."""

    plan: dict[str, Any]
    result: dict[str, Any]
    markdown: str
    draft: bool


class StructureGeneration(Stage[Job, WrittenCourse]):
    """The job `STRUCTURE_GENERATION`."""

    job_type: ClassVar[str] = STRUCTURE_GENERATION
    queue: ClassVar[str] = "course-generation:generation"
    position: ClassVar[Position] = GENERATION
    model = Job

    def __init__(self, db: Database, engine: Engine) -> None:
        self._db = db
        self._engine = engine
        self._sql = Queries.load("services.stage_worker", "material.sql")

    async def begin(self, tx: StageTransaction) -> None:
        """Show that the lessons are being written."""
        await tx.enter(self.position, Step.GENERATION, WRITING)

    async def compute(self, job: Job, course: CourseRun) -> WrittenCourse:
        """Let the engine write the course, after planning it if stage 4 was never asked to."""
        material = await read_material(self._db, self._sql, course)
        structure = await self._plan(course, material)
        written = await self._engine.generate(material, structure)
        return await asyncio.to_thread(_export, written, structure, material)

    async def commit(self, tx: StageTransaction, prepared: WrittenCourse) -> None:
        """Keep plan and course; `stage_5_complete` and `completed` are reached together, with an event each (GAP6)."""
        key = (tx.course.id, tx.course.run_number)
        await tx.connection.execute(self._sql["store_structure"], *key, prepared.plan)
        await tx.connection.execute(self._sql["store_result"], *key, prepared.result, prepared.markdown, prepared.draft)
        await tx.walk_to(self.position, self.position.complete, by=COMPLETED_BY)
        await tx.move("completed", by=COMPLETED_BY)
        await tx.mark(Step.GENERATION, "completed", WRITTEN)
        await tx.complete(Step.EXPORT, FINISHED)

    async def reject(self, tx: StageTransaction, error: CoursegenError) -> None:
        """End the run: the course could not be written."""
        await tx.fail_course(Step.GENERATION, error.message, code=error.code)

    async def _plan(self, course: CourseRun, material: Material) -> CourseStructure:
        stored = await self._db.fetchval(self._sql["structure_of_run"], course.id, course.run_number)
        if stored is None:
            return await self._engine.analyse(material)
        return msgspec.convert(stored, CourseStructure)


class CourseUnsound(PermanentError):
    """The course that was written cites what is not in the documents, so it is not kept. Start it again."""

    code = "course_unsound"


def _export(written: Course, structure: CourseStructure, material: Material) -> WrittenCourse:
    """Check the course and bring it into the forms in which it is kept; costs processor time."""
    problems = validate(written, material)
    if problems:
        _log.warning("the course has faults", faults=len(problems), first=problems[:5])
    _require_exact_citations(written, material)
    return WrittenCourse(
        plan=msgspec.to_builtins(structure),
        result=msgspec.json.decode(to_json(written)),
        markdown=to_markdown(written),
        draft=written.draft,
    )


def _require_exact_citations(written: Course, material: Material) -> None:
    """A course may be imperfect and still help its reader; a citation that is not what it says it is may not."""
    texts = {document.document_id: document.text for document in material.documents}
    for lesson in lessons_of(written):
        for cited in lesson.citations:
            if texts.get(cited.document_id, "")[cited.start : cited.end] != cited.quote or not cited.quote:
                raise CourseUnsound(lesson=lesson.id, documentId=cited.document_id, start=cited.start)

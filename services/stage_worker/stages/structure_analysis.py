"""Stage 4: the material becomes a plan of the course."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from services.kernel.database import Database
from services.kernel.envelopes import STRUCTURE_ANALYSIS, STRUCTURE_GENERATION, Job
from services.kernel.errors import CoursegenError
from services.kernel.progress import ANALYSED, ANALYSING, Step
from services.kernel.queries import Queries
from services.stage_worker.course.structure import CourseStructure
from services.stage_worker.engines.interface import Engine
from services.stage_worker.stages.course_run import ANALYSIS, GENERATION, CourseRun, Position
from services.stage_worker.stages.material import read_material
from services.stage_worker.stages.stage import Stage
from services.stage_worker.stages.transaction import COMPLETED_BY, StageTransaction


class StructureAnalysis(Stage[Job, CourseStructure]):
    """The job `STRUCTURE_ANALYSIS`."""

    job_type: ClassVar[str] = STRUCTURE_ANALYSIS
    queue: ClassVar[str] = "course-generation:analysis"
    position: ClassVar[Position] = ANALYSIS
    model = Job

    def __init__(self, db: Database, engine: Engine) -> None:
        self._db = db
        self._engine = engine
        self._sql = Queries.load("services.stage_worker", "material.sql")

    async def begin(self, tx: StageTransaction) -> None:
        """Show that the structure is being worked out."""
        await tx.enter(self.position, Step.ANALYSIS, ANALYSING)

    async def compute(self, job: Job, course: CourseRun) -> CourseStructure:
        """Let the engine plan the course."""
        return await self._engine.analyse(await read_material(self._db, self._sql, course))

    async def commit(self, tx: StageTransaction, prepared: CourseStructure) -> None:
        """Keep the plan and hand the course to stage 5."""
        plan = msgspec.to_builtins(prepared)
        await tx.connection.execute(self._sql["store_structure"], tx.course.id, tx.course.run_number, plan)
        await tx.walk_to(self.position, self.position.complete, by=COMPLETED_BY)
        await tx.mark(Step.ANALYSIS, "completed", ANALYSED)
        await tx.start_stage(GENERATION, STRUCTURE_GENERATION)

    async def reject(self, tx: StageTransaction, error: CoursegenError) -> None:
        """End the run: without a plan there is no course."""
        await tx.fail_course(Step.ANALYSIS, error.message, code=error.code)

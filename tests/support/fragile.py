"""A plugin whose stage and engine break for as long as a test says, and count what they did."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from services.kernel.envelopes import Job
from services.stage_worker.course.structure import CourseStructure
from services.stage_worker.engines.material import Material
from services.stage_worker.registry import Registry
from services.stage_worker.stages.course_run import CourseRun
from services.stage_worker.stages.stage import Stage
from services.stage_worker.stages.transaction import StageTransaction
from tests.support.plugin import InstantEngine

NAME = "tests.support.fragile:register"
FRAGILE = "FRAGILE"
QUEUE = "fragile"


class Fuse:
    """Whether things break, and what was done when they did not."""

    blown: ClassVar[bool] = False
    done: ClassVar[list[UUID]] = []
    """Courses that had the stage's effect, once per effect."""

    @classmethod
    def check(cls) -> None:
        """Break, if it is time to."""
        if cls.blown:
            raise RuntimeError("the fuse is blown")


class FragileEngine(InstantEngine):
    """Plans nothing while the fuse is blown."""

    name = "fragile"

    async def analyse(self, material: Material) -> CourseStructure:
        """An empty plan, or an error nobody foresaw."""
        Fuse.check()
        return await super().analyse(material)


class FragileStage(Stage[Job, None]):
    """Work beside the pipeline."""

    job_type = FRAGILE
    queue = QUEUE
    model = Job

    async def compute(self, job: Job, course: CourseRun) -> None:
        """Nothing, or an error nobody foresaw."""
        Fuse.check()

    async def commit(self, tx: StageTransaction, prepared: None) -> None:
        """Remember it."""
        Fuse.done.append(tx.course.id)


def register(registry: Registry) -> None:
    """Offer both."""
    registry.add_engine(FragileEngine.name, lambda _: FragileEngine())
    registry.add_stage(lambda _: FragileStage())

"""What the fault tests plug into real workers: an engine that costs nothing and a stage that takes as long as it is told.

Faults are about delivery, not about courses: with the `instant` engine a run of hundreds of kills fits into minutes. The
stage `SLOW` never ends in a worker that is to die with it, and ends at once in the one that takes over.
"""

from __future__ import annotations

import asyncio
import os

from services.kernel.envelopes import Job
from services.stage_worker.course.model import Course
from services.stage_worker.course.structure import CourseStructure
from services.stage_worker.engines.material import Material
from services.stage_worker.registry import Registry
from services.stage_worker.stages.course_run import CourseRun
from services.stage_worker.stages.stage import Stage
from services.stage_worker.stages.transaction import StageTransaction

NAME = "tests.support.plugin:register"
SLOW = "SLOW"
SLOW_QUEUES = ("test-slow-1", "test-slow-2")
"""Two queues with the same stage, so that two groups of jobs can be told apart."""


class InstantEngine:
    """Writes an outline without sections."""

    name = "instant"

    async def analyse(self, material: Material) -> CourseStructure:
        """An empty plan, after `INSTANT_SECONDS`."""
        await asyncio.sleep(float(os.environ.get("INSTANT_SECONDS", "0")))
        return CourseStructure(title=material.title, language="und", style=material.style, draft=True, sections=())

    async def generate(self, material: Material, structure: CourseStructure) -> Course:
        """An empty course, after `INSTANT_SECONDS`."""
        await asyncio.sleep(float(os.environ.get("INSTANT_SECONDS", "0")))
        return Course(
            title=structure.title,
            language=structure.language,
            style=structure.style,
            draft=True,
            engine=self.name,
            notes=(),
            objectives=(),
            summary="",
            key_terms=(),
            citations=(),
            sources=(),
            sections=(),
        )


class SlowStage(Stage[Job, None]):
    """Takes `SLOW_SECONDS`, then changes nothing but the ledger."""

    job_type = SLOW
    model = Job

    async def compute(self, job: Job, course: CourseRun) -> None:
        """Sleep."""
        await asyncio.sleep(float(os.environ.get("SLOW_SECONDS", "0")))

    async def commit(self, tx: StageTransaction, prepared: None) -> None:
        """Write nothing."""


class FirstSlowStage(SlowStage):
    """On the first queue."""

    queue = SLOW_QUEUES[0]


class SecondSlowStage(SlowStage):
    """On the second queue."""

    queue = SLOW_QUEUES[1]


def register(registry: Registry) -> None:
    """Offer the engine and the stages."""
    registry.add_engine(InstantEngine.name, lambda _: InstantEngine())
    registry.add_stage(lambda _: FirstSlowStage())
    registry.add_stage(lambda _: SecondSlowStage())

"""What an engine is given, and what it promises.

An engine has two steps because the pipeline has two stages: `analyse` (stage 4) plans the course, `generate`
(stage 5) writes it. Both are free of effects: they may be repeated, and the worker alone stores what they return.

Errors: `RetryableError` when the same call may succeed later (nothing is charged to the course), `PermanentError`
with a reason when it never will.
"""

from __future__ import annotations

from typing import Protocol

from services.stage_worker.course.model import Course
from services.stage_worker.course.structure import CourseStructure
from services.stage_worker.engines.material import STYLES, Material, SourceDocument

__all__ = ["STYLES", "Engine", "Material", "SourceDocument"]


class Engine(Protocol):
    """Plans and writes courses."""

    @property
    def name(self) -> str:
        """The word the course records: which engine wrote it."""
        ...

    async def analyse(self, material: Material) -> CourseStructure:
        """Plan the course."""
        ...

    async def generate(self, material: Material, structure: CourseStructure) -> Course:
        """Write the course that the plan describes."""
        ...

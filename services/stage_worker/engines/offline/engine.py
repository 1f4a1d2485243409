"""The offline engine's two doors: plain functions for the child process, and the class that calls them there."""

from __future__ import annotations

import msgspec

from services.kernel.errors import PermanentError
from services.stage_worker.course.model import Course
from services.stage_worker.course.structure import CourseStructure
from services.stage_worker.engines.material import Material
from services.stage_worker.engines.offline import draft
from services.stage_worker.parsing.sandbox import Sandbox

NAME = "offline"


class WritingTask(msgspec.Struct, frozen=True):
    """What `generate_sync` needs, as one message."""

    material: Material
    structure: CourseStructure


class OfflineEngine:
    """Plans and writes courses without a network; the work is done in a child process.

    The same material gives the same bytes, in every process and on every run.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    @property
    def name(self) -> str:
        """The word the course records."""
        return NAME

    async def analyse(self, material: Material) -> CourseStructure:
        """Plan the course; without documents, an outline from the title."""
        if not material.documents:
            return draft.outline(material)
        return await self._sandbox.call("analyse", material, CourseStructure)

    async def generate(self, material: Material, structure: CourseStructure) -> Course:
        """Write the course that the plan describes."""
        if structure.draft:
            return draft.drafted(structure, NAME)
        return await self._sandbox.call("generate", WritingTask(material, structure), Course)


def analyse_sync(material: Material) -> CourseStructure:
    """The plan of a course.

    Raises:
        PermanentError: the documents hold nothing a course could be made of.
    """
    if not material.documents:
        return draft.outline(material)
    from services.stage_worker.engines.offline.index import Index
    from services.stage_worker.engines.offline.planning import plan

    index = Index.of(material)
    if not index.passages:
        raise PermanentError("The documents hold headings only. Add documents with text under their headings.")
    return plan(index)


def generate_sync(material: Material, structure: CourseStructure) -> Course:
    """The course that the plan describes."""
    if structure.draft:
        return draft.drafted(structure, NAME)
    from services.stage_worker.engines.offline.index import Index
    from services.stage_worker.engines.offline.writing import Writer

    return Writer(Index.of(material), structure, NAME).course()

"""An engine small enough to be understood at a glance; fails and waits as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from services.stage_worker.course import (
    Citation,
    Course,
    CourseStructure,
    Lesson,
    LessonPlan,
    SectionOut,
    SectionPlan,
    Source,
)
from services.stage_worker.engines.interface import Material


class TinyEngine:
    """Plans one lesson per section and copies its text."""

    name = "tiny"

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        """Raised one after the other, a call each."""
        self.calls: list[str] = []
        self.called = asyncio.Event()
        """Set at the first call."""
        self.gate: asyncio.Event | None = None
        """When set, calls wait for it."""
        self.lies = False
        """Whether citations are wrong by a character."""

    async def analyse(self, material: Material) -> CourseStructure:
        """One section per document; a title alone gives a draft."""
        await self._called("analyse")
        return CourseStructure(
            title=material.title,
            language=material.language or "en",
            style=material.style,
            draft=not material.documents,
            sections=tuple(_planned(each.title, each.document_id, each.sections) for each in material.documents),
        )

    async def generate(self, material: Material, structure: CourseStructure) -> Course:
        """The text of each planned source, cited whole."""
        await self._called("generate")
        texts = {each.document_id: each.text for each in material.documents}
        return Course(
            title=structure.title,
            language=structure.language,
            style=structure.style,
            draft=structure.draft,
            engine=self.name,
            notes=(),
            objectives=(),
            summary="",
            key_terms=(),
            citations=(),
            sources=(),
            sections=tuple(self._section(n, plan, texts) for n, plan in enumerate(structure.sections, start=1)),
        )

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        self.called.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)

    def _section(self, number: int, plan: SectionPlan, texts: dict[str, str]) -> SectionOut:
        return SectionOut(
            id=f"s{number}",
            title=plan.title,
            language=plan.language,
            objectives=(),
            summary="",
            key_terms=(),
            citations=(),
            lessons=tuple(
                self._lesson(f"s{number}-l{each}", lesson, texts) for each, lesson in enumerate(plan.lessons, start=1)
            ),
        )

    def _lesson(self, name: str, plan: LessonPlan, texts: dict[str, str]) -> Lesson:
        [source] = plan.sources
        quote = texts[source.document_id][source.start : source.end]
        start = source.start + 1 if self.lies else source.start
        citation = Citation(document_id=source.document_id, start=start, end=source.end, quote=quote)
        return Lesson(
            id=name,
            title=plan.title,
            language=plan.language,
            objectives=(),
            summary="",
            content=quote,
            key_terms=(),
            exercises=(),
            citations=(citation,),
            words=1,
        )


def _planned(title: str, document_id: str, sections: Sequence[Any]) -> SectionPlan:
    lessons = [
        LessonPlan(
            title=each.heading or title,
            language="en",
            sources=(Source(document_id=document_id, section=index, start=each.start, end=each.end),),
        )
        for index, each in enumerate(sections)
        if each.end > each.start
    ]
    return SectionPlan(title=title, language="en", lessons=tuple(lessons))

"""The OpenAI-compatible engine: the offline one prepares lessons that cover the material, the model arranges and writes."""

from __future__ import annotations

import asyncio

from services.stage_worker.course.model import Course, Lesson, SectionOut, SourceFile
from services.stage_worker.course.structure import CourseStructure, LessonPlan, SectionPlan
from services.stage_worker.engines.gathering import course_objectives, course_summary, gathered
from services.stage_worker.engines.interface import Engine
from services.stage_worker.engines.material import Material
from services.stage_worker.engines.offline import draft
from services.stage_worker.engines.openai import prompts
from services.stage_worker.engines.openai.budget import Budget
from services.stage_worker.engines.openai.cache import AnswerCache, MemoryCache
from services.stage_worker.engines.openai.client import ChatClient
from services.stage_worker.engines.openai.evidence import Passages
from services.stage_worker.engines.openai.schemas import LessonReply, OutlineReply, PlanReply
from services.stage_worker.engines.openai.settings import OpenAISettings
from services.stage_worker.engines.openai.writing import arranged, checked_lesson, checked_outline, written

NAME = "openai"
_COURSE_TERMS, _SECTION_TERMS = 12, 8
_SUMMARY_LESSONS = 3


class OpenAIEngine:
    """Plans and writes courses with a language model.

    Args:
        settings: the endpoint and its limits.
        preparing: plans which passages make which lesson, so that everything is covered and no lesson is too long.
        cache: keeps answers; by default the most recent ones in this process.
    """

    def __init__(self, settings: OpenAISettings, preparing: Engine, cache: AnswerCache | None = None) -> None:
        self._settings = settings
        self._preparing = preparing
        self._client = ChatClient(settings, cache or MemoryCache())

    @property
    def name(self) -> str:
        """The word the course records."""
        return NAME

    async def close(self) -> None:
        """Close the connections to the endpoint."""
        await self._client.close()

    async def analyse(self, material: Material) -> CourseStructure:
        """Plan the course."""
        budget = Budget(self._settings)
        if not material.documents:
            return await self._outline(material, budget)
        prepared = await self._preparing.analyse(material)
        lessons = [lesson for section in prepared.sections for lesson in section.lessons]
        previews = [Passages(material, lesson.sources).text(0) for lesson in lessons]
        found: list[CourseStructure] = []
        await self._client.ask(
            prompts.arrangement(prepared, previews),
            PlanReply,
            budget,
            lambda reply: found.append(arranged(prepared, reply)),
        )
        return found[-1]

    async def generate(self, material: Material, structure: CourseStructure) -> Course:
        """Write the course that the plan describes, several lessons at a time."""
        if structure.draft:
            return draft.drafted(structure, NAME)
        budget = Budget(self._settings)
        slots = asyncio.Semaphore(self._settings.openai_concurrency)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    [
                        group.create_task(self._lesson(material, structure, plan, f"s{number}l{place}", budget, slots))
                        for place, plan in enumerate(section.lessons, 1)
                    ]
                    for number, section in enumerate(structure.sections, 1)
                ]
        except ExceptionGroup as failures:  # not `except*`: before Python 3.11.4 it wraps what is raised in it
            raise _first(failures) from failures
        sections = tuple(
            _section(section, f"s{number}", tuple(task.result() for task in tasks[number - 1]))
            for number, section in enumerate(structure.sections, 1)
        )
        return _course(material, structure, sections)

    async def _outline(self, material: Material, budget: Budget) -> CourseStructure:
        plain = draft.outline(material)
        reply = await self._client.ask(
            prompts.outline(material.title, material.style, plain.language), OutlineReply, budget, checked_outline
        )
        sections = tuple(
            SectionPlan(
                title=section.title,
                language=plain.language,
                lessons=tuple(
                    LessonPlan(title=each.title, language=plain.language, sources=(), objectives=(each.objective,))
                    for each in section.lessons
                ),
            )
            for section in reply.sections
        )
        return CourseStructure(
            title=plain.title,
            language=plain.language,
            style=plain.style,
            draft=True,
            sections=sections,
            notes=plain.notes,
        )

    async def _lesson(
        self,
        material: Material,
        structure: CourseStructure,
        plan: LessonPlan,
        lesson_id: str,
        budget: Budget,
        slots: asyncio.Semaphore,
    ) -> Lesson:
        passages = Passages(material, plan.sources)
        async with slots:
            reply = await self._client.ask(
                prompts.lesson(structure, plan, passages),
                LessonReply,
                budget,
                lambda answer: checked_lesson(answer, plan, passages),
            )
        return written(reply, plan, passages, lesson_id)


def _first(failures: BaseExceptionGroup[Exception]) -> Exception:
    """One lesson's failure stands for all: the others were stopped because of it."""
    failure = failures.exceptions[0]
    return _first(failure) if isinstance(failure, BaseExceptionGroup) else failure


def _section(plan: SectionPlan, section_id: str, lessons: tuple[Lesson, ...]) -> SectionOut:
    own = [lesson for lesson in lessons if lesson.language == plan.language]
    terms, citations = gathered(own, _SECTION_TERMS)
    return SectionOut(
        id=section_id,
        title=plan.title,
        language=plan.language,
        objectives=tuple(lesson.objectives[0] for lesson in own if lesson.objectives),
        summary=" ".join(lesson.summary for lesson in own[:_SUMMARY_LESSONS]),
        key_terms=terms,
        citations=citations,
        lessons=lessons,
    )


def _course(material: Material, structure: CourseStructure, sections: tuple[SectionOut, ...]) -> Course:
    terms, citations = gathered([each for each in sections if each.language == structure.language], _COURSE_TERMS)
    return Course(
        title=structure.title,
        language=structure.language,
        style=structure.style,
        draft=False,
        engine=NAME,
        notes=structure.notes,
        objectives=course_objectives(structure),
        summary=course_summary(structure, len(material.documents), sections),
        key_terms=terms,
        citations=citations,
        sources=tuple(
            SourceFile(document_id=each.document_id, filename=each.filename, title=each.title, language=each.language)
            for each in material.documents
        ),
        sections=sections,
    )

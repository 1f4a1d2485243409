"""Draft: an outline from a title alone. It says plainly that there is no material, and cites nothing."""

from __future__ import annotations

from services.stage_worker.course.model import Course, Lesson, SectionOut
from services.stage_worker.course.structure import CourseStructure, LessonPlan, SectionPlan
from services.stage_worker.engines.material import Material
from services.stage_worker.language.detection import UNDETERMINED
from services.stage_worker.language.guess import likely_language
from services.stage_worker.language.phrases import has_pack, phrases

_FALLBACK = "en"


def outline(material: Material) -> CourseStructure:
    """Three sections of three lessons, worded after the style."""
    language = material.language or _language_of(material.title)
    speech = phrases(language if has_pack(language) else _FALLBACK)
    sections = tuple(
        SectionPlan(
            title=section["title"].format(title=material.title),
            language=language,
            lessons=tuple(
                LessonPlan(
                    title=title.format(title=material.title),
                    language=language,
                    sources=(),
                    objectives=(objective.format(title=material.title),),
                )
                for title, objective in section["lessons"]
            ),
        )
        for section in speech.outline(material.style)
    )
    return CourseStructure(
        title=material.title,
        language=language,
        style=material.style,
        draft=True,
        sections=sections,
        notes=(speech.say("draft_note", material.style),),
    )


def drafted(structure: CourseStructure, engine: str) -> Course:
    """The outline in the form of a course."""
    speech = phrases(structure.language if has_pack(structure.language) else _FALLBACK)
    missing = speech.say("draft_lesson", structure.style, title=structure.title)
    sections = tuple(
        SectionOut(
            id=f"s{number}",
            title=section.title,
            language=section.language,
            objectives=tuple(goal for lesson in section.lessons for goal in lesson.objectives),
            summary="",
            key_terms=(),
            citations=(),
            lessons=tuple(
                _lesson(lesson, f"s{number}l{place}", missing) for place, lesson in enumerate(section.lessons, 1)
            ),
        )
        for number, section in enumerate(structure.sections, 1)
    )
    return Course(
        title=structure.title,
        language=structure.language,
        style=structure.style,
        draft=True,
        engine=engine,
        notes=structure.notes,
        objectives=(),
        summary=speech.say("draft_summary", structure.style, title=structure.title),
        key_terms=(),
        citations=(),
        sources=(),
        sections=sections,
    )


def _lesson(plan: LessonPlan, lesson_id: str, missing: str) -> Lesson:
    return Lesson(
        id=lesson_id,
        title=plan.title,
        language=plan.language,
        objectives=plan.objectives,
        summary=missing,
        content="",
        key_terms=(),
        exercises=(),
        citations=(),
        words=0,
    )


def _language_of(title: str) -> str:
    found = likely_language(title)
    return _FALLBACK if found == UNDETERMINED or not has_pack(found) else found

"""The plan of a course, made by stage 4 and carried out by stage 5: which passages become which lesson."""

from __future__ import annotations

import msgspec


class Source(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A passage to use: some characters of one section of one document."""

    document_id: str
    section: int
    """Index of the section in its document, from 0."""
    start: int
    end: int
    """The span in the document's text; it lies within the section."""


class LessonPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One lesson to write."""

    title: str
    language: str
    sources: tuple[Source, ...]
    objectives: tuple[str, ...] = ()
    """Only in a draft, where no passage says what the lesson is for."""


class SectionPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A topic and its lessons in order."""

    title: str
    language: str
    lessons: tuple[LessonPlan, ...]


class CourseStructure(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole plan; it is stored as JSON between the two stages."""

    title: str
    language: str
    style: str
    draft: bool
    sections: tuple[SectionPlan, ...]
    notes: tuple[str, ...] = ()

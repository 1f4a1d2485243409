"""Distinct titles: no two sections and no two lessons of a course are called the same.

A title that stands in the material as a heading is told apart by the section it stands in; one that was made of what the text
speaks of, by what else it speaks of; a number is the last resort.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from services.stage_worker.course.structure import LessonPlan, SectionPlan, Source
from services.stage_worker.engines.offline.index import Index
from services.stage_worker.engines.offline.titles import from_text, is_generic
from services.stage_worker.language.phrases import phrases


def told_apart(index: Index, sections: Iterable[SectionPlan]) -> tuple[SectionPlan, ...]:
    """The same plan with distinct titles."""
    renaming = _Renaming(index)
    return tuple(renaming.section(section) for section in sections)


class _Renaming:
    def __init__(self, index: Index) -> None:
        self._index = index
        self._sections: dict[str, str] = {}
        self._lessons: dict[str, str] = {}
        """Titles in use, by their lower case."""

    def section(self, section: SectionPlan) -> SectionPlan:
        options = self._section_titles(section)
        named = msgspec.structs.replace(section, title=_take(options, self._sections))
        lessons = tuple(self._lesson(lesson, named) for lesson in section.lessons)
        return msgspec.structs.replace(named, lessons=lessons)

    def _section_titles(self, section: SectionPlan) -> Iterator[str]:
        yield section.title
        if len(section.lessons) == 1:
            yield section.lessons[0].title
        sources = [source for lesson in section.lessons for source in lesson.sources]
        yield from self._of_text(section.title, sources, section.language, self._sections)
        yield from _numbered(section.title)

    def _lesson(self, lesson: LessonPlan, section: SectionPlan) -> LessonPlan:
        options = self._lesson_titles(lesson, section)
        return msgspec.structs.replace(lesson, title=_take(options, self._lessons))

    def _lesson_titles(self, lesson: LessonPlan, section: SectionPlan) -> Iterator[str]:
        if not is_generic(lesson.title, lesson.language):
            yield lesson.title
        yield from self._of_text(lesson.title, lesson.sources, lesson.language, self._lessons)
        if lesson.title != section.title and lesson.title not in self._index.made_titles:
            yield phrases(lesson.language).say("of", "", heading=lesson.title, parent=section.title)
        yield from _numbered(lesson.title)

    def _of_text(self, title: str, sources: Sequence[Source], language: str, used: dict[str, str]) -> Iterator[str]:
        """What else the text speaks of, where the title is no heading of the material."""
        if title not in self._index.made_titles:
            return
        numbers = {document.document_id: at for at, document in enumerate(self._index.material.documents)}
        text = "\n".join(self._index.text(numbers[each.document_id], (each.start, each.end)) for each in sources)
        found = from_text(self._index, text, language, used.values())
        if found != self._index.material.title:
            yield found


def _numbered(title: str) -> Iterator[str]:
    return (f"{title} ({number})" for number in range(2, 10_000))


def _take(options: Iterator[str], used: dict[str, str]) -> str:
    """The first title that is not in use; from now on it is."""
    title = next(option for option in options if option.lower() not in used)
    used[title.lower()] = title
    return title

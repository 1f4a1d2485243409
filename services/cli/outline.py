"""A finished course in a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_SHOWN_LESSONS = 60


def outline(course: dict[str, Any]) -> Iterator[str]:
    """Title, sections and lessons, with what stands behind them."""
    sections = course.get("sections", [])
    lessons = [lesson for section in sections for lesson in section.get("lessons", [])]
    cited = sum(len(lesson.get("citations", [])) for lesson in lessons)
    yield course.get("title", "")
    counts = f"{_count(len(sections), 'section')}, {_count(len(lessons), 'lesson')}, {_count(cited, 'citation')}"
    facts = f"{counts}, {course.get('language', '')}"
    yield f"{facts}, {course.get('style', '')}{', draft without material' if course.get('draft') else ''}"
    shown = 0
    for number, section in enumerate(sections, 1):
        yield ""
        yield f"  {number}. {section['title']}"
        for place, lesson in enumerate(section.get("lessons", []), 1):
            shown += 1
            if shown <= _SHOWN_LESSONS:
                yield f"     {number}.{place} {lesson['title']}{_extent(lesson)}"
    if shown > _SHOWN_LESSONS:
        yield f"     ... and {shown - _SHOWN_LESSONS} more lessons"


def _extent(lesson: dict[str, Any]) -> str:
    words, citations = lesson.get("words", 0), len(lesson.get("citations", []))
    return f"  ({_count(words, 'word')}, {_count(citations, 'citation')})" if words else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

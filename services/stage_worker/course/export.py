"""The two export forms: JSON that is the same bytes for the same course, and Markdown to read and print."""

from __future__ import annotations

import msgspec

from services.stage_worker.course.model import Citation, Course, Exercise, KeyTerm, Lesson, SectionOut
from services.stage_worker.language.phrases import Phrases, phrases


def to_json(course: Course) -> bytes:
    """UTF-8 JSON with the fields in the order of the model, indented by two spaces, ending in a line feed."""
    return msgspec.json.format(msgspec.json.encode(course), indent=2) + b"\n"


def from_json(content: bytes) -> Course:
    """The course again.

    Raises:
        msgspec.ValidationError: the content is not a course of this format.
    """
    return msgspec.json.decode(content, type=Course)


def to_markdown(course: Course) -> str:
    """The whole course as one Markdown document: contents, sections, lessons, and where each passage comes from."""
    speech = phrases(course.language)
    lines = [f"# {course.title}", ""]
    if course.draft:
        lines += [f"**{speech.label('draft')}**", ""]
    lines += [course.summary, ""]
    for note in course.notes:
        lines += [f"*{note}*", ""]
    lines += _bullets(speech, "objectives", course.objectives)
    lines += _contents(course, speech)
    lines += _files(course, speech)
    for number, section in enumerate(course.sections, 1):
        lines += _section(course, section, number)
    return "\n".join(lines).rstrip() + "\n"


def _contents(course: Course, speech: Phrases) -> list[str]:
    lines = [f"## {speech.label('contents')}", ""]
    for number, section in enumerate(course.sections, 1):
        lines.append(f"{number}. {section.title}")
        lines += [f"   - {number}.{place} {lesson.title}" for place, lesson in enumerate(section.lessons, 1)]
    return [*lines, ""]


def _files(course: Course, speech: Phrases) -> list[str]:
    if not course.sources:
        return []
    lines = [f"**{speech.label('made_from')}**", ""]
    lines += [f"- {_file(file.title, file.filename)}" for file in course.sources]
    return [*lines, ""]


def _file(title: str, filename: str) -> str:
    return filename if title == filename else f"{title} ({filename})"


def _section(course: Course, section: SectionOut, number: int) -> list[str]:
    speech = phrases(section.language)
    lines = [f"## {number}. {section.title}", ""]
    if section.summary:
        lines += [f"> {section.summary}", ""]
    lines += _bullets(speech, "objectives", section.objectives)
    for place, lesson in enumerate(section.lessons, 1):
        lines += _lesson(course, lesson, f"{number}.{place}")
    return lines


def _lesson(course: Course, lesson: Lesson, number: str) -> list[str]:
    speech = phrases(lesson.language)
    lines = [f"### {number} {lesson.title}", ""]
    lines += _bullets(speech, "objectives", lesson.objectives)
    if lesson.summary:
        lines += [f"> **{speech.label('summary')}.** {lesson.summary}", ""]
    if lesson.content:
        lines += [lesson.content, ""]
    lines += _terms(speech, lesson.key_terms)
    lines += _exercises(speech, lesson.exercises)
    lines += _citations(course, speech, lesson.citations)
    return lines


def _bullets(speech: Phrases, label: str, items: tuple[str, ...]) -> list[str]:
    if not items:
        return []
    return [f"**{speech.label(label)}**", "", *(f"- {item}" for item in items), ""]


def _terms(speech: Phrases, terms: tuple[KeyTerm, ...]) -> list[str]:
    if not terms:
        return []
    lines = [f"**{speech.label('key_terms')}**", ""]
    for term in terms:
        mark = f" [{term.citation + 1}]" if term.citation is not None else ""
        lines.append(f"- **{term.term}**" + (f" — {term.definition}{mark}" if term.definition else ""))
    return [*lines, ""]


def _exercises(speech: Phrases, exercises: tuple[Exercise, ...]) -> list[str]:
    if not exercises:
        return []
    lines = [f"**{speech.label('exercises')}**", ""]
    for number, exercise in enumerate(exercises, 1):
        answer = f" *({speech.label('answer')}: {exercise.answer})*" if exercise.answer else ""
        lines.append(f"{number}. {exercise.prompt}{answer}")
    return [*lines, ""]


def _citations(course: Course, speech: Phrases, citations: tuple[Citation, ...]) -> list[str]:
    if not citations:
        return []
    names = {file.document_id: file.filename for file in course.sources}
    lines = [f"**{speech.label('sources')}**", ""]
    for number, citation in enumerate(citations, 1):
        place = [names.get(citation.document_id, citation.document_id)]
        if citation.page is not None:
            place.append(speech.label("page").format(page=citation.page))
        place.append(speech.label("characters").format(start=citation.start, end=citation.end))
        lines.append(f"- [{number}] {', '.join(place)}")
    return [*lines, ""]

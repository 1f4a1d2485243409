"""From the model's answers to a plan and lessons that keep the course's promises."""

from __future__ import annotations

import re

from services.stage_worker.course.checks import MAXIMUM_WORDS, MINIMUM_WORDS, lesson_words, without_marks
from services.stage_worker.course.model import Citation, Exercise, KeyTerm, Lesson
from services.stage_worker.course.structure import CourseStructure, LessonPlan, SectionPlan
from services.stage_worker.engines.openai.client import Unsuitable
from services.stage_worker.engines.openai.evidence import Passages
from services.stage_worker.engines.openai.schemas import LessonReply, OutlineReply, PlanReply
from services.stage_worker.language.detection import UNDETERMINED, detect, script_of
from services.stage_worker.language.words import count_words

_MARK = re.compile(r"(?<!\\)\[(\d+)\]")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_LEAST_VERIFIED = 0.6
"""Of the quotations given, how many must stand in the sources."""
_MOST_SECTIONS, _MOST_LESSONS = 30, 40


def arranged(structure: CourseStructure, reply: PlanReply) -> CourseStructure:
    """The prepared lessons in the model's order. What it forgot stays after its predecessor; nothing is lost."""
    lessons = [lesson for section in structure.sections for lesson in section.lessons]
    placed: list[list[tuple[int, str]]] = []
    seen: set[int] = set()
    for section in reply.sections:
        here = [(each.number, each.title) for each in section.lessons if 1 <= each.number <= len(lessons)]
        fresh = [(number, title) for number, title in dict(here).items() if number not in seen]
        seen.update(number for number, _ in fresh)
        placed.append(fresh)
    if not seen:
        raise Unsuitable("None of the lessons was arranged. Use the numbers given.")
    for number in range(1, len(lessons) + 1):
        if number not in seen:
            _insert(placed, number, lessons[number - 1].title)
    titles = [section.title for section in reply.sections]
    sections = tuple(
        _section(title, [(lessons[number - 1], name) for number, name in here])
        for title, here in zip(titles, placed, strict=True)
        if here
    )
    return CourseStructure(
        title=structure.title, language=structure.language, style=structure.style, draft=False,
        sections=sections, notes=structure.notes,
    )  # fmt: skip


def _insert(placed: list[list[tuple[int, str]]], number: int, title: str) -> None:
    for here in placed:
        for at, (other, _) in enumerate(here):
            if other == number - 1:
                here.insert(at + 1, (number, title))
                return
    next(here for here in placed if here).insert(0, (number, title))


def _section(title: str, lessons: list[tuple[LessonPlan, str]]) -> SectionPlan:
    languages = [plan.language for plan, _ in lessons]
    language = max(languages, key=languages.count)
    plans = tuple(
        LessonPlan(title=_title(name, plan.title), language=plan.language, sources=plan.sources)
        for plan, name in lessons
    )
    return SectionPlan(title=_title(title, plans[0].title), language=language, lessons=plans)


def _title(wanted: str, otherwise: str) -> str:
    """The model's title, unless it is empty, endless or in another script than the material's."""
    plain = " ".join(_UNPRINTABLE.sub("", wanted).split())
    fits = 0 < len(plain) <= 200 and script_of(plain) in {script_of(otherwise), None}
    return plain if fits else otherwise


def checked_outline(reply: OutlineReply) -> None:
    """Refuse an outline without lessons or without measure."""
    if not 1 <= len(reply.sections) <= _MOST_SECTIONS:
        raise Unsuitable(f"An outline has 1 to {_MOST_SECTIONS} sections.")
    for section in reply.sections:
        if not section.title.strip() or not 1 <= len(section.lessons) <= _MOST_LESSONS:
            raise Unsuitable(f"Every section needs a title and 1 to {_MOST_LESSONS} lessons.")


def checked_lesson(reply: LessonReply, plan: LessonPlan, passages: Passages) -> None:
    """Refuse a lesson that breaks a rule of the course."""
    words = lesson_words(reply.content)
    available = sum(count_words(passages.text(number)) for number in range(len(passages.sources)))
    if words > MAXIMUM_WORDS:
        raise Unsuitable(f"The content has {words} words; at most {MAXIMUM_WORDS} are allowed.")
    if words < min(MINIMUM_WORDS, available):
        raise Unsuitable(f"The content has {words} words; at least {min(MINIMUM_WORDS, available)} are needed.")
    if not reply.summary.strip() or not any(each.strip() for each in reply.objectives):
        raise Unsuitable("A summary and at least one objective are needed.")
    _require_language(reply, plan)
    _require_evidence(reply, passages)


def _require_language(reply: LessonReply, plan: LessonPlan) -> None:
    found = detect(without_marks(reply.content))
    if UNDETERMINED not in {found, plan.language} and found != plan.language:
        raise Unsuitable(f"The content is in the language {found}; write all of it in {plan.language}.")


def _require_evidence(reply: LessonReply, passages: Passages) -> None:
    missing = [each.quote for each in reply.citations if passages.find(each.passage - 1, each.quote) is None]
    verified = len(reply.citations) - len(missing)
    if verified == 0 or verified < _LEAST_VERIFIED * len(reply.citations):
        named = "; ".join(f"“{quote[:120]}”" for quote in missing[:5])
        raise Unsuitable(f"These quotations do not stand in the passages: {named}. Copy them letter by letter.")


def written(reply: LessonReply, plan: LessonPlan, passages: Passages, lesson_id: str) -> Lesson:
    """The lesson with citations that are exact; marks of quotations that were not found are taken out."""
    citations: list[Citation] = []
    numbers: dict[int, int] = {}
    for at, quoted in enumerate(reply.citations, 1):
        found = passages.find(quoted.passage - 1, quoted.quote)
        if found is not None:
            if found not in citations:
                citations.append(found)
            numbers[at] = citations.index(found) + 1
    for number in range(len(passages.sources)):
        if not passages.touched_by(number, citations):
            citations.append(passages.opening(number))
    content = _renumbered(_UNPRINTABLE.sub("", reply.content).strip(), numbers)
    return Lesson(
        id=lesson_id,
        title=plan.title,
        language=plan.language,
        objectives=tuple(each.strip() for each in reply.objectives if each.strip()),
        summary=_UNPRINTABLE.sub("", reply.summary).strip(),
        content=content,
        key_terms=tuple(
            KeyTerm(
                term=each.term.strip(),
                definition=each.definition.strip() or None,
                citation=numbers[each.citation] - 1 if each.citation in numbers else None,
            )
            for each in reply.key_terms
            if each.term.strip()
        ),
        exercises=tuple(
            Exercise(kind="task", prompt=each.prompt.strip(), answer=each.answer.strip() or None)
            for each in reply.exercises
            if each.prompt.strip()
        ),
        citations=tuple(citations),
        words=lesson_words(content),
    )


def _renumbered(content: str, numbers: dict[int, int]) -> str:
    def replace(found: re.Match[str]) -> str:
        known = numbers.get(int(found.group(1)))
        return f"[{known}]" if known else ""

    return _MARK.sub(replace, content)

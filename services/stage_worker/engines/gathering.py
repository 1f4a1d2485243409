"""Gathering: what a section says of its lessons and a course of its sections, whichever engine wrote them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.stage_worker.course.model import Citation, KeyTerm, Lesson, SectionOut
from services.stage_worker.course.structure import CourseStructure
from services.stage_worker.engines.questions import as_question
from services.stage_worker.language.phrases import NEUTRAL, has_pack, phrases

_COURSE_OBJECTIVES = 8


def gathered(parts: Sequence[Lesson | SectionOut], most: int) -> tuple[tuple[KeyTerm, ...], tuple[Citation, ...]]:
    """Terms of several parts that are defined, one from each part in turn, with their citations numbered anew."""
    queues = [[(term, part.citations) for term in part.key_terms if term.citation is not None] for part in parts]
    terms: dict[str, KeyTerm] = {}
    citations: list[Citation] = []
    for turn in range(max(map(len, queues), default=0)):
        for term, known in (queue[turn] for queue in queues if turn < len(queue)):
            if len(terms) == most or term.citation is None or term.term.lower() in terms:
                continue
            citations.append(known[term.citation])
            terms[term.term.lower()] = msgspec.structs.replace(term, citation=len(citations) - 1)
    return tuple(terms.values()), tuple(citations)


def course_objectives(structure: CourseStructure) -> tuple[str, ...]:
    """What the sections in the course's own language are for."""
    language, style = structure.language, structure.style
    speech = phrases(language)
    wanted: list[str] = []
    for section in structure.sections:
        if section.language != language:
            continue
        question = as_question(section.title, language)
        if question:
            wanted.append(speech.say("objective_question", style, question=question))
        else:
            heading = speech.quoted(section.title)
            wanted.append(speech.say("course_objective", style, heading=heading))
    return tuple(wanted[:_COURSE_OBJECTIVES])


def course_summary(structure: CourseStructure, documents: int, sections: Sequence[SectionOut]) -> str:
    """One sentence about what the course is made from, in its language."""
    language = structure.language
    speech = phrases(language if has_pack(language) else NEUTRAL)
    counts = {
        "documents": documents,
        "sections": len(sections),
        "lessons": sum(len(section.lessons) for section in sections),
    }
    said = {
        name: speech.say(f"{name}_{'one' if count == 1 else 'many'}", "", count=count) for name, count in counts.items()
    }
    return speech.say("course_summary", "", title=structure.title, **said)

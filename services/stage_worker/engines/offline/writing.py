"""Writing: a plan becomes a course, from the lessons up: a section is told by its lessons, a course by its sections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from services.stage_worker.course.checks import lesson_words
from services.stage_worker.course.model import Citation, Course, KeyTerm, Lesson, SectionOut, SourceFile
from services.stage_worker.course.structure import CourseStructure, LessonPlan, SectionPlan
from services.stage_worker.engines.offline import goals
from services.stage_worker.engines.offline.excerpts import Sentence, excerpts_of, plain_text, without_item
from services.stage_worker.engines.offline.forms import content
from services.stage_worker.engines.offline.index import Index
from services.stage_worker.engines.offline.lesson import LessonMaterial
from services.stage_worker.engines.offline.pen import citation
from services.stage_worker.engines.offline.pieces import Form
from services.stage_worker.engines.offline.questions import as_question
from services.stage_worker.engines.offline.sizes import density_of
from services.stage_worker.engines.offline.terms import Lexicon
from services.stage_worker.engines.offline.vectors import Space
from services.stage_worker.language.phrases import has_pack, phrases

_SUMMARY_SENTENCES = 2
_SECTION_SUMMARY_LESSONS = 3
_SECTION_TERMS = 8
_COURSE_TERMS = 12
_COURSE_OBJECTIVES = 8


@dataclass(frozen=True, slots=True)
class _Written:
    lesson: Lesson
    gist: Citation | None
    """Its most telling sentence."""


class Writer:
    """Knows the words of all lessons of a language, so that each lesson's own stand out."""

    def __init__(self, index: Index, structure: CourseStructure, engine: str) -> None:
        self._index = index
        self._structure = structure
        self._engine = engine
        self._density = density_of(index.words())
        self._lexicons: dict[str, Lexicon] = {}
        self._weights: dict[str, dict[str, float]] = {}
        for language in sorted({lesson.language for section in structure.sections for lesson in section.lessons}):
            self._learn(language)

    def course(self) -> Course:
        """The whole course."""
        structure = self._structure
        sections = tuple(self._section(section, at) for at, section in enumerate(structure.sections, 1))
        own = [section for section in sections if section.language == structure.language]
        terms, citations = _gathered(own, _COURSE_TERMS)
        return Course(
            title=structure.title,
            language=structure.language,
            style=structure.style,
            draft=False,
            engine=self._engine,
            notes=structure.notes,
            objectives=_course_objectives(structure),
            summary=self._summary(sections),
            key_terms=terms,
            citations=citations,
            sources=tuple(
                SourceFile(
                    document_id=each.document_id, filename=each.filename, title=each.title, language=each.language
                )
                for each in self._index.material.documents
            ),
            sections=sections,
        )

    def _learn(self, language: str) -> None:
        lessons = [
            each for section in self._structure.sections for each in section.lessons if each.language == language
        ]
        texts = [plain_text(self._index, excerpts_of(self._index, lesson)) for lesson in lessons]
        self._lexicons[language] = Lexicon(texts, language)
        self._weights[language] = Space(texts, language).weights

    def _section(self, plan: SectionPlan, number: int) -> SectionOut:
        written = [self._lesson(each, f"s{number}l{at}") for at, each in enumerate(plan.lessons, 1)]
        lessons = tuple(each.lesson for each in written)
        same = [each for each in written if each.lesson.language == plan.language]
        terms, citations = _gathered([each.lesson for each in same], _SECTION_TERMS)
        told = [each.gist for each in same if each.gist is not None][:_SECTION_SUMMARY_LESSONS]
        return SectionOut(
            id=f"s{number}",
            title=plan.title,
            language=plan.language,
            objectives=tuple(each.lesson.objectives[0] for each in same if each.lesson.objectives),
            summary=_joined((without_item(each.quote) for each in told), plan.language),
            key_terms=terms,
            citations=tuple(dict.fromkeys([*citations, *told])),
            lessons=lessons,
        )

    def _lesson(self, plan: LessonPlan, lesson_id: str) -> _Written:
        language = plan.language
        material = LessonMaterial.of(
            self._index, plan, self._structure.style, self._lexicons[language], self._weights[language]
        )
        text = content(material, self._density)
        summary = _summary_sentences(material)
        for sentence in summary:
            material.pen.cite_within(sentence.document, sentence.span)
        lesson = Lesson(
            id=lesson_id,
            title=plan.title,
            language=language,
            objectives=goals.objectives(material),
            summary=_joined((without_item(sentence.text) for sentence in summary), language),
            content=text,
            key_terms=goals.key_terms(material),
            exercises=goals.exercises(material),
            citations=tuple(material.pen.citations),
            words=lesson_words(text),
        )
        gist = max(summary, key=material.ranking.score, default=None)
        return _Written(lesson, citation(self._index, gist.document, gist.span) if gist else None)

    def _summary(self, sections: tuple[SectionOut, ...]) -> str:
        language = self._structure.language
        speech = phrases(language if has_pack(language) else "und")
        counts = {
            "documents": len(self._index.material.documents),
            "sections": len(sections),
            "lessons": sum(len(section.lessons) for section in sections),
        }
        said = {
            name: speech.say(f"{name}_{'one' if count == 1 else 'many'}", "", count=count)
            for name, count in counts.items()
        }
        return speech.say("course_summary", "", title=self._structure.title, **said)


def _summary_sentences(material: LessonMaterial) -> list[Sentence]:
    """The most telling sentences of the lesson, in their order."""
    prose = [each for each in material.sentences if each.form is Form.PROSE]
    return material.ranking.best(prose or material.sentences, _SUMMARY_SENTENCES)


def _gathered(parts: Sequence[Lesson | SectionOut], most: int) -> tuple[tuple[KeyTerm, ...], tuple[Citation, ...]]:
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


def _course_objectives(structure: CourseStructure) -> tuple[str, ...]:
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


def _joined(sentences: Iterable[str], language: str) -> str:
    """Sentences one after another; without spaces where the language has none."""
    return ("" if language in {"zh", "ja"} else " ").join(" ".join(each.split()) for each in sentences)

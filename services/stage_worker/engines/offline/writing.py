"""Writing: a plan becomes a course, from the lessons up: a section is told by its lessons, a course by its sections."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.stage_worker.course.checks import lesson_words
from services.stage_worker.course.model import Citation, Course, Lesson, SectionOut, SourceFile
from services.stage_worker.course.structure import CourseStructure, LessonPlan, SectionPlan
from services.stage_worker.engines.gathering import course_objectives, course_summary, gathered
from services.stage_worker.engines.offline import goals
from services.stage_worker.engines.offline.excerpts import Sentence, excerpts_of, plain_text, without_item
from services.stage_worker.engines.offline.forms import content
from services.stage_worker.engines.offline.index import Index
from services.stage_worker.engines.offline.lesson import LessonMaterial
from services.stage_worker.engines.offline.pen import citation
from services.stage_worker.engines.offline.pieces import Form
from services.stage_worker.engines.offline.sizes import density_of
from services.stage_worker.engines.offline.terms import Lexicon
from services.stage_worker.engines.offline.weights import rarities

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
        self._density = density_of(index.words(), structure.style)
        self._lexicons: dict[str, Lexicon] = {}
        self._weights: dict[str, dict[str, float]] = {}
        for language in sorted({lesson.language for section in structure.sections for lesson in section.lessons}):
            self._learn(language)

    def course(self) -> Course:
        """The whole course."""
        structure = self._structure
        sections = tuple(self._section(section, at) for at, section in enumerate(structure.sections, 1))
        own = [section for section in sections if section.language == structure.language]
        terms, citations = gathered(own, _COURSE_TERMS)
        return Course(
            title=structure.title,
            language=structure.language,
            style=structure.style,
            draft=False,
            engine=self._engine,
            notes=structure.notes,
            objectives=course_objectives(structure),
            summary=course_summary(structure, len(self._index.material.documents), sections),
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
        self._weights[language] = rarities(texts, language)

    def _section(self, plan: SectionPlan, number: int) -> SectionOut:
        written = [self._lesson(each, f"s{number}l{at}") for at, each in enumerate(plan.lessons, 1)]
        lessons = tuple(each.lesson for each in written)
        same = [each for each in written if each.lesson.language == plan.language]
        terms, citations = gathered([each.lesson for each in same], _SECTION_TERMS)
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


def _summary_sentences(material: LessonMaterial) -> list[Sentence]:
    """The most telling sentences of the lesson, in their order."""
    prose = [each for each in material.sentences if each.form is Form.PROSE]
    return material.ranking.best(prose or material.sentences, _SUMMARY_SENTENCES)


def _joined(sentences: Iterable[str], language: str) -> str:
    """Sentences one after another; without spaces where the language has none."""
    return ("" if language in {"zh", "ja"} else " ").join(" ".join(each.split()) for each in sentences)

"""What every course must pass before it is stored; the worker refuses to commit one that does not.

Each check says in a sentence what is wrong and where. An empty list means the course keeps its promises: exact
citations, one language in a lesson, lessons of a readable length that do not repeat each other, and at least nine
tenths of the material's headings covered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from services.stage_worker.course.model import Citation, Course, KeyTerm, Lesson
from services.stage_worker.engines.material import Material, SourceDocument
from services.stage_worker.language.detection import script_of
from services.stage_worker.language.sentences import sentence_spans
from services.stage_worker.language.words import count_words

MINIMUM_WORDS = 150
MAXIMUM_WORDS = 1200
LARGEST_SHARE = 0.2
"""Of the shorter lesson's sentences, how many another lesson may repeat."""
LEAST_COVERAGE = 0.9
"""Of the material's headings, how many must be covered."""

_MARK = re.compile(r"\s*(?<!\\)\[(\d+)\]")
"""A mark of ours; brackets that the material itself has are escaped in a lesson's content."""
_CODE = re.compile(r"(^```.*?(?:^```$|\Z))", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} .*$", re.MULTILINE)
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_FEWEST_WORDS_OF_A_SENTENCE = 3
_SCRIPT_SAMPLE_LETTERS = 60


def validate(course: Course, material: Material) -> list[str]:
    """Everything that is wrong with the course, measured against the material it was made from."""
    problems = [*_shape(course), *_text(course)]
    if course.draft:
        return [*problems, *_draft(course)]
    documents = {document.document_id: document for document in material.documents}
    problems += _citations(course, documents)
    for lesson in lessons_of(course):
        problems += _lesson(lesson, documents)
    problems += _lengths(course)
    problems += _repetition(course)
    problems += _coverage(course, material)
    return problems


def lessons_of(course: Course) -> Iterator[Lesson]:
    """All lessons in order."""
    for section in course.sections:
        yield from section.lessons


def without_marks(content: str) -> str:
    """A lesson's content without its citation marks."""
    parts = _CODE.split(content)
    parts[::2] = [_MARK.sub("", part) for part in parts[::2]]
    return "".join(parts)


def marks_of(content: str) -> list[int]:
    """The citation numbers a lesson's content refers to, in order."""
    return [int(match.group(1)) for match in _MARK.finditer(_CODE.sub("", content))]


def lesson_words(content: str) -> int:
    """The words of a lesson's content as a reader counts them."""
    return count_words(without_marks(content))


def sentences_of(content: str, language: str) -> list[str]:
    """The sentences of a lesson's content in a form that can be compared; headings, code and single words are none."""
    text = _HEADING.sub("", _CODE.sub("", without_marks(content)))
    found = (text[start:end] for start, end in sentence_spans(text, language))
    lines = (line for sentence in found for line in sentence.splitlines())
    plain = (re.sub(r"[\W_]+", " ", line).strip().lower() for line in lines)
    return [sentence for sentence in plain if count_words(sentence) >= _FEWEST_WORDS_OF_A_SENTENCE]


def uncovered_headings(course: Course, material: Material) -> list[str]:
    """Headings whose text no citation touches, and whose subsections are not covered either.

    A heading with no text at all under it has nothing to cover.
    """
    cited: dict[str, list[tuple[int, int]]] = {}
    for lesson in lessons_of(course):
        for citation in lesson.citations:
            cited.setdefault(citation.document_id, []).append((citation.start, citation.end))
    missing: list[str] = []
    for document in material.documents:
        missing += _uncovered(document, cited.get(document.document_id, []))
    return missing


def _shape(course: Course) -> Iterator[str]:
    if not course.sections:
        yield "the course has no sections"
    ids = [section.id for section in course.sections] + [lesson.id for lesson in lessons_of(course)]
    if len(set(ids)) != len(ids):
        yield "two parts of the course have the same id"
    for section in course.sections:
        if not section.lessons:
            yield f"section {section.id} has no lessons"


def _text(course: Course) -> Iterator[str]:
    for section in course.sections:
        if not section.title.strip():
            yield f"section {section.id} has no title"
    for lesson in lessons_of(course):
        if not lesson.title.strip():
            yield f"lesson {lesson.id} has no title"
        if _UNPRINTABLE.search(lesson.content + lesson.title + lesson.summary):
            yield f"lesson {lesson.id} contains characters that cannot be printed"


def _draft(course: Course) -> Iterator[str]:
    if not course.notes:
        yield "a draft must say that material is missing"
    cited = [course.citations, *(section.citations for section in course.sections)]
    if any(cited) or any(lesson.citations for lesson in lessons_of(course)):
        yield "a draft cannot cite anything"


def _citations(course: Course, documents: dict[str, SourceDocument]) -> Iterator[str]:
    yield from _cited("the course", course.citations, course.key_terms, documents)
    for section in course.sections:
        yield from _cited(f"section {section.id}", section.citations, section.key_terms, documents)
    for lesson in lessons_of(course):
        yield from _cited(f"lesson {lesson.id}", lesson.citations, lesson.key_terms, documents)


def _cited(
    place: str, citations: tuple[Citation, ...], terms: tuple[KeyTerm, ...], documents: dict[str, SourceDocument]
) -> Iterator[str]:
    for number, citation in enumerate(citations, 1):
        document = documents.get(citation.document_id)
        if document is None:
            yield f"{place} cites a document that is not in the material: {citation.document_id}"
        elif not _is_exact(citation, document):
            yield f"{place}, citation {number}: the quote is not the text of the document at that place"
    for term in terms:
        if term.citation is not None and not 0 <= term.citation < len(citations):
            yield f"{place}: the term {term.term} points at a citation that does not exist"


def _is_exact(citation: Citation, document: SourceDocument) -> bool:
    if not 0 <= citation.start < citation.end <= len(document.text):
        return False
    return document.text[citation.start : citation.end] == citation.quote


def _lesson(lesson: Lesson, documents: dict[str, SourceDocument]) -> Iterator[str]:
    if not lesson.citations:
        yield f"lesson {lesson.id} cites nothing"
    for number in marks_of(lesson.content):
        if not 1 <= number <= len(lesson.citations):
            yield f"lesson {lesson.id} refers to citation {number}, which does not exist"
            break
    for exercise in lesson.exercises:
        if exercise.citation is not None and not 0 <= exercise.citation < len(lesson.citations):
            yield f"lesson {lesson.id}: an exercise points at a citation that does not exist"
    if lesson.words != lesson_words(lesson.content):
        yield f"lesson {lesson.id} miscounts its words"
    yield from _one_language(lesson)


def _one_language(lesson: Lesson) -> Iterator[str]:
    """Languages of different scripts are told apart paragraph by paragraph; names and code may be foreign."""
    main = script_of(lesson.content)
    for paragraph in _CODE.sub("", lesson.content).split("\n\n"):
        letters = sum(character.isalpha() for character in paragraph)
        if letters >= _SCRIPT_SAMPLE_LETTERS and script_of(paragraph) != main:
            yield f"lesson {lesson.id} mixes languages: {paragraph[:60]!r}"
            return


def _lengths(course: Course) -> Iterator[str]:
    """A lesson may be short only where it holds all there is in its language."""
    languages = [lesson.language for lesson in lessons_of(course)]
    for lesson in lessons_of(course):
        if lesson.words > MAXIMUM_WORDS:
            yield f"lesson {lesson.id} has {lesson.words} words, more than {MAXIMUM_WORDS}"
        if lesson.words < MINIMUM_WORDS and languages.count(lesson.language) > 1:
            yield f"lesson {lesson.id} has {lesson.words} words, fewer than {MINIMUM_WORDS}"


def _repetition(course: Course) -> Iterator[str]:
    seen: dict[str, list[int]] = {}
    known: list[tuple[str, int]] = []
    for index, lesson in enumerate(lessons_of(course)):
        unique = set(sentences_of(lesson.content, lesson.language))
        known.append((lesson.id, len(unique)))
        shared: dict[int, int] = {}
        for sentence in sorted(unique):
            for other in seen.get(sentence, ()):
                shared[other] = shared.get(other, 0) + 1
            seen.setdefault(sentence, []).append(index)
        for other, count in sorted(shared.items()):
            if count > LARGEST_SHARE * min(len(unique), known[other][1]):
                yield f"lessons {known[other][0]} and {lesson.id} share {count} sentences"


def _coverage(course: Course, material: Material) -> Iterator[str]:
    total = sum(_coverable(document) for document in material.documents)
    missing = uncovered_headings(course, material)
    if total and len(missing) > (1 - LEAST_COVERAGE) * total:
        yield f"{len(missing)} of {total} headings are not covered, among them {missing[0]!r}"


def _uncovered(document: SourceDocument, spans: Iterable[tuple[int, int]]) -> Iterator[str]:
    cited = sorted(spans)
    touched = [
        any(start < section.end and section.start < end for start, end in cited) for section in document.sections
    ]
    touched_by_text = [section.start < section.end for section in document.sections]
    for index, section in enumerate(document.sections):
        coverable = touched_by_text[index] or _covered_below(document, index, touched_by_text)
        if section.heading and coverable and not touched[index] and not _covered_below(document, index, touched):
            yield section.heading


def _coverable(document: SourceDocument) -> int:
    """How many headings have any text under them, their own or that of their subsections."""
    touched = [section.start < section.end for section in document.sections]
    return sum(
        1
        for index, section in enumerate(document.sections)
        if section.heading and (touched[index] or _covered_below(document, index, touched))
    )


def _covered_below(document: SourceDocument, index: int, touched: list[bool]) -> bool:
    """A heading with nothing of its own under it is covered when one of its subsections is."""
    section = document.sections[index]
    if section.start < section.end:
        return False
    for below in range(index + 1, len(document.sections)):
        if document.sections[below].level <= section.level:
            return False
        if touched[below]:
            return True
    return False

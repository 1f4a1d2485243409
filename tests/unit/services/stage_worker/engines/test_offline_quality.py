"""The measures of quality, on the four examples and on documents that the engine was not written for."""

from __future__ import annotations

import functools
import itertools

import pytest

from services.stage_worker.course import Course, to_markdown, validate
from services.stage_worker.course.checks import lessons_of, sentences_of, uncovered_headings, without_marks
from services.stage_worker.engines.material import STYLES, Material
from services.stage_worker.engines.offline import analyse_sync, generate_sync
from services.stage_worker.language.detection import detect, script_of
from tests.support.material import EXAMPLES, UNSEEN, chapters, material_from, material_of

_SETS = {"examples": EXAMPLES, "unseen": UNSEEN, "one unseen": UNSEEN[:1]}


@functools.lru_cache(maxsize=32)
def made(which: str, style: str) -> tuple[Material, Course]:
    """The course from a set of documents in a style; made once for all tests."""
    material = material_of(*_SETS[which], style=style)
    return material, generate_sync(material, analyse_sync(material))


every = pytest.mark.parametrize(("which", "style"), list(itertools.product(_SETS, STYLES)))


@every
def test_a_course_passes_every_check(which: str, style: str) -> None:
    """The worker's own checks find nothing."""
    material, course = made(which, style)

    assert validate(course, material) == []


@every
def test_at_least_three_sections_and_nine_lessons(which: str, style: str) -> None:
    """A few documents are worth nine lessons; one of three pages is worth six, or three where half of it is told."""
    _, course = made(which, style)
    fewest = 9 if which != "one unseen" else 6

    assert len(course.sections) >= 3
    assert len(list(lessons_of(course))) >= (fewest if style != "concise" else 3)


@every
def test_every_lesson_cites_exact_spans(which: str, style: str) -> None:
    """A quotation is the text between its offsets, in one of the documents, and every passage has a mark."""
    material, course = made(which, style)
    texts = {document.document_id: document.text for document in material.documents}
    for lesson in lessons_of(course):
        assert lesson.citations
        for citation in lesson.citations:
            assert texts[citation.document_id][citation.start : citation.end] == citation.quote
            assert citation.quote.strip()


@every
def test_nine_tenths_of_the_headings_are_covered(which: str, style: str) -> None:
    """By citations, and literally: a reader finds them in the course."""
    material, course = made(which, style)
    headings = [section.heading for document in material.documents for section in document.sections if section.heading]
    text = to_markdown(course).replace("\\", "")

    assert len(uncovered_headings(course, material)) <= 0.1 * len(headings)
    assert sum(heading in text for heading in headings) >= 0.9 * len(headings)


@every
def test_no_two_lessons_share_a_fifth_of_their_sentences(which: str, style: str) -> None:
    """Frames of ours included."""
    _, course = made(which, style)
    sentences = [set(sentences_of(lesson.content, lesson.language)) for lesson in lessons_of(course)]
    for first, second in itertools.combinations(sentences, 2):
        assert len(first & second) <= 0.2 * min(len(first), len(second))


@every
def test_lessons_are_neither_too_short_nor_too_long(which: str, style: str) -> None:
    """150 to 1,200 words, the longest also with everything around the text."""
    _, course = made(which, style)
    for lesson in lessons_of(course):
        assert 150 <= len(without_marks(lesson.content).split()) <= 1_200
        parts = [lesson.content, lesson.summary, *lesson.objectives]
        parts += [each.definition or "" for each in lesson.key_terms] + [each.prompt for each in lesson.exercises]
        assert sum(len(part.split()) for part in parts) <= 1_400


@every
def test_a_lesson_never_mixes_languages(which: str, style: str) -> None:
    """Its text, its frame and its title are in one language, the one it names."""
    _, course = made(which, style)
    for lesson in lessons_of(course):
        assert detect(lesson.content) == lesson.language
        script = script_of(lesson.content)
        for part in (lesson.title, lesson.summary, *lesson.objectives, *(each.prompt for each in lesson.exercises)):
            assert script_of(part) == script


@every
def test_lessons_are_complete(which: str, style: str) -> None:
    """Each has a goal, a summary, something to do, and most have terms."""
    _, course = made(which, style)
    lessons = list(lessons_of(course))
    for lesson in lessons:
        assert 1 <= len(lesson.objectives) <= 3
        assert lesson.summary
        assert 1 <= len(lesson.exercises) <= 4
        assert len(lesson.key_terms) <= 6
    assert sum(bool(lesson.key_terms) for lesson in lessons) >= 0.8 * len(lessons)
    assert len({lesson.title for lesson in lessons}) == len(lessons)


@pytest.mark.parametrize("which", _SETS)
def test_the_language_of_the_course_is_that_of_most_of_the_text(which: str) -> None:
    """Three English documents and a Russian one make an English course with Russian lessons in it."""
    _, course = made(which, "academic")

    assert course.language == "en"
    assert {lesson.language for lesson in lessons_of(course)} == ({"en"} if which == "one unseen" else {"en", "ru"})


def test_the_language_asked_for_is_the_course_s_but_not_the_lessons() -> None:
    """Nothing is translated: the frame of the course is in the language asked for, lessons stay as they are."""
    material = material_of(*EXAMPLES, language="ru")
    course = generate_sync(material, analyse_sync(material))

    assert course.language == "ru"
    assert script_of(course.summary) == "Cyrillic"
    assert {lesson.language for lesson in lessons_of(course)} == {"en", "ru"}


@pytest.mark.parametrize("which", _SETS)
def test_the_style_changes_the_form(which: str) -> None:
    """Not a word here and there: order, length, layout, objectives and exercises differ."""
    courses = {style: made(which, style)[1] for style in STYLES}
    contents = {style: [lesson.content for lesson in lessons_of(course)] for style, course in courses.items()}
    words = {style: sum(lesson.words for lesson in lessons_of(course)) for style, course in courses.items()}
    kinds = {
        style: {exercise.kind for lesson in lessons_of(course) for exercise in lesson.exercises}
        for style, course in courses.items()
    }

    assert words["concise"] < 0.75 * words["academic"]
    assert any("- [ ] " in content for content in contents["practical"])
    assert not any("- [ ] " in content for content in contents["academic"])
    assert all(any(content.startswith("- ") for content in text.split("\n\n")) for text in contents["concise"])
    assert sum(content.count("?") for content in contents["conversational"]) >= len(contents["conversational"])
    assert kinds["academic"] != kinds["practical"]
    assert len({tuple(lesson.objectives for lesson in lessons_of(course)) for course in courses.values()}) == 4


def test_sections_follow_the_material() -> None:
    """Chapters become sections or lessons in their own order, under their own names."""
    material = material_from(chapters(9, 320))
    course = generate_sync(material, analyse_sync(material))
    titles = " ".join(lesson.title for lesson in lessons_of(course))
    places = [titles.index(section.heading) for section in material.documents[0].sections[1:]]

    assert validate(course, material) == []
    assert places == sorted(places)
    assert 3 <= len(course.sections) <= 9

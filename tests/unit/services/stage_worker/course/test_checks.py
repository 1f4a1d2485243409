"""What a course must pass: each rule broken once, on purpose."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from services.stage_worker.course import Citation, Course, Exercise, KeyTerm, Lesson, SectionOut, validate
from services.stage_worker.course.checks import lesson_words, marks_of, sentences_of, uncovered_headings, without_marks
from services.stage_worker.engines.material import Material
from services.stage_worker.engines.offline import analyse_sync, generate_sync
from tests.support.material import chapters, material_from, prose

replace = msgspec.structs.replace


@functools.lru_cache(maxsize=1)
def sound() -> tuple[Course, Material]:
    """A course without faults, and its material."""
    material = material_from(chapters(6, 260))
    return generate_sync(material, analyse_sync(material)), material


def with_lesson(change: Callable[[Lesson], Lesson]) -> Course:
    """The sound course with its first lesson changed."""
    course, _ = sound()
    section = course.sections[0]
    lessons = (change(section.lessons[0]), *section.lessons[1:])
    return replace(course, sections=(replace(section, lessons=lessons), *course.sections[1:]))


def rewritten(content: str) -> Callable[[Lesson], Lesson]:
    """Another content, counted rightly."""
    return lambda lesson: replace(lesson, content=content, words=lesson_words(content))


def miscited(**changes: Any) -> Callable[[Lesson], Lesson]:
    """The first citation changed."""
    return lambda lesson: replace(lesson, citations=(replace(lesson.citations[0], **changes), *lesson.citations[1:]))


def test_a_sound_course_has_no_problems() -> None:
    """The measure of all others."""
    assert validate(*sound()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (miscited(start=1), "quote is not the text"),
        (miscited(end=10_000_000), "quote is not the text"),
        (miscited(quote="something else"), "quote is not the text"),
        (miscited(document_id="another"), "not in the material"),
        (lambda lesson: replace(lesson, citations=()), "cites nothing"),
        (lambda lesson: replace(lesson, words=1), "miscounts"),
        (lambda lesson: replace(lesson, title=" "), "no title"),
        (lambda lesson: replace(lesson, id="s1l2"), "same id"),
        (lambda lesson: replace(lesson, key_terms=(KeyTerm(term="x", citation=99),)), "does not exist"),
        (lambda lesson: replace(lesson, exercises=(Exercise(kind="task", prompt="x", citation=99),)), "does not exist"),
        (rewritten("Bread. [1]"), "fewer than 150"),
        (rewritten("Bread is good. [1]\n\n" + prose(1_300)), "more than 1200"),
        (rewritten(prose(200) + " [77]"), "refers to citation 77"),
        (rewritten(prose(200) + "\x00"), "cannot be printed"),
        (
            rewritten(
                prose(200) + "\n\nХлеб пекут из муки, воды, соли и закваски, а потом долго ждут, пока он остынет."
            ),
            "mixes languages",
        ),
    ],
)
def test_each_fault_of_a_lesson_is_named(change: Callable[[Lesson], Lesson], words: str) -> None:
    """One problem, in a sentence that says where."""
    problems = validate(with_lesson(change), sound()[1])

    assert any(words in problem for problem in problems)


def test_two_lessons_that_repeat_each_other_are_named() -> None:
    """More than a fifth of the shorter one's sentences."""
    course, material = sound()
    other = course.sections[-1].lessons[-1]
    problems = validate(with_lesson(lambda lesson: replace(lesson, content=other.content, words=other.words)), material)

    assert any(f"and {other.id} share" in problem for problem in problems)


def test_headings_that_are_not_covered_are_counted() -> None:
    """One in ten may be missing, and no more."""
    course, material = sound()
    shortened = replace(course, sections=course.sections[:1])

    assert uncovered_headings(course, material) == []
    assert any("headings are not covered" in problem for problem in validate(shortened, material))


def test_a_course_without_sections_or_lessons_is_none() -> None:
    """Both are named."""
    course, material = sound()
    empty = SectionOut(
        id="s9", title="", language="en", objectives=(), summary="", key_terms=(), citations=(), lessons=()
    )

    assert "the course has no sections" in validate(replace(course, sections=()), material)
    problems = validate(replace(course, sections=(*course.sections, empty)), material)
    assert {"section s9 has no lessons", "section s9 has no title"} <= set(problems)


def test_a_draft_cites_nothing_and_says_why() -> None:
    """Both rules of an outline from a title."""
    draft = generate_sync(Material(title="Bread"), analyse_sync(Material(title="Bread")))
    citation = Citation(document_id="x", start=0, end=1, quote="x")

    assert validate(draft, Material(title="Bread")) == []
    assert validate(replace(draft, notes=()), Material(title="Bread")) == ["a draft must say that material is missing"]
    assert validate(replace(draft, citations=(citation,)), Material(title="Bread")) == ["a draft cannot cite anything"]


def test_marks_are_ours_only_outside_code_and_unescaped() -> None:
    """Brackets of the material are escaped, and code is code."""
    content = "Said. [1][2] As in \\[12\\]. [3]\n\n```\nvalue[4] = 1\n```\n\nEnd. [5]"

    assert marks_of(content) == [1, 2, 3, 5]
    assert without_marks(content) == "Said. As in \\[12\\].\n\n```\nvalue[4] = 1\n```\n\nEnd."
    assert sentences_of("# Heading\n\nOne two three. [1] Yes. Four five six!", "en") == [
        "one two three",
        "four five six",
    ]


def test_a_lesson_may_be_short_if_it_is_all_there_is() -> None:
    """A document of four sentences makes a lesson of four sentences."""
    material = material_from("Bread is baked. It needs heat. The crust is brown. The crumb is soft.")

    assert validate(generate_sync(material, analyse_sync(material)), material) == []

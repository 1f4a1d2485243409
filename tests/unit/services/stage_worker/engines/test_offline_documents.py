"""Sensible work on any document: tiny, without headings, of lists, code, tables, in other scripts, twice the same."""

from __future__ import annotations

import re

import pytest

from services.kernel.errors import PermanentError
from services.stage_worker.course import Course, validate
from services.stage_worker.course.checks import lessons_of, uncovered_headings
from services.stage_worker.engines.material import STYLES, Material
from services.stage_worker.engines.offline import analyse_sync, generate_sync
from tests.support.material import UNSEEN, chapters, material_from, prose

_TINY = "Bees live in hives. They make honey. A queen lays eggs. Workers feed the brood."
_YEAR = next(path for path in UNSEEN if path.suffix == ".md").read_text(encoding="utf-8")


def course_of(material: Material) -> Course:
    """Plan, write and check."""
    course = generate_sync(material, analyse_sync(material))
    assert validate(course, material) == []
    return course


@pytest.mark.parametrize("style", STYLES)
def test_a_few_sentences_make_one_short_lesson_that_says_so(style: str) -> None:
    """Nothing is invented to fill a lesson."""
    course = course_of(material_from(_TINY, style=style))
    [lesson] = lessons_of(course)

    assert "short" in course.notes[0]
    assert "A queen lays eggs." in lesson.content
    assert not course.draft


def test_a_document_without_headings_is_parted_where_its_subject_turns() -> None:
    """Lessons get titles from what they speak of, each its own."""
    flat = re.sub(r"^#.*\n", "", _YEAR, flags=re.MULTILINE)
    course = course_of(material_from(flat))
    titles = [lesson.title for lesson in lessons_of(course)]

    assert len(course.sections) >= 3
    assert len(titles) == len(set(titles)) >= 6
    assert not any(re.search(r"\(\d", title) for title in titles)


@pytest.mark.parametrize("variety", [1, 2, 5])
def test_sections_of_a_monotonous_text_have_names_of_their_own(variety: int) -> None:
    """However alike the paragraphs are, no two sections and no two lessons are called the same."""
    subjects = ("the hive", "the queen", "the harvest", "the winter", "the swarm")[:variety]
    text = "\n\n".join(
        f"A keeper looks after {subjects[number % variety]} in year {number}, and year {number} asks for patience because "
        f"{subjects[number % variety]} changes with the weather of week {number} and with the flowers around it."
        for number in range(120)
    )
    course = course_of(material_from(text, suffix=".txt"))
    sections = [section.title for section in course.sections]
    lessons = [lesson.title for lesson in lessons_of(course)]

    assert len(sections) == len(set(sections)) >= 2
    assert len(lessons) == len(set(lessons))


@pytest.mark.parametrize(("note", "language"), [("Bienen sammeln Nektar.", "de"), ("Plants need water.", "en")])
def test_a_note_of_one_line_gets_a_lesson_in_words(note: str, language: str) -> None:
    """Its language is likely enough, so its goals and exercises are sentences."""
    course = course_of(material_from(note, suffix=".txt"))
    [lesson] = lessons_of(course)

    assert (course.language, lesson.language) == (language, language)
    assert re.search(r"\w+ \w+", lesson.objectives[0].replace("document-0", ""))


def test_a_document_of_no_language_takes_that_of_the_others_or_the_one_asked_for() -> None:
    """A page of figures beside a text belongs to it; a language of another script is not believed."""
    figures = "Q1 17 Q2 18 Q3 19 " * 30
    beside = course_of(material_from(_TINY, figures, suffix=".txt"))
    asked = course_of(material_from(figures, suffix=".txt", language="fr"))
    of_another_script = course_of(material_from(figures, suffix=".txt", language="ru"))

    assert {lesson.language for lesson in lessons_of(beside)} == {"en"}
    assert {lesson.language for lesson in lessons_of(asked)} == {"fr"}
    assert {lesson.language for lesson in lessons_of(of_another_script)} == {"und"}


def test_one_paragraph_without_end_is_cut_between_sentences() -> None:
    """No lesson is too long only because nobody pressed return."""
    course = course_of(material_from(prose(3_000).replace("\n\n", " ")))

    for lesson in lessons_of(course):
        assert re.search(r"before\. \[\d+\]$", lesson.content)


def test_text_without_a_full_stop_is_cut_at_white_space() -> None:
    """Ten thousand words of one sentence."""
    words = " ".join(f"word{number}" for number in range(10_000))

    assert len(list(lessons_of(course_of(material_from(words))))) > 5


def test_lists_tables_and_code_stay_what_they_are() -> None:
    """Long ones are parted between lines; code keeps its fence, a table its columns."""
    lists = "# Things\n\n" + "\n".join(f"- thing {number} of the kind {number * 7}" for number in range(300))
    tables = "# Rows\n\n| a | b |\n|---|---|\n" + "\n".join(
        f"| row {number} | value {number * 3} |" for number in range(300)
    )
    source = "# Code\n\n```\n" + "\n".join(f"value_{number} = call({number})" for number in range(300)) + "\n```"
    for text, sign in ((lists, "- thing 7 of"), (tables, "| --- | --- |"), (source, "```\nvalue")):
        contents = [lesson.content for lesson in lessons_of(course_of(material_from(text)))]
        assert len(contents) >= 2
        assert any(sign in content for content in contents)
        assert all(content.count("```") % 2 == 0 for content in contents)


def test_source_code_as_plain_text_is_taught_as_code() -> None:
    """It gets numbered parts, not titles made of its keywords."""
    code = "\n".join(f"def f{number}(x):\n    return x + {number}\n" for number in range(300))
    course = course_of(material_from(code, suffix=".txt"))

    assert all("```" in lesson.content for lesson in lessons_of(course))
    assert {lesson.title.split(" (")[0] for lesson in lessons_of(course)} == {"document-0"}


@pytest.mark.parametrize(
    ("sentence", "language"),
    [
        ("第{0}节第{1}句。数据库在修改页面之前先把每个更改写入日志，这样即使断电也不会丢失已提交的事务{0}{1}。", "zh"),
        ("これは第{0}章の文{1}です。データベースは変更{0}と{1}を先にログに書き込みます。", "ja"),
        ("데이터베이스는 변경 사항 {0} 그리고 {1} 을 먼저 로그에 기록합니다.", "ko"),
        ("تكتب قاعدة البيانات التغيير {0} ثم {1} في السجل قبل تعديل الصفحات.", "ar"),
        ("Baza danych zapisuje zmianę {0} oraz {1} w dzienniku, zanim zmieni same strony.", None),
        ("Die Datenbank schreibt die Änderung {0} und {1} zuerst in ein Protokoll, bevor sie die Seiten ändert.", "de"),
    ],
)
def test_any_language_gets_lessons_in_that_language_only(sentence: str, language: str | None) -> None:
    """Also those that we have no phrases for: then there are no phrases of ours at all."""
    parts = [
        f"## {sentence.format(part, 'x')[:20]} {part}\n\n" + " ".join(sentence.format(part, line) for line in range(30))
        for part in range(6)
    ]
    course = course_of(material_from("\n\n".join(parts)))

    assert len(course.sections) >= 3
    if language is not None:
        assert course.language == language
        assert {lesson.language for lesson in lessons_of(course)} == {language}


def test_the_same_document_twice_is_told_once_and_cited_twice() -> None:
    """Duplicates are removed; every place is named."""
    once = course_of(material_from(_YEAR))
    twice = course_of(material_from(_YEAR, _YEAR))
    documents = {citation.document_id for lesson in lessons_of(twice) for citation in lesson.citations}

    assert sum(lesson.words for lesson in lessons_of(twice)) == sum(lesson.words for lesson in lessons_of(once))
    assert len(documents) == 2
    assert any("more than one place" in note for note in twice.notes)


def test_two_documents_on_one_subject_are_merged_by_topic() -> None:
    """What both say about the same thing stands side by side, under the heading of the first."""
    yeast = "Yeast is a small fungus that eats sugar and gives off gas. The gas of the yeast lifts the dough. "
    ovens = "An oven stores heat in its stones. The stones of the oven give the heat to the crust of the loaf. "
    grain = "Wheat is milled between rollers. The miller sifts the bran from the flour of the wheat. "
    shops = "A shop sells loaves in the morning. Customers of the shop pay with coins at the counter. "

    def chapter(title: str, text: str, salt: str) -> str:
        return f"## {title}\n\n" + " ".join(f"{text}Note {salt} {number} says so." for number in range(9))

    first = "\n\n".join(
        ["# First book", chapter("Yeast", yeast, "a"), chapter("Ovens", ovens, "b"), chapter("Grain", grain, "c")]
    )
    second = "\n\n".join(
        [
            "# Second book",
            chapter("Shops", shops, "d"),
            chapter("How yeast works", yeast, "e"),
            chapter("Selling", shops, "f"),
        ]
    )
    course = course_of(material_from(first, second))
    places = {
        citation.document_id: section.title
        for section in course.sections
        for lesson in section.lessons
        if "yeast" in lesson.title.lower()
        for citation in lesson.citations
    }

    assert len(places) == 2
    assert len(set(places.values())) == 1


def test_a_bilingual_document_gives_lessons_of_one_language_each() -> None:
    """Paragraphs of another script are taken out of a section and taught apart, under no foreign heading."""
    russian = "Это русский абзац номер {0}, который рассказывает, как пекарь {0} месит тесто и почему ему важно время."
    parts = [
        f"## Part {number}\n\n{prose(160, number)}\n\n" + " ".join(russian.format(number * 9 + at) for at in range(4))
        for number in range(8)
    ]
    course = course_of(material_from("\n\n".join(["# Bread", *parts])))
    languages = {lesson.language for lesson in lessons_of(course)}

    assert languages == {"en", "ru"}
    for lesson in lessons_of(course):
        if lesson.language == "ru":
            assert not re.search(r"[A-Za-z]{4}", lesson.title + lesson.content)


def test_a_short_quotation_in_another_language_is_left_out() -> None:
    """One foreign sentence is no lesson."""
    quotation = "Хлеб всему голова, говорит старая пословица, и с нею трудно спорить даже сегодня."
    course = course_of(material_from(chapters(6, 250) + f"\n\n{quotation}"))

    assert {lesson.language for lesson in lessons_of(course)} == {"en"}


def test_many_small_documents_share_sections() -> None:
    """Thirty notes of a page each do not make thirty sections."""
    notes = [f"# Note {number}\n\n{prose(180, number)}" for number in range(30)]
    course = course_of(material_from(*notes))

    assert 3 <= len(course.sections) <= 16


def test_headings_without_text_are_covered_by_what_follows_them() -> None:
    """A part with chapters only has nothing of its own to cite."""
    text = "# Book\n\n## Part one\n\n### Dough\n\n" + prose(300, 1) + "\n\n## Part two\n\n### Oven\n\n" + prose(300, 2)
    material = material_from(text)
    course = course_of(material)

    assert uncovered_headings(course, material) == []


def test_a_document_of_headings_only_is_refused_with_a_reason() -> None:
    """There is nothing to teach, and that is said."""
    with pytest.raises(PermanentError, match="headings only"):
        analyse_sync(material_from("# A\n\n## B\n\n## C"))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "title", ["Sourdough", "Закваска", "Sauerteig für Anfänger und alle, die es werden wollen", "酵母"]
)
def test_a_title_alone_gives_an_outline_marked_as_a_draft(title: str, style: str) -> None:
    """Sections and lessons with objectives, no text, no citation, and a note that material is missing."""
    material = Material(title=title, style=style)
    course = generate_sync(material, analyse_sync(material))

    assert validate(course, material) == []
    assert course.draft
    assert len(course.notes) == 1
    assert len(course.sections) >= 1
    assert all(not lesson.content and not lesson.citations for lesson in lessons_of(course))
    assert all(title in lesson.title for lesson in lessons_of(course))


def test_outlines_differ_by_style_and_follow_the_language_asked_for() -> None:
    """The four styles ask for different courses; the title's script decides where no language is given."""
    outlines = {style: analyse_sync(Material(title="Bread", style=style)) for style in STYLES}

    assert len({outline.sections[0].title for outline in outlines.values()}) == 4
    assert analyse_sync(Material(title="Хлеб")).language == "ru"
    assert analyse_sync(Material(title="Bread", language="ru")).sections[0].title == "Предмет и понятия: Bread"


def test_a_tiny_document_in_another_language_still_gets_its_lesson() -> None:
    """Only quotations are left out, never a document."""
    course = course_of(material_from(chapters(6, 250), "Хлеб пекут из муки и воды. Потом он остывает на решётке."))
    [russian] = [lesson for lesson in lessons_of(course) if lesson.language == "ru"]

    assert "Хлеб пекут" in russian.content

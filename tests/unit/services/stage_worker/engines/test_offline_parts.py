"""The parts of the offline engine, each by itself."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stage_worker.engines.offline.actions import tells_to_act
from services.stage_worker.engines.offline.definitions import definitions_in
from services.stage_worker.engines.offline.excerpts import Sentence
from services.stage_worker.engines.offline.index import Index
from services.stage_worker.engines.offline.partition import partition
from services.stage_worker.engines.offline.pen import escape
from services.stage_worker.engines.offline.pieces import Form, cut
from services.stage_worker.engines.offline.ranking import dangles
from services.stage_worker.engines.offline.sizes import Sizes, density_of
from services.stage_worker.engines.offline.terms import Lexicon, candidates, stems_of
from services.stage_worker.engines.offline.titles import plain
from services.stage_worker.engines.offline.vectors import Space, clusters
from services.stage_worker.engines.questions import as_question
from tests.support.material import chapters, material_from


@given(
    st.lists(st.floats(0, 2_000), min_size=1, max_size=40),
    st.floats(50, 900),
    st.floats(10, 300),
)
def test_a_partition_loses_nothing(sizes: list[float], target: float, minimum: float) -> None:
    """Ranges follow each other from first to last."""
    seams = [0.1] * (len(sizes) - 1)
    ranges = partition(sizes, seams, target=target, minimum=minimum, maximum=2 * target + minimum)

    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(sizes)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ranges))
    assert all(start < end for start, end in ranges)


def test_a_partition_keeps_its_bounds_where_it_can() -> None:
    """Small things are put together until they are large enough, and not further."""
    ranges = partition([60, 60, 60, 300, 60, 60, 60], [0.2] * 6, target=200, minimum=150, maximum=400)

    assert ranges == [(0, 3), (3, 4), (4, 7)]


def test_a_costly_seam_is_where_groups_part() -> None:
    """Equal sizes, so the seams decide."""
    assert partition([100] * 4, [0.0, 5.0, 0.0], target=200, minimum=100, maximum=400) == [(0, 2), (2, 4)]


def test_pieces_are_exact_and_know_their_form() -> None:
    """Blocks between empty lines; code may hold an empty line itself."""
    text = "One. Two.\n\n- a\n- b\n\n| x | y |\n\n```\ncode\n\nmore\n```\n\nLast."
    pieces = cut(text, 0, len(text), "en")

    assert [piece.form for piece in pieces] == [Form.PROSE, Form.LIST, Form.TABLE, Form.CODE, Form.PROSE]
    assert [text[piece.start : piece.end] for piece in pieces] == [
        "One. Two.",
        "- a\n- b",
        "| x | y |",
        "code\n\nmore",
        "Last.",
    ]
    assert [text[start:end] for start, end in pieces[0].parts] == ["One.", "Two."]


@given(st.text(alphabet="ab .\n|-`1", max_size=200))
def test_pieces_never_overlap(text: str) -> None:
    """Whatever the text."""
    at = 0
    for piece in cut(text, 0, len(text), "en"):
        assert at <= piece.start < piece.end <= len(text)
        assert piece.parts[0][0] == piece.start
        assert piece.parts[-1][1] == piece.end
        at = piece.end


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a * b", r"a \* b"),
        ("see [3]", r"see \[3\]"),
        ("[link] text", "[link] text"),
        ("snake_case", "snake_case"),
        ("_it_", r"\_it\_"),
        ("# no heading", r"\# no heading"),
        ("<b>", r"\<b>"),
        ("plain", "plain"),
    ],
)
def test_signs_of_markdown_are_escaped(text: str, shown: str) -> None:
    """Only those that would be taken for markup."""
    assert shown == escape(text)


@pytest.mark.parametrize(
    ("heading", "title"),
    [
        ("2.1 Checkpoints", "Checkpoints"),
        ("Chapter 3. The oven", "The oven"),
        ("Глава 1. Начало", "Начало"),
        ("IV. Results", "Results"),
        ("12.", "12."),
        ("3D printing", "3D printing"),
        ("1984", "1984"),
        ("I see", "I see"),
    ],
)
def test_numbers_of_headings_are_left_out_of_titles(heading: str, title: str) -> None:
    """The course has its own numbers; what only looks like one stays."""
    assert title == plain(heading)


@pytest.mark.parametrize(
    ("heading", "language", "question"),
    [
        ("How a log is written", "en", "how a log is written"),
        ("What to do", "en", ""),
        ("Why do databases fail?", "en", ""),
        ("Checkpoints", "en", ""),
        ("Как живёт клещ", "ru", "как живёт клещ"),
        ("Что такое журнал?", "ru", "что такое журнал"),
        ("Wie ein Brot aufgeht", "de", "wie ein Brot aufgeht"),
    ],
)
def test_headings_that_ask_can_stand_within_a_sentence(heading: str, language: str, question: str) -> None:
    """Others are named in quotation marks."""
    assert question == as_question(heading, language)


@pytest.mark.parametrize(
    ("text", "language", "leans"),
    [
        ("This is why it works.", "en", True),
        ("However, it fails.", "en", True),
        ("Thistles grow here.", "en", False),
        ("Поэтому пчёлы спят.", "ru", True),
        ("Пчёлы спят.", "ru", False),
        ("日志。", "zh", False),
    ],
)
def test_sentences_that_lean_on_others_are_known(text: str, language: str, leans: bool) -> None:
    """They are not quoted alone."""
    assert leans == dangles(text, language)


@pytest.mark.parametrize(
    ("text", "language", "acts"),
    [
        ("You should flush the file before renaming it.", "en", True),
        ("Never wait for a person while a lock is held.", "en", True),
        ("A confirmed transaction can never be lost.", "en", False),
        ("Should we go there now, all together?", "en", False),
        ("Копии нужно хранить в другом месте.", "ru", True),
        ("Копии хранят в другом месте.", "ru", False),
    ],
)
def test_instructions_are_told_from_statements(text: str, language: str, acts: bool) -> None:
    """For the checklists of the practical style."""
    assert acts == tells_to_act(text, language)


def _sentence(text: str) -> Sentence:
    return Sentence(0, (0, len(text)), text, Form.PROSE, opens_piece=True, opens_excerpt=True)


@pytest.mark.parametrize(
    ("text", "language", "term"),
    [
        ("A checkpoint is a moment at which all changed pages are written.", "en", "checkpoint"),
        ("Two transactions wait for each other in a circle, which is called a deadlock, and stop.", "en", "deadlock"),
        ("Резервная копия — это состояние данных на известный момент времени.", "ru", "Резервная копия"),
        ("The answer is a matter of taste, as so many other things are.", "en", None),
        ("This is a sentence that defines nothing at all for anybody.", "en", None),
        ("A loaf is good.", "en", None),
    ],
)
def test_definitions_are_found(text: str, language: str, term: str | None) -> None:
    """Sentences that say what something is, and what it is."""
    found = definitions_in([_sentence(text)], language)

    assert [each.term for each in found] == ([term] if term else [])


def test_a_lesson_s_terms_are_those_it_has_more_of_than_others() -> None:
    """What every lesson speaks of is nobody's term; a longer phrase stands for its parts."""
    lessons = [
        "The write-ahead log is written first. Every write-ahead log grows. The dough is here.",
        "The oven is hot. An oven needs stones. The dough is here.",
        "The crust is brown. A crust cracks. The crust sings. The dough is here.",
        "The salt is white. The salt melts. The salt helps. The dough is here.",
        "The bread is done. The bread cools. The bread sleeps. The dough is here.",
    ]
    lexicon = Lexicon(lessons, "en")
    first = [term.text for term in lexicon.terms(lessons[0], (), frozenset(), 3)]
    third = [term.text for term in lexicon.terms(lessons[2], ("Crust",), frozenset(), 3)]

    assert first == ["write-ahead log"]
    assert third[0] == "crust"
    assert "dough" not in first + third


def test_russian_terms_are_named_in_their_base_form() -> None:
    """A reader looks for the nominative."""
    lesson = "Контрольную точку ставят часто. Контрольная точка ускоряет запуск. О контрольной точке помнят."
    terms = Lexicon([lesson], "ru").terms(lesson, ("Контрольная точка",), frozenset(), 2)

    assert terms[0].text == "контрольная точка"


def test_candidates_hold_no_stop_words() -> None:
    """Runs between stop words and punctuation."""
    surfaces = {each.surface for each in candidates("The operating system of the page cache, then disks.", "en")}

    assert "operating system" in surfaces
    assert "page cache" in surfaces
    assert not any(" of " in surface or "cache disks" in surface for surface in surfaces)
    assert stems_of("page caches", "en") == stems_of("pages cache", "en")


def test_things_of_one_owner_never_meet() -> None:
    """However alike: their order is their author's."""
    texts = ["bread dough flour", "bread dough flour", "bread dough flour", "stars moons comets"]
    labels = clusters(Space(texts, "en").similarities(), [0, 0, 1, 1], 0.3)

    assert labels[0] != labels[1]
    assert labels[2] in labels[:2]
    assert labels[3] not in labels[:3]


def test_texts_of_stop_words_have_no_space() -> None:
    """Nothing to compare is no error."""
    assert Space(["the of and", "of the"], "en").similarities().size == 0
    assert clusters(Space(["the", "of"], "en").similarities(), [0, 1], 0.3) == [0, 1]


@pytest.mark.parametrize("words", [1, 40, 300, 1_500, 6_000, 40_000, 100_000, 2_000_000])
def test_sizes_fit_any_amount(words: int) -> None:
    """Lessons of a readable length, at least three sections where there is enough for three lessons."""
    sizes = Sizes.of(words, density_of(words, "academic"))
    told = words * sizes.density

    assert 0 < sizes.density <= 1
    assert told <= 60_000
    assert 150 <= sizes.smallest_lesson * sizes.density <= sizes.lesson * sizes.density <= 650.001
    assert sizes.largest_lesson * sizes.density <= 1_000
    assert sizes.fewest_sections == (3 if told >= 600 else sizes.fewest_sections)


def test_the_index_finds_what_stands_twice() -> None:
    """A paragraph told before is a copy; a sentence told before is repeated."""
    text = (
        "# A\n\nThe oven must be hot before the loaf goes in. The stone keeps the heat for hours.\n\n"
        "# B\n\nThe oven must be hot before the loaf goes in. The stone keeps the heat for hours.\n\n"
        "# C\n\nThe stone keeps the heat for hours. Steam makes the crust shine. Salt slows the yeast. Time gives taste."
    )
    index = Index.of(material_from(text))

    assert len(index.duplicates) == 1
    assert [len(copies) for copies in index.copies.values()] == [1]
    assert len(index.repeated) == 1
    assert [passage.words for passage in index.passages] == [17, 0, 12]


def test_a_list_of_the_document_s_own_headings_is_not_taught() -> None:
    """A table of contents is no material."""
    contents = "## Contents\n\n" + "\n".join(f"- Chapter about {name}" for name in ("bread 0", "dough 1", "flour 2"))
    index = Index.of(material_from(chapters(3, 200).replace("# A book about bread", f"# A book\n\n{contents}", 1)))

    assert "Contents" not in {passage.heading for passage in index.passages}

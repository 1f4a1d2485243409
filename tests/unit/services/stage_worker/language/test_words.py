"""Words, sentences and phrases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stage_worker.language.phrases import has_pack, phrases
from services.stage_worker.language.sentences import sentence_spans, trim
from services.stage_worker.language.words import count_words, stem, stop_words, tokens


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("one two three", 3),
        ("write-ahead log", 2),
        ("don’t stop", 2),
        ("3.14 and 2,500", 4),
        ("Пчёлы живут в улье.", 4),
        ("数据库写入日志", 4),
        ("| a | b |", 2),
    ],
)
def test_words_are_counted_as_a_reader_counts_them(text: str, count: int) -> None:
    """A hyphenated word is one; unspaced letters count two to a word."""
    assert count == count_words(text)


def test_stems_join_the_forms_of_a_word() -> None:
    """What is compared are stems; a language without a stemmer keeps its words."""
    assert stem("checkpoints", "en") == stem("checkpoint", "en")
    assert stem("таблицами", "ru") == stem("таблица", "ru")
    assert stem("ёлка", "ru") == stem("елка", "ru")
    assert stem("word", "xx") == "word"


def test_stop_words_leave_topics_in() -> None:
    """Words that a list calls common but that name topics stay."""
    assert "the" in stop_words("en")
    assert "page" not in stop_words("en")
    assert stop_words("xx") == frozenset()


def test_unspaced_text_gives_pairs_of_letters() -> None:
    """Chinese has no spaces, so neighbouring letters stand for words."""
    assert tokens("数据库") == ["数据", "据库"]


@pytest.mark.parametrize(
    ("text", "language", "sentences"),
    [
        ("Dr. Smith slept. He woke.", "en", ["Dr. Smith slept.", "He woke."]),
        ("В 1985 г. вышла статья. Её читали.", "ru", ["В 1985 г. вышла статья.", "Её читали."]),
        ("Пушкин и др. писали так. Да.", "ru", ["Пушкин и др. писали так.", "Да."]),
        ("日志。页面。", "zh", ["日志。", "页面。"]),
        ("no end", "en", ["no end"]),
        ("   ", "en", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, language: str, sentences: list[str]) -> None:
    """Abbreviations do not end a sentence."""
    assert sentences == [text[start:end] for start, end in sentence_spans(text, language)]


@given(st.text(max_size=400), st.sampled_from(["en", "ru", "zh", "und"]))
def test_sentences_are_exact_and_complete(text: str, language: str) -> None:
    """Spans are in order, do not overlap, have no white space at their ends, and lose no other character."""
    spans = sentence_spans(text, language)
    at = 0
    for start, end in spans:
        assert at <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()
        assert text[at:start].strip() == ""
        at = end
    assert text[at:].strip() == ""


@given(st.text(max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_trimming_only_takes_white_space(text: str, first: int, second: int) -> None:
    """The trimmed span is what `strip` gives."""
    start, end = sorted((min(first, len(text)), min(second, len(text))))
    trimmed = trim(text, start, end)

    assert text[trimmed[0] : trimmed[1]] == text[start:end].strip()


@pytest.mark.parametrize("language", ["en", "ru", "de", "fr", "es", "und"])
def test_every_pack_is_complete(language: str) -> None:
    """Each language says everything the neutral pack has a place for, in every style."""
    pack, neutral = phrases(language), phrases("und")

    assert has_pack(language)
    for style in ("academic", "practical", "conversational", "concise"):
        assert len(pack.outline(style)) >= 1
        for name in (
            "objective_topic",
            "objective_term",
            "exercise_explain",
            "part",
            "of",
            "course_summary",
            "draft_note",
        ):
            assert pack.has(name, style)
            assert neutral.has(name, style)
    for label in ("contents", "objectives", "summary", "key_terms", "exercises", "answer", "sources", "page", "draft"):
        assert pack.label(label)


def test_an_unknown_language_gets_signs_instead_of_words() -> None:
    """A lesson in a language we do not speak mixes nothing."""
    assert phrases("sw").language == "und"
    assert not any(character.isalpha() for character in phrases("sw").label("objectives") if character != "Σ")


def test_quotation_marks_within_quotation_marks_change() -> None:
    """The inner ones are those of the language."""
    assert phrases("ru").quoted("Правило «три, два, один»") == "«Правило „три, два, один“»"
    assert phrases("en").quoted("So “what”?") == "“So ‘what’?”"

"""A note too short for common words still gets the language its words look like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stage_worker.language.detection import UNDETERMINED, detect, script_of_language
from services.stage_worker.language.guess import likely_language

NOTES = {
    "Bienen sammeln Nektar.": "de",
    "Pflanzen brauchen Wasser": "de",
    "Grundlagen Buchhaltung Steuern": "de",
    "Honey bees collect nectar.": "en",
    "Photosynthesis converts light": "en",
    "Basic accounting principles": "en",
    "Abeilles récoltent nectar.": "fr",
    "Comptabilité générale entreprises": "fr",
    "Abejas recogen néctar.": "es",
    "Contabilidad básica empresas": "es",
    "Api raccolgono nettare.": "it",
    "Bijen verzamelen nectar.": "nl",
    "Pszczoły zbierają nektar.": "pl",
    "Mehiläiset keräävät mettä.": "fi",
    "Пчёлы делают мёд.": "ru",
}


@pytest.mark.parametrize(("text", "language"), NOTES.items())
def test_three_words_tell_their_language(text: str, language: str) -> None:
    """None of them is a common word."""
    assert likely_language(text) == language


@pytest.mark.parametrize("text", ["", "12 34 56", "A1 B2 C3", "!!!", "| 1 | 2 |"])
def test_what_has_no_words_has_no_language(text: str) -> None:
    """Numbers and signs are not guessed at."""
    assert likely_language(text) == UNDETERMINED


def test_a_long_text_is_not_guessed_at() -> None:
    """Where detection sees no language in many words, there is none we know."""
    words = "zxq vrt plm wkj " * 40

    assert detect(words) == likely_language(words) == UNDETERMINED


@given(st.text(max_size=200))
def test_what_is_detected_is_not_overruled(text: str) -> None:
    """And any text gets an answer, the same each time."""
    found = detect(text)

    assert likely_language(text) == likely_language(text)
    assert found in {likely_language(text), UNDETERMINED}


def test_languages_know_their_script() -> None:
    """As far as we know them."""
    assert [script_of_language(each) for each in ("de", "ru", "el", "ja", "sw")] == [
        "Latin", "Cyrillic", "Greek", "Kana", None,
    ]  # fmt: skip

"""Which language a text is written in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stage_worker.language.detection import UNDETERMINED, detect, script_of

SAMPLES = {
    "en": "A database keeps data safe by writing every change to a log before it touches the pages themselves.",
    "ru": "База данных хранит данные в безопасности, записывая каждое изменение в журнал прежде страниц.",
    "uk": "База даних записує кожну зміну в журнал, перш ніж змінювати самі сторінки, і це її захищає.",
    "de": "Die Datenbank schreibt jede Änderung zuerst in ein Protokoll, bevor sie die Seiten selbst verändert.",
    "fr": "La base de données écrit chaque modification dans un journal avant de toucher aux pages elles-mêmes.",
    "es": "La base de datos escribe cada cambio en un registro antes de modificar las páginas que ya existen.",
    "it": "Il database scrive ogni modifica in un registro prima di toccare le pagine che sono sul disco.",
    "pt": "O banco de dados grava cada alteração em um registro antes de modificar as páginas do disco.",
    "nl": "De database schrijft elke wijziging eerst in een logboek voordat de pagina's zelf worden gewijzigd.",
    "sv": "Databasen skriver varje ändring till en logg innan den ändrar sidorna själv på disken.",
    "tr": "Veritabanı, sayfaları değiştirmeden önce her değişikliği bir günlüğe yazar ve bu çok önemli.",
    "zh": "数据库在修改页面之前先把每个更改写入日志。",
    "ja": "データベースはページを変更する前に、すべての変更をログに書き込みます。",
    "ko": "데이터베이스는 변경 사항을 먼저 로그에 기록합니다.",
    "el": "Η βάση δεδομένων γράφει κάθε αλλαγή σε ένα ημερολόγιο.",
    "ar": "تكتب قاعدة البيانات كل تغيير في السجل قبل تعديل الصفحات.",
    "he": "מסד הנתונים כותב כל שינוי ליומן לפני שהוא משנה את הדפים.",
    "th": "ฐานข้อมูลเขียนการเปลี่ยนแปลงทุกครั้งลงในบันทึก",
}


@pytest.mark.parametrize(("language", "text"), SAMPLES.items())
def test_one_sentence_tells_its_language(language: str, text: str) -> None:
    """A sentence is enough for the languages people upload most."""
    assert language == detect(text)


@pytest.mark.parametrize("text", ["", "   ", "12 34 56", "!!! ???", "| 1 | 2 |"])
def test_text_without_letters_has_no_language(text: str) -> None:
    """Numbers and signs are honestly undetermined."""
    assert detect(text) == UNDETERMINED


def test_source_code_is_not_taken_for_a_foreign_language() -> None:
    """A few repeated words that happen to be common somewhere prove nothing."""
    code = "\n".join(f"def f{number}(x): return x + {number}" for number in range(200))

    assert detect(code) in {UNDETERMINED, "en"}


def test_most_of_a_mixed_text_decides() -> None:
    """A quotation in another language does not change the document's."""
    assert detect(SAMPLES["ru"] * 5 + SAMPLES["en"]) == "ru"
    assert detect(SAMPLES["en"] * 5 + SAMPLES["ru"]) == "en"


def test_the_middle_and_end_of_a_long_text_are_looked_at() -> None:
    """An English preface does not make a Russian book English."""
    book = SAMPLES["en"] * 20 + SAMPLES["ru"] * 4_000

    assert detect(book) == "ru"


@given(st.text(max_size=300))
def test_any_text_gets_the_same_answer_twice(text: str) -> None:
    """No text breaks it, and nothing in it is left to chance."""
    assert detect(text) == detect(text)


def test_scripts_are_told_apart() -> None:
    """The script of most letters, kana standing for all Japanese."""
    assert script_of("Журнал WAL") == "Cyrillic"
    assert script_of("write-ahead log") == "Latin"
    assert script_of("日本語のログ") == "Kana"
    assert script_of("2025 — 2026") is None

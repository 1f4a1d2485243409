"""What the owner of a course is told when something went wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.kernel.owner_errors import _SENTENCES, UNFORESEEN, told

_ROOT = Path(__file__).resolve().parents[4]
_CODES = set(
    re.findall(
        r'^    code = "(\w+)"', "\n".join(p.read_text() for p in (_ROOT / "services").rglob("*.py")), re.MULTILINE
    )
)
_ENDS = {"cancelled", "discarded"}
"""What ends a run by somebody's decision, without an error."""


@pytest.mark.parametrize("code", sorted(_SENTENCES))
def test_a_known_error_is_told_in_russian_and_says_what_to_do(code: str) -> None:
    """The code stays for programs, what the machine said stays as the detail."""
    error = told(code, "inside")

    assert (error["code"], error["detail"]) == (code, "inside")
    assert not re.search(r"[A-Za-z]", error["message"])
    assert code in _ENDS or "генерацию" in error["message"]


def test_every_sentence_belongs_to_an_error_that_exists() -> None:
    """A code that is renamed takes its sentence with it."""
    assert set(_SENTENCES) - _CODES == _ENDS


def test_what_nobody_foresaw_is_told_in_general_words() -> None:
    """Not in the words of the machine."""
    assert told("effect_refused", "relation x of the inside")["message"] == UNFORESEEN

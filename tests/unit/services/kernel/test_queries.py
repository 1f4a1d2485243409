"""SQL files are read strictly: a mistake shows at start, not at the first call."""

from __future__ import annotations

import pytest

from services.kernel import queries
from services.kernel.errors import OperatorError
from services.kernel.queries import Queries


def test_blocks_become_statements_without_comments() -> None:
    """Each block's statement is found under its name, without its purpose and semicolon."""
    found = queries.parse("-- name: one\n-- Says one.\nSELECT 1;\n\n-- name: two\n-- Says two.\nSELECT\n 2;\n", "x.sql")

    assert {"one": "SELECT 1", "two": "SELECT\n 2"} == found


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-- name: a\n-- A.\nSELECT 1;\n-- name: a\n-- A.\nSELECT 2;", "twice"),
        ("-- name: a\nSELECT 1;", "what it is for"),
        ("-- name: a\n-- A.\n", "no statement"),
    ],
)
def test_a_careless_file_is_refused(text: str, complaint: str) -> None:
    """Doubled names, missing purposes and empty statements are errors."""
    with pytest.raises(OperatorError, match=complaint):
        queries.parse(text, "x.sql")


def test_an_unknown_name_is_named_in_the_error() -> None:
    """Asking for a statement that is not there says which and where."""
    found = Queries.load("services.kernel", "counters.sql")

    assert {"add_values", "read_values"} == set(found)
    assert len(found) == 2
    with pytest.raises(OperatorError, match=r"counters\.sql has no statement named 'nothing'"):
        found["nothing"]

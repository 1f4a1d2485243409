"""Scripts are cut at the right semicolons."""

from __future__ import annotations

import pytest

from services.migrate.statements import split


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT 1", ["SELECT 1"]),
        ("-- only; a comment\n;;\n/* and; another */", []),
        ("SELECT ';'; SELECT 'it''s; fine'", ["SELECT ';'", "SELECT 'it''s; fine'"]),
        (r"SELECT E'a\';b'; SELECT 2", [r"SELECT E'a\';b'", "SELECT 2"]),
        ('SELECT 1 AS "a;b"; SELECT 2', ['SELECT 1 AS "a;b"', "SELECT 2"]),
        ("DO $$ BEGIN; END $$; SELECT 2", ["DO $$ BEGIN; END $$", "SELECT 2"]),
        ("DO $a$ $$;$$ $a$; SELECT 2", ["DO $a$ $$;$$ $a$", "SELECT 2"]),
        ("SELECT 1 -- one; two\n; SELECT 2", ["SELECT 1 -- one; two", "SELECT 2"]),
    ],
)
def test_a_semicolon_ends_a_statement_only_outside_quotes_and_comments(script: str, expected: list[str]) -> None:
    """Quoted, dollar-quoted and commented semicolons belong to the statement."""
    assert [each.text for each in split(script)] == expected


def test_a_statement_knows_its_line() -> None:
    """So that an error can say where to look."""
    assert [each.line for each in split("-- title\n\nSELECT 1;\n\n\nSELECT 2;")] == [1, 6]

"""Cuts an SQL script into its statements, for files that may not run as one transaction.

PostgreSQL runs a script of several statements as one transaction, so CREATE INDEX CONCURRENTLY must be sent alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from services.migrate.tokens import Token, tokens


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, without its semicolon."""

    text: str
    line: int
    """Number of the line of the script on which `text` begins, from 1."""
    tokens: tuple[Token, ...] = ()
    """What it says."""


def split(script: str) -> list[Statement]:
    """The statements of `script` in order; what is only comment is left out."""
    return [_placed(script, start, end, said) for start, end, said in _spans(script) if said]


def _spans(script: str) -> Iterator[tuple[int, int, list[Token]]]:
    start, said = 0, list[Token]()
    for token in tokens(script):
        if token.kind == "end":
            yield start, token.start, said
            start, said = token.end, []
        else:
            said.append(token)
    yield start, len(script), said


def _placed(script: str, start: int, end: int, said: list[Token]) -> Statement:
    text = script[start:end]
    begin = start + len(text) - len(text.lstrip())
    return Statement(text.strip(), script.count("\n", 0, begin) + 1, tuple(said))

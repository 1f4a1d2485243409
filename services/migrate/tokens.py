"""Reads SQL text as a row of tokens: what is said, apart from what is quoted, and without what is only remarked.

It knows what PostgreSQL's lexer knows of quotes: strings with and without backslashes, quoted names, dollar quotes, comments
to the end of the line, and block comments, which may hold others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["word", "name", "string", "body", "end", "symbol"]

_TOKEN = re.compile(
    r"""
      (?P<comment>--[^\n]*)
    | (?P<block>/\*)
    | (?P<string>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')
    | (?P<name>"(?:[^"]|"")*")
    | (?P<body>(?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?P=tag))
    | (?P<word>\w[\w$]*)                        # $ inside: a$b$ is a name, it opens nothing
    | (?P<end>;)
    | (?P<symbol>\S)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text that says something. A semicolon outside quotes and comments is an `end`."""

    kind: Kind
    text: str
    start: int
    end: int


def tokens(script: str) -> Iterator[Token]:
    """Every token of `script` in order; space and comments are left out."""
    place = 0
    while (match := _TOKEN.search(script, place)) is not None:
        place = match.end()
        for kind in ("word", "name", "string", "body", "end", "symbol"):
            if match[kind] is not None:
                yield Token(kind, match[0], match.start(), match.end())
                break
        else:
            if match["block"] is not None:
                place = _end_of_block(script, match.end())


def _end_of_block(script: str, place: int) -> int:
    depth = 1
    for edge in _BLOCK_EDGE.finditer(script, place):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(script)

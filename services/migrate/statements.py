"""Cuts an SQL script into its statements, for files that may not run as one transaction.

PostgreSQL runs a script of several statements as one transaction, so CREATE INDEX CONCURRENTLY must be sent alone.
Quotes, dollar quotes and comments are understood; a block comment inside another is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      --[^\n]*                                  # comment to the end of the line
    | /\*.*?\*/                                 # block comment
    | \b[eE]'(?:[^'\\]|\\.|'')*'                # string with backslashes
    | '(?:[^']|'')*'                            # string
    | "(?:[^"]|"")*"                            # name
    | (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?P=tag) # dollar-quoted body
    | (?P<end>;)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, without its semicolon."""

    text: str
    line: int
    """Number of the line of the script on which `text` begins, from 1."""


def split(script: str) -> list[Statement]:
    """The statements of `script` in order; what is only comment is left out."""
    return [_placed(script, start, end) for start, end in _spans(script) if _says_something(script[start:end])]


def _spans(script: str) -> Iterator[tuple[int, int]]:
    start = 0
    for token in _TOKEN.finditer(script):
        if token["end"]:
            yield start, token.start()
            start = token.end()
    yield start, len(script)


def _says_something(text: str) -> bool:
    return bool(_COMMENT.sub("", text).strip())


def _placed(script: str, start: int, end: int) -> Statement:
    text = script[start:end]
    begin = start + len(text) - len(text.lstrip())
    return Statement(text.strip(), script.count("\n", 0, begin) + 1)

"""What a parsed document is: normalised text, and sections that point into it.

The text is a small subset of Markdown, whatever the format it came from, so that blocks can be told apart later
without a second structure beside it:

- blocks are separated by one empty line;
- a heading is a line of its own, without marks: the sections say where the headings are;
- a list item is a line that begins with `- ` or `1. `, two spaces before it for each level of nesting;
- a table row is a line `| a | b |`;
- code stands between two lines of three backticks.

It is NFC, holds no control characters but line feeds, and never more than one empty line in a row.
"""

from __future__ import annotations

import msgspec


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """What stands under one heading, up to the next heading of whatever level.

    Sections are in the order of the text and do not overlap; `text[start:end]` is the body without its heading and
    without white space at either end. A heading with nothing under it has `start == end`.
    """

    level: int
    """1 for the outermost heading, up to 6; 0 for text before the first heading (its heading is empty)."""
    heading: str
    start: int
    end: int
    page: int | None = None
    """Page or slide on which it begins, counted from 1, or None where the format has none."""


class ParsedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document as the engines see it."""

    title: str
    language: str
    """ISO 639-1 code of most of the text, or "und"."""
    text: str
    sections: tuple[Section, ...]

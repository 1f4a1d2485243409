"""Blocks: what every format is read into before it becomes text with sections."""

from __future__ import annotations

from enum import Enum

import msgspec


class Kind(Enum):
    """What a block is."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    ITEM = "item"
    """One item of a list."""
    ROW = "row"
    """One row of a table; the cells are in `cells`."""
    CODE = "code"
    """Lines to keep as they are."""


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """One heading, paragraph, list item, table row or piece of code, in reading order."""

    kind: Kind
    text: str = ""
    level: int = 0
    """Of a heading, 1-6; of a list item, how deep it is nested, from 0."""
    marker: str = "-"
    """Of a list item: "-" or a number with a full stop."""
    cells: tuple[str, ...] = ()
    page: int | None = None


def heading(text: str, level: int, page: int | None = None) -> Block:
    """A heading of a level from 1 to 6."""
    return Block(kind=Kind.HEADING, text=text, level=min(6, max(1, level)), page=page)


def paragraph(text: str, page: int | None = None) -> Block:
    """Running text."""
    return Block(kind=Kind.PARAGRAPH, text=text, page=page)


def item(text: str, level: int = 0, marker: str = "-", page: int | None = None) -> Block:
    """A list item."""
    return Block(kind=Kind.ITEM, text=text, level=min(8, max(0, level)), marker=marker, page=page)


def row(cells: tuple[str, ...], page: int | None = None) -> Block:
    """A table row."""
    return Block(kind=Kind.ROW, cells=cells, page=page)


def code(text: str, page: int | None = None) -> Block:
    """Preformatted lines."""
    return Block(kind=Kind.CODE, text=text, page=page)

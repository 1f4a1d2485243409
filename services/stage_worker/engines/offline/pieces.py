"""Pieces: the text of a section cut into the parts a lesson is built from, each with its exact place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from services.stage_worker.language.sentences import Span, sentence_spans, trim
from services.stage_worker.language.words import count_words

_LONGEST_PIECE_WORDS, _SMALL_PIECE_WORDS = 260, 75
_ITEM = re.compile(r"^ *(?:-|\d{1,6}\.) ")
_FENCE = "```"


class Form(Enum):
    """How a piece is written."""

    PROSE = "prose"
    LIST = "list"
    TABLE = "table"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Piece:
    """A paragraph, list, table or code block, or a part of one that is too long for a lesson."""

    form: Form
    start: int
    end: int
    words: int
    parts: tuple[Span, ...]
    """Sentences of prose; lines of everything else."""


def cut(text: str, start: int, end: int, language: str) -> list[Piece]:
    """The pieces of `text[start:end]`, in order. None is longer than a lesson can hold, as far as lines allow."""
    pieces: list[Piece] = []
    for block_start, block_end in _blocks(text, start, end):
        form = _form(text, block_start)
        parts = _parts(text, block_start, block_end, form, language)
        pieces += _bounded(text, form, parts)
    return pieces


def _blocks(text: str, start: int, end: int) -> list[Span]:
    """What empty lines separate; code may hold empty lines itself."""
    blocks: list[Span] = []
    at, opened, in_code = start, start, False
    while at < end:
        line_end = text.find("\n", at, end)
        line_end = end if line_end < 0 else line_end
        line = text[at:line_end]
        if line.startswith(_FENCE):
            in_code = not in_code
        if not line.strip() and not in_code:
            blocks.append((opened, at))
            opened = line_end + 1
        at = line_end + 1
    blocks.append((opened, end))
    trimmed = (trim(text, *block) for block in blocks)
    return [block for block in trimmed if block[0] < block[1]]


def _form(text: str, start: int) -> Form:
    if text.startswith(_FENCE, start):
        return Form.CODE
    if text.startswith("| ", start):
        return Form.TABLE
    line = text[start : text.find("\n", start)] if "\n" in text[start:] else text[start:]
    return Form.LIST if _ITEM.match(line) else Form.PROSE


def _parts(text: str, start: int, end: int, form: Form, language: str) -> list[Span]:
    if form is Form.PROSE:
        return [part for span in sentence_spans(text, language, start, end) for part in _short(text, span)]
    lines: list[Span] = []
    at = start
    for line in text[start:end].split("\n"):
        if form is Form.CODE and line.startswith(_FENCE):
            at += len(line) + 1
            continue
        lines.append((at, at + len(line)))
        at += len(line) + 1
    return [line for line in lines if line[0] < line[1]]


def _short(text: str, span: Span) -> list[Span]:
    """A sentence that never ends (a text without full stops) is cut at white space."""
    start, end = span
    if end - start < 4_000:
        return [span]
    parts: list[Span] = []
    while end - start > 1_500:
        space = text.rfind(" ", start + 1, start + 1_500)
        middle = space if space > start else start + 1_500
        parts.append(trim(text, start, middle))
        start = middle
    parts.append(trim(text, start, end))
    return [part for part in parts if part[0] < part[1]]


def _bounded(text: str, form: Form, parts: list[Span]) -> list[Piece]:
    """One piece, or several small ones where a block is so long that lessons must be cut within it."""
    sizes = [count_words(text[start:end]) for start, end in parts]
    total = sum(sizes)
    most = total if total <= _LONGEST_PIECE_WORDS else _SMALL_PIECE_WORDS
    pieces: list[Piece] = []
    group: list[Span] = []
    words = 0
    for part, size in zip(parts, sizes, strict=True):
        if group and words + size > most:
            pieces.append(_piece(form, group, words))
            group, words = [], 0
        group.append(part)
        words += size
    return [*pieces, _piece(form, group, words)] if group else pieces


def _piece(form: Form, parts: list[Span], words: int) -> Piece:
    return Piece(form, parts[0][0], parts[-1][1], words, tuple(parts))

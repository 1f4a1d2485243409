"""Excerpts: what a lesson's plan points at, looked up in the index."""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.stage_worker.course.structure import LessonPlan
from services.stage_worker.engines.offline.index import Index, Passage
from services.stage_worker.engines.offline.pieces import Form, Piece
from services.stage_worker.language.sentences import Span

_ITEM_MARK = re.compile(r"^ *(?:-|\d{1,6}\.) ")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The new pieces under one heading of one document."""

    document: int
    heading: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence or list item that may be quoted alone."""

    document: int
    span: Span
    text: str
    form: Form
    opens_piece: bool
    opens_excerpt: bool


def excerpts_of(index: Index, plan: LessonPlan) -> list[Excerpt]:
    """What there is to tell in a lesson, in the plan's order; what only repeats another lesson is left out."""
    numbers = {document.document_id: number for number, document in enumerate(index.material.documents)}
    grouped: list[tuple[Passage, list[Piece]]] = []
    for source in plan.sources:
        document = numbers[source.document_id]
        for passage, piece in index.pieces_within(document, source.start, source.end):
            if passage.language != plan.language or (document, piece.start) in index.duplicates:
                continue
            if not grouped or grouped[-1][0] is not passage:
                grouped.append((passage, []))
            grouped[-1][1].append(piece)
    return [Excerpt(passage.document, passage.heading, tuple(pieces)) for passage, pieces in grouped]


def new_parts(index: Index, document: int, piece: Piece) -> list[Span]:
    """The sentences or lines of a piece that were not told before; tables and code are told whole."""
    if piece.form in {Form.TABLE, Form.CODE}:
        return list(piece.parts)
    return [part for part in piece.parts if (document, part) not in index.repeated]


def sentences_of(index: Index, excerpts: list[Excerpt]) -> list[Sentence]:
    """Every sentence of the prose and every item of the lists."""
    found: list[Sentence] = []
    for excerpt in excerpts:
        for at, piece in enumerate(excerpt.pieces):
            if piece.form not in {Form.PROSE, Form.LIST}:
                continue
            for span in new_parts(index, excerpt.document, piece):
                opens = span == piece.parts[0]
                text = index.text(excerpt.document, span)
                found.append(Sentence(excerpt.document, span, text, piece.form, opens, opens and at == 0))
    return found


def plain_text(index: Index, excerpts: list[Excerpt]) -> str:
    """The words of the excerpts, for counting."""
    return "\n".join(
        index.text(excerpt.document, part)
        for excerpt in excerpts
        for piece in excerpt.pieces
        for part in new_parts(index, excerpt.document, piece)
    )


def without_item(text: str) -> str:
    """A list item's text without its mark."""
    return _ITEM_MARK.sub("", text)

"""What an engine is given."""

from __future__ import annotations

import msgspec

from services.stage_worker.parsing.model import Section

STYLES = ("academic", "practical", "conversational", "concise")
"""The four styles of contract.md GAP29; the first is the default."""


class SourceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One parsed document."""

    document_id: str
    filename: str
    title: str
    language: str
    text: str
    sections: tuple[Section, ...]


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a course may be made from. No documents: an outline from the title alone."""

    title: str
    style: str = STYLES[0]
    language: str | None = None
    """The language asked for, or None to take that of most of the text."""
    documents: tuple[SourceDocument, ...] = ()
    """In the order the author gave them, which decides the order of the course."""

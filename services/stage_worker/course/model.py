"""What a finished course is made of. Field order here is the order in the JSON; names there are camelCase.

Every text that comes from a document is cited: a `Citation` points at exact characters of the normalised text of
one document, and its `quote` equals that text. Nothing here depends on time, so that equal material gives an equal
course.
"""

from __future__ import annotations

import msgspec

FORMAT_VERSION = "1.0"


class Citation(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One exact span of one source document."""

    document_id: str
    """Which document, as the API names it."""
    start: int
    """First character, counted from 0 in the document's normalised text."""
    end: int
    """One past the last character."""
    quote: str
    """The characters from start to end, unchanged."""
    page: int | None = None
    """Page or slide where the quoted section begins, counted from 1, if the format has any."""


class KeyTerm(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A term worth remembering."""

    term: str
    definition: str | None = None
    """The sentence of the material that explains it, or null where there is none."""
    citation: int | None = None
    """Index into the citations beside it, where the definition stands."""


class Exercise(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Something for the reader to do."""

    kind: str
    """recall, explain, compare, gap, task or reflect."""
    prompt: str
    answer: str | None = None
    citation: int | None = None
    """Index into the lesson's citations, where the answer stands."""


class Lesson(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One sitting: written in one language only."""

    id: str
    title: str
    language: str
    """ISO 639-1 code, or "und" where it cannot be told."""
    objectives: tuple[str, ...]
    summary: str
    content: str
    """Markdown. `[n]` after a passage points at the n-th citation, counted from 1. Empty in a draft."""
    key_terms: tuple[KeyTerm, ...]
    exercises: tuple[Exercise, ...]
    citations: tuple[Citation, ...]
    words: int
    """Words of `content`, without its citation marks."""


class SectionOut(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Lessons on one topic."""

    id: str
    title: str
    language: str
    objectives: tuple[str, ...]
    summary: str
    key_terms: tuple[KeyTerm, ...]
    citations: tuple[Citation, ...]
    lessons: tuple[Lesson, ...]


class SourceFile(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A document the course was made from."""

    document_id: str
    filename: str
    title: str
    language: str


class Course(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The result of a run."""

    format_version: str = FORMAT_VERSION
    title: str
    language: str
    """The language asked for, or that of most of the text."""
    style: str
    """academic, practical, conversational or concise (contract.md GAP29)."""
    draft: bool
    """True when there was no material: an outline without text or citations."""
    engine: str
    notes: tuple[str, ...]
    """What a reader should know: missing material, shortened text."""
    objectives: tuple[str, ...]
    summary: str
    key_terms: tuple[KeyTerm, ...]
    citations: tuple[Citation, ...]
    sources: tuple[SourceFile, ...]
    sections: tuple[SectionOut, ...]

"""How much of a document is read at all: bounds that stop a hostile file before it costs memory or time."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on one document; going over one rejects the document with a reason."""

    pages: int = 2_000
    """Pages of a PDF or slides of a presentation."""
    characters: int = 6_000_000
    """Characters of extracted text: about 3,000 printed pages."""
    page_bytes: int = 20_000_000
    """Decoded content of one PDF page; drawings of more are not read."""
    archive_entries: int = 5_000
    archive_bytes: int = 400_000_000
    """What a DOCX or PPTX may unpack to in all."""
    archive_part_bytes: int = 100_000_000
    """What one part of it may unpack to."""
    archive_ratio: int = 200
    """How many times larger than the file the unpacked parts may be, once they pass ten megabytes."""


DEFAULT_LIMITS = Limits()
